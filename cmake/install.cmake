# Headers, libraries and a package config: find_package(strobe), then link strobe::attention.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/strobe)
foreach(name core simd attention)
  set_target_properties(strobe_${name} PROPERTIES EXPORT_NAME ${name})
  install(TARGETS strobe_${name} EXPORT strobe_targets)
endforeach()
install(EXPORT strobe_targets NAMESPACE strobe:: DESTINATION ${package_dir}
        FILE strobe-targets.cmake)
if(TARGET strobe)
  install(TARGETS strobe)
endif()

install(DIRECTORY ${PROJECT_SOURCE_DIR}/strobe/core
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/strobe FILES_MATCHING PATTERN "*.h")
foreach(header attention dropout mask)
  install(FILES ${PROJECT_SOURCE_DIR}/strobe/ops/attention/${header}.h
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/strobe/ops/attention)
endforeach()

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/strobe-config.cmake.in
  ${PROJECT_BINARY_DIR}/strobe-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/strobe-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/strobe-config.cmake
              ${PROJECT_BINARY_DIR}/strobe-config-version.cmake
              ${CMAKE_CURRENT_LIST_DIR}/FindDNNL.cmake
        DESTINATION ${package_dir})

# The example, built against what was installed, as a user's project is.
if(STROBE_TESTS)
  add_test(NAME install_test
    COMMAND ${CMAKE_COMMAND} -DBUILD=${PROJECT_BINARY_DIR} -DCONFIG=${CMAKE_BUILD_TYPE}
            -DEXAMPLE=${PROJECT_SOURCE_DIR}/examples/attention_only
            -DCXX=${CMAKE_CXX_COMPILER} -DSANITIZE=${STROBE_SANITIZE}
            -P ${CMAKE_CURRENT_LIST_DIR}/install_test.cmake)
  set_tests_properties(install_test PROPERTIES LABELS unit TIMEOUT 300
                       ENVIRONMENT "${STROBE_TEST_ENVIRONMENT}")
endif()
