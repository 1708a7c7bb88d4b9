# Run by every build (cmake -P), because the git hash changes without a new configure; the file is
# rewritten only when its content changes.
#   SOURCE_DIR, OUTPUT, VERSION, BUILD_TYPE
execute_process(COMMAND git -C ${SOURCE_DIR} rev-parse --short HEAD
                OUTPUT_VARIABLE GIT_HASH OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
                RESULT_VARIABLE failed)
if(failed OR GIT_HASH STREQUAL "")
  set(GIT_HASH "unknown")
else()
  execute_process(COMMAND git -C ${SOURCE_DIR} diff --quiet HEAD -- RESULT_VARIABLE changed ERROR_QUIET)
  if(changed)
    string(APPEND GIT_HASH "+changes")
  endif()
endif()
configure_file(${SOURCE_DIR}/cmake/build_info.cpp.in ${OUTPUT} @ONLY)
