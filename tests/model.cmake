# The whole encoder on tiny recorded models: IVL_TEST_DEVICE chooses the device.
ivl_test(test_golden model)
ivl_test(test_contrastive model)
ivl_test(test_passes model)
ivl_test(test_session model)
ivl_test(test_search model)
ivl_test(test_selftest model)
ivl_test(test_faults model)
ivl_test(test_full_size model)

# The worked example of the documents: knows the public header alone.
add_executable(example_embed ${CMAKE_SOURCE_DIR}/docs/examples/embed.c)
target_include_directories(example_embed PRIVATE ${CMAKE_SOURCE_DIR}/model)
target_link_libraries(example_embed PRIVATE ivl_static)
add_test(NAME example_embed
         COMMAND bash cli/run_topic.sh $<TARGET_FILE:internvl> model/example.sh
         WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
set(IVL_EXAMPLE_ENVIRONMENT "IVL_EXAMPLE=$<TARGET_FILE:example_embed>"
    "XDG_CACHE_HOME=${CMAKE_BINARY_DIR}/cli-cache")
set_tests_properties(example_embed PROPERTIES LABELS model TIMEOUT ${IVL_TEST_TIMEOUT} SKIP_RETURN_CODE 77
                     ENVIRONMENT "${IVL_TEST_ENVIRONMENT};${IVL_EXAMPLE_ENVIRONMENT}")
