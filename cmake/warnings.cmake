# Linked privately by every target of ours: warnings, and errors where CI asks for them.
option(STROBE_WERROR "treat warnings as errors" OFF)

# Arguments structs are filled by designated initialisers that leave optional fields out.
add_library(strobe_warnings INTERFACE)
target_compile_options(strobe_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wvla
                            -Wno-missing-field-initializers>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${STROBE_WERROR}>>:-Werror>)
