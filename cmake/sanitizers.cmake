# STROBE_SANITIZE=address,undefined or thread, for the whole build.
if(STROBE_SANITIZE)
  add_compile_options(-fsanitize=${STROBE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${STROBE_SANITIZE})
endif()
