# Headers, libraries and a package config: find_package(strobe), then link strobe::attention (C++),
# strobe::generate (GPT-2, tokenizers, generation) or strobe::c (attention for C, a shared library).
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/strobe)
set(libraries core simd attention ops data models generate)
if(STROBE_CUDA)
  list(APPEND libraries gpu)
endif()
foreach(name IN LISTS libraries)
  set_target_properties(strobe_${name} PROPERTIES EXPORT_NAME ${name})
  install(TARGETS strobe_${name} EXPORT strobe_targets)
endforeach()
install(EXPORT strobe_targets NAMESPACE strobe:: DESTINATION ${package_dir}
        FILE strobe-targets.cmake)
# By itself: a C project needs none of the C++ libraries' packages.
set_target_properties(strobe_c PROPERTIES EXPORT_NAME c)
install(TARGETS strobe_c EXPORT strobe_c_targets)
install(EXPORT strobe_c_targets NAMESPACE strobe:: DESTINATION ${package_dir}
        FILE strobe-c-targets.cmake)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/strobe/core
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/strobe FILES_MATCHING PATTERN "*.h")
foreach(header
    c/strobe
    data/hub data/safetensors data/safetensors_header data/tokenizer
    generate/generate generate/utf8_stream
    models/gpt2 models/gpt2_config models/gpt2_files models/gpt2_weights models/kv_cache
    models/parameter
    ops/adamw/adamw ops/attention/attention ops/attention/dropout ops/attention/mask ops/sample/sample)
  get_filename_component(folder strobe/${header} DIRECTORY)
  install(FILES ${PROJECT_SOURCE_DIR}/strobe/${header}.h
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/${folder})
endforeach()

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/strobe-config.cmake.in
  ${PROJECT_BINARY_DIR}/strobe-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/strobe-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/strobe-config.cmake
              ${PROJECT_BINARY_DIR}/strobe-config-version.cmake
              ${CMAKE_CURRENT_LIST_DIR}/FindDNNL.cmake
        DESTINATION ${package_dir})

# The examples, built against what was installed, as users' projects are.
if(STROBE_TESTS)
  add_test(NAME install_test
    COMMAND ${CMAKE_COMMAND} -DBUILD=${PROJECT_BINARY_DIR} -DCONFIG=${CMAKE_BUILD_TYPE}
            -DEXAMPLES=${PROJECT_SOURCE_DIR}/examples
            -DCC=${CMAKE_C_COMPILER} -DCXX=${CMAKE_CXX_COMPILER} -DSANITIZE=${STROBE_SANITIZE}
            -P ${CMAKE_CURRENT_LIST_DIR}/install_test.cmake)
  set_tests_properties(install_test PROPERTIES LABELS unit TIMEOUT 300
                       ENVIRONMENT "${STROBE_TEST_ENVIRONMENT}")
endif()
