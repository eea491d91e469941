# The command line: one script per topic in tests/cli/, run by run_topic.sh with the program's path.
# ivl_cli_test(TOPIC): registers tests/cli/TOPIC.sh as cli_TOPIC.
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/cli-cache)

function(ivl_cli_test topic)
  add_test(NAME cli_${topic}
           COMMAND bash cli/run_topic.sh $<TARGET_FILE:internvl> cli/${topic}.sh
           WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  set_tests_properties(cli_${topic} PROPERTIES LABELS cli TIMEOUT ${IVL_TEST_TIMEOUT}
                       SKIP_RETURN_CODE 77
                       ENVIRONMENT "${IVL_TEST_ENVIRONMENT};XDG_CACHE_HOME=${CMAKE_BINARY_DIR}/cli-cache")
endfunction()

ivl_cli_test(usage)
ivl_cli_test(devices)
ivl_cli_test(documents)
ivl_cli_test(info)
ivl_cli_test(selftest)
ivl_cli_test(signals)
ivl_cli_test(trace)
ivl_cli_test(tokenize)
ivl_cli_test(similarity)
ivl_cli_test(classify)
ivl_cli_test(eval)
ivl_cli_test(verify)
ivl_cli_test(synth)
ivl_cli_test(embed)
ivl_cli_test(embed_inputs)
ivl_cli_test(embed_resume)
ivl_cli_test(embed_modes)
ivl_cli_test(embed_texts)
ivl_cli_test(merge)
ivl_cli_test(index)
ivl_cli_test(search)
ivl_cli_test(features)
ivl_cli_test(preprocess)
