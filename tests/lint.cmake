# What needs no build: include graph, format, texts.
foreach(check includes format names)
  add_test(NAME check_${check} COMMAND bash ${CMAKE_SOURCE_DIR}/tests/ci/check_${check}.sh)
  set_tests_properties(check_${check} PROPERTIES LABELS lint TIMEOUT 120 SKIP_RETURN_CODE 77)
endforeach()
