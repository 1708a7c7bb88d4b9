# Compiles CPU kernel sources once for each instruction set. Inside, STROBE_ISA names the namespace
# (strobe/simd/vec.h says what such a file must keep to). On other processors than x86-64 every copy
# is compiled for the baseline, and cpu_info() lets only the scalar one run.
#
# The kernels' speed does not follow the build type: -O3 always, without debug assertions; but -O1
# under a sanitizer, where -O3 would take eight times as long to compile.

if(STROBE_SANITIZE)
  set(STROBE_ISA_OPTIMIZATION -O1)
else()
  set(STROBE_ISA_OPTIMIZATION -O3)
endif()
set(STROBE_ISAS scalar avx2 avx512 avx512_bf16)
set(STROBE_ISA_FLAGS_scalar "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(STROBE_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c)
  set(STROBE_ISA_FLAGS_avx512 ${STROBE_ISA_FLAGS_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl
                              -mprefer-vector-width=512)
  set(STROBE_ISA_FLAGS_avx512_bf16 ${STROBE_ISA_FLAGS_avx512} -mavx512bf16)
endif()

# strobe_add_isa_sources(target file…): adds the files to the target, once per instruction set.
function(strobe_add_isa_sources target)
  foreach(isa IN LISTS STROBE_ISAS)
    set(object ${target}_${isa})
    if(NOT TARGET ${object})
      add_library(${object} OBJECT)
      target_compile_definitions(${object} PRIVATE STROBE_ISA=${isa})
      # gcc 12 takes the undefined lanes of its own intrinsics for uninitialized variables.
      target_compile_options(${object} PRIVATE ${STROBE_ISA_OPTIMIZATION} -fno-math-errno
                             -Wno-uninitialized
                             $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>
                             ${STROBE_ISA_FLAGS_${isa}})
      target_include_directories(${object} PRIVATE ${PROJECT_SOURCE_DIR})
      target_link_libraries(${object} PRIVATE strobe_warnings)
      target_sources(${target} PRIVATE $<TARGET_OBJECTS:${object}>)
    endif()
    foreach(source IN LISTS ARGN)
      target_sources(${object} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/${source})
    endforeach()
  endforeach()
endfunction()
