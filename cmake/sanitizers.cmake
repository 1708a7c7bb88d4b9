# STROBE_SANITIZE=address,undefined or thread, for the whole build, and what its tests then need.
if(STROBE_SANITIZE)
  add_compile_options(-fsanitize=${STROBE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${STROBE_SANITIZE})
endif()

if(STROBE_SANITIZE STREQUAL "thread")
  set(STROBE_SANITIZER_ENVIRONMENT
      TSAN_OPTIONS=halt_on_error=1:suppressions=${PROJECT_SOURCE_DIR}/tools/tsan.supp)
endif()
