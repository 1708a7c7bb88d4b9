# The variants of GPU kernels: what is listed here is what is compiled, dispatched, named by why_not
# and tested. A kernel's variants are instances of one launcher,
#   template <class T, int kHeadDim, PortableArch kArch> void launch_…(Context&, const ARGUMENTS&);
# which its .cuh defines; each is compiled by itself, and a table of them is generated.

set(STROBE_GPU_HEAD_DIMS 32 64 96 128 256 CACHE STRING
    "head dims that attention is compiled for on a GPU; others take the next larger one")

# Kernels of sm75 use nothing that a Turing GPU lacks; those of sm80 have cp.async, bf16 and tf32.
set(STROBE_GPU_DTYPES_sm75 f32 f16)
set(STROBE_GPU_DTYPES_sm80 f32 f16 bf16)
set(STROBE_GPU_TYPE_f32 float)
set(STROBE_GPU_TYPE_f16 strobe::f16)
set(STROBE_GPU_TYPE_bf16 strobe::bf16)

# Of the configured architectures those that take the kernels of `arch`; names such as "native" are
# taken for newer than sm_80.
function(strobe_architectures result arch)
  set(list "")
  foreach(architecture IN LISTS CMAKE_CUDA_ARCHITECTURES)
    set(is_old FALSE)
    if(architecture MATCHES "^([0-9]+)" AND CMAKE_MATCH_1 LESS 80)
      set(is_old TRUE)
    endif()
    if((arch STREQUAL "sm75" AND is_old) OR (arch STREQUAL "sm80" AND NOT is_old))
      list(APPEND list ${architecture})
    endif()
  endforeach()
  set(${result} ${list} PARENT_SCOPE)
endfunction()

# strobe_add_variants(<target> KERNEL <launcher> HEADER <its .cuh> ARGUMENTS <struct>): compiles the
# variants into the target and writes variants/<launcher>.inc, rows of {dtype, head_dim, arch,
# &launcher<…>}.
function(strobe_add_variants target)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "KERNEL;HEADER;ARGUMENTS" "")
  set(rows "")
  foreach(ARCH sm75 sm80)
    strobe_architectures(architectures ${ARCH})
    if(NOT architectures)
      continue()
    endif()
    set(object ${target}_${ARCH})
    if(NOT TARGET ${object})
      add_library(${object} OBJECT)
      set_target_properties(${object} PROPERTIES CUDA_ARCHITECTURES "${architectures}")
      target_include_directories(${object} PRIVATE ${PROJECT_SOURCE_DIR})
      target_link_libraries(${object} PRIVATE strobe_core CUDA::cudart_static)
      target_sources(${target} PRIVATE $<TARGET_OBJECTS:${object}>)
    endif()
    foreach(dtype IN LISTS STROBE_GPU_DTYPES_${ARCH})
      set(TYPE ${STROBE_GPU_TYPE_${dtype}})
      foreach(HEAD_DIM IN LISTS STROBE_GPU_HEAD_DIMS)
        set(source ${CMAKE_CURRENT_BINARY_DIR}/variants/${ARG_KERNEL}_${ARCH}_${dtype}_d${HEAD_DIM}.cu)
        configure_file(${PROJECT_SOURCE_DIR}/cmake/variant.cu.in ${source} @ONLY)
        target_sources(${object} PRIVATE ${source})
        string(APPEND rows "{DType::${dtype}, ${HEAD_DIM}, PortableArch::${ARCH}, "
                           "&${ARG_KERNEL}<${TYPE}, ${HEAD_DIM}, PortableArch::${ARCH}>},\n")
      endforeach()
    endforeach()
  endforeach()
  file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/variants/${ARG_KERNEL}.inc CONTENT "${rows}"
       @ONLY)
endfunction()
