# STROBE_SANITIZE=address,undefined or thread, for the whole build. oneDNN and libgomp are not compiled
# for them, and need no suppressions: what crosses their threads is ordered by strobe/core/parallel.cpp.
if(STROBE_SANITIZE)
  add_compile_options(-fsanitize=${STROBE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${STROBE_SANITIZE})
endif()
