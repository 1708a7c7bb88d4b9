# strobe_add_test(<name> SOURCES file… LIBS target… LABEL unit|conformance|slow|gpu [TIMEOUT seconds]
#                 [GPU]): one GoogleTest program, one ctest entry; with GPU another one, <…>_gpu_test
# of label gpu, in which the same tests run on a GPU, or are skipped where there is none.
enable_testing()

# Every test runs on two threads and says so, so that `ctest -j` fills a machine without crowding it.
# Threads that wait sleep: where the machine is crowded all the same, spinning makes a tiny model's
# step hundreds of times slower.
set(STROBE_TEST_THREADS 2)
set(STROBE_GPU_TEST_ENVIRONMENT OMP_NUM_THREADS=${STROBE_TEST_THREADS} OMP_WAIT_POLICY=passive
                                ${STROBE_SANITIZER_ENVIRONMENT})
# Tests of label gpu alone see the GPUs: for the others a command's --device auto is the CPU.
set(STROBE_TEST_ENVIRONMENT ${STROBE_GPU_TEST_ENVIRONMENT} CUDA_VISIBLE_DEVICES=)

function(strobe_add_test name)
  if(NOT STROBE_TESTS)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 ARG "GPU" "LABEL;TIMEOUT" "SOURCES;LIBS")
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  # What is tested is optimized; the tests themselves compile a quarter faster so.
  target_compile_options(${name} PRIVATE
                         $<$<AND:$<CONFIG:Release>,$<COMPILE_LANGUAGE:CXX>>:-O1>)
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} strobe_testkit strobe_testkit_main
                        strobe_warnings)
  set(environment ${STROBE_TEST_ENVIRONMENT})
  if(ARG_LABEL STREQUAL "gpu")
    set(environment ${STROBE_GPU_TEST_ENVIRONMENT})
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT}
                       PROCESSORS ${STROBE_TEST_THREADS} ENVIRONMENT "${environment}"
                       SKIP_REGULAR_EXPRESSION "every test was skipped")
  if(ARG_GPU AND STROBE_CUDA)
    string(REGEX REPLACE "_test$" "_gpu_test" gpu_name ${name})
    add_test(NAME ${gpu_name} COMMAND ${name} --device cuda)
    set_tests_properties(${gpu_name} PROPERTIES LABELS gpu TIMEOUT ${ARG_TIMEOUT} RUN_SERIAL TRUE
                         ENVIRONMENT "${STROBE_GPU_TEST_ENVIRONMENT}"
                         SKIP_REGULAR_EXPRESSION "every test was skipped")
  endif()
endfunction()

# strobe_add_bench(<name> SOURCES file… LIBS target…): a Google Benchmark program; none under a
# sanitizer, whose times would say nothing.
function(strobe_add_bench name)
  if(NOT STROBE_TESTS OR STROBE_SANITIZE)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "SOURCES;LIBS")
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} strobe_testkit strobe_warnings
                        benchmark::benchmark_main)
endfunction()
