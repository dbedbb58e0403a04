include(GoogleTest)

# The one precompiled header of all tests.
function(dagverk_prepare_tests)
  find_package(GTest REQUIRED)
  if(NOT DAGVERK_TEST_PCH)
    return()
  endif()
  file(WRITE "${PROJECT_BINARY_DIR}/test_pch.cpp.in" "int main() { return 0; }\n")
  file(COPY_FILE "${PROJECT_BINARY_DIR}/test_pch.cpp.in" "${PROJECT_BINARY_DIR}/test_pch.cpp" ONLY_IF_DIFFERENT)
  add_library(dagverk_test_pch OBJECT "${PROJECT_BINARY_DIR}/test_pch.cpp")
  dagverk_target_defaults(dagverk_test_pch)
  target_link_libraries(dagverk_test_pch PRIVATE GTest::gtest Threads::Threads)
  target_precompile_headers(dagverk_test_pch PRIVATE
    <gtest/gtest.h> <atomic> <chrono> <functional> <memory> <optional> <string> <string_view> <thread> <vector>)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(dagverk_test_pch PRIVATE -fpch-preprocess)  # what ccache asks for
  elseif(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    target_compile_options(dagverk_test_pch PRIVATE -Xclang -fno-pch-timestamp)
  endif()
endfunction()

# dagverk_add_test(<target> SOURCES a_test.cpp … [DEPS runtime …] [LIBS rapidcheck …] [LABELS threads …] [TIMEOUT 120]
#                  [NO_MAIN] [SERIAL])
#
# A GoogleTest program; every test in it becomes a ctest test. Its label is the folder's name, and LABELS. Tests see the
# private headers in src/ and the shared ones in tests/. NO_MAIN: the sources have their own main. SERIAL: runs alone.
function(dagverk_add_test target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "NO_MAIN;SERIAL" "TIMEOUT" "SOURCES;DEPS;LIBS;LABELS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "dagverk_add_test(${target}): needs SOURCES, and no ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(${target} ${arg_SOURCES})
  dagverk_target_defaults(${target})
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}/tests")
  list(TRANSFORM arg_DEPS PREPEND dagverk_)
  target_link_libraries(${target} PRIVATE ${arg_DEPS} ${arg_LIBS} GTest::gtest)
  if(NOT arg_NO_MAIN)
    # Its main is GoogleTest's, and does what DAGVERK_REPORT asks for: docs/guides/test-reports.md.
    target_link_libraries(${target} PRIVATE dagverk_report_gtest_main)
  endif()
  if(DAGVERK_TEST_PCH)
    target_precompile_headers(${target} REUSE_FROM dagverk_test_pch)
    target_compile_options(${target} PRIVATE
      $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess> $<$<CXX_COMPILER_ID:Clang>:SHELL:-Xclang -fno-pch-timestamp>)
  endif()
  set(properties TIMEOUT ${arg_TIMEOUT})
  if(arg_SERIAL)
    list(APPEND properties RUN_SERIAL TRUE)
  endif()
  gtest_discover_tests(${target} DISCOVERY_TIMEOUT 60 TEST_LIST ${target}_tests PROPERTIES ${properties})
  # gtest_discover_tests() flattens lists, so the labels are set by a file that ctest reads after the discovered tests.
  cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME folder)
  set(labels ${folder} ${arg_LABELS})
  set(labels_file "${CMAKE_CURRENT_BINARY_DIR}/${target}_labels.cmake")
  file(WRITE "${labels_file}" "if(${target}_tests)\n  set_tests_properties(\${${target}_tests} PROPERTIES LABELS \"${labels}\")\nendif()\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${labels_file}")
endfunction()

# dagverk_add_compile_fail_test(<name> SOURCE a.cpp [DEFINE CASE_X] [FIRST_LINES 20] [SAYS "regex" …])
#
# A test that compiles a file (syntax only, with DEFINE) and requires that it fails and that each regex is found within
# the first lines of what the compiler says. Without SAYS the file must compile: the control of the others.
function(dagverk_add_compile_fail_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "SOURCE;DEFINE;FIRST_LINES" "SAYS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCE)
    message(FATAL_ERROR "dagverk_add_compile_fail_test(${name}): needs SOURCE, and no ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(DAGVERK_SANITIZE)
    return()  # the compiler says the same in every preset
  endif()
  if(NOT arg_FIRST_LINES)
    set(arg_FIRST_LINES 20)
  endif()
  list(JOIN arg_SAYS "|||" says)
  add_test(NAME ${name} COMMAND ${CMAKE_COMMAND}
    -D "compiler=${CMAKE_CXX_COMPILER}" -D "standard=${CMAKE_CXX23_STANDARD_COMPILE_OPTION}"
    -D "include=${PROJECT_SOURCE_DIR}/include" -D "source=${CMAKE_CURRENT_SOURCE_DIR}/${arg_SOURCE}"
    -D "define=${arg_DEFINE}" -D "first_lines=${arg_FIRST_LINES}" -D "says=${says}"
    -P "${PROJECT_SOURCE_DIR}/cmake/compile_fail.cmake")
  cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME folder)
  set_tests_properties(${name} PROPERTIES TIMEOUT 120 LABELS "${folder};compile_fail")
endfunction()
