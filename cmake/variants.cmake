# The variants of GPU kernels: what is listed here is what is compiled, dispatched, named by why_not
# and tested. A kernel's variants are instances of one launcher,
#   template <class T, int kHeadDim, PortableArch kArch> void launch_…(Context&, const ARGUMENTS&);
# (those of sm90 without kArch) which its .cuh defines; each is compiled by itself, and a table of
# them is generated.

set(STROBE_GPU_HEAD_DIMS 32 64 96 128 256 CACHE STRING
    "head dims that attention is compiled for on a GPU; others take the next larger one")

# Kernels of sm75 use nothing that a Turing GPU lacks; those of sm80 have cp.async, bf16 and tf32;
# those of sm90 run on Hopper GPUs and on no others, and their rows of shared memory are 64 columns.
set(STROBE_GPU_DTYPES_sm75 f32 f16)
set(STROBE_GPU_DTYPES_sm80 f32 f16 bf16)
set(STROBE_GPU_DTYPES_sm90 f16 bf16)
set(STROBE_GPU_TYPE_f32 float)
set(STROBE_GPU_TYPE_f16 strobe::f16)
set(STROBE_GPU_TYPE_bf16 strobe::bf16)
set(STROBE_GPU_HEAD_DIMS_sm75 ${STROBE_GPU_HEAD_DIMS})
set(STROBE_GPU_HEAD_DIMS_sm80 ${STROBE_GPU_HEAD_DIMS})
set(STROBE_GPU_HEAD_DIMS_sm90 "")
foreach(head_dim IN LISTS STROBE_GPU_HEAD_DIMS)
  foreach(tiled IN ITEMS 64 96 128 256)  # the next larger one that has tiles
    if(head_dim LESS_EQUAL tiled)
      list(APPEND STROBE_GPU_HEAD_DIMS_sm90 ${tiled})
      break()
    endif()
  endforeach()
endforeach()
list(REMOVE_DUPLICATES STROBE_GPU_HEAD_DIMS_sm90)

# Before, ptxas waits for products of Hopper's kernels by itself (C7515).
set(STROBE_OLDEST_CUDA_OF_SM90 12.9)

# Of the configured architectures those that take the kernels of `arch`; names such as "native" are
# taken for newer than sm_80.
function(strobe_architectures result arch)
  set(list "")
  foreach(architecture IN LISTS CMAKE_CUDA_ARCHITECTURES)
    set(is_old FALSE)
    if(architecture MATCHES "^([0-9]+)" AND CMAKE_MATCH_1 LESS 80)
      set(is_old TRUE)
    endif()
    if(arch STREQUAL "sm90")
      if(CUDAToolkit_VERSION VERSION_LESS STROBE_OLDEST_CUDA_OF_SM90)
        continue()
      endif()
      if(architecture MATCHES "^(90|all)" OR
         (architecture STREQUAL "native" AND "${CMAKE_CUDA_ARCHITECTURES_NATIVE}" MATCHES "90"))
        set(list 90a-real)
      endif()
    elseif((arch STREQUAL "sm75" AND is_old) OR (arch STREQUAL "sm80" AND NOT is_old))
      list(APPEND list ${architecture})
    endif()
  endforeach()
  set(${result} ${list} PARENT_SCOPE)
endfunction()

# strobe_add_variants(<target> KERNEL <launcher> HEADER <its .cuh> ARGUMENTS <struct> ARCHES
# <arch>…): compiles the variants into the target and writes variants/<launcher>.inc, rows of
# {dtype, head_dim, arch, &launcher<…>}; those of sm90 without arch.
function(strobe_add_variants target)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "KERNEL;HEADER;ARGUMENTS" "ARCHES")
  set(rows "")
  foreach(ARCH IN LISTS ARG_ARCHES)
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
      if(ARCH STREQUAL "sm90")
        set_target_properties(${object} PROPERTIES CUDA_COMPILER_LAUNCHER
          "${PROJECT_SOURCE_DIR}/cmake/check_ptxas.sh;${CMAKE_CUDA_COMPILER_LAUNCHER}")
        target_compile_options(${object} PRIVATE
                               -Xptxas=--warn-on-spills,--warn-on-local-memory-usage)
      endif()
    endif()
    set(name ${ARG_KERNEL})
    if(NOT name MATCHES "_${ARCH}$")
      set(name ${name}_${ARCH})
    endif()
    set(ARCH_ARGUMENT "")
    set(arch_field "")
    if(NOT ARCH STREQUAL "sm90")
      set(ARCH_ARGUMENT ", strobe::PortableArch::${ARCH}")
      set(arch_field "PortableArch::${ARCH}, ")
    endif()
    foreach(dtype IN LISTS STROBE_GPU_DTYPES_${ARCH})
      set(TYPE ${STROBE_GPU_TYPE_${dtype}})
      foreach(HEAD_DIM IN LISTS STROBE_GPU_HEAD_DIMS_${ARCH})
        set(source ${CMAKE_CURRENT_BINARY_DIR}/variants/${name}_${dtype}_d${HEAD_DIM}.cu)
        configure_file(${PROJECT_SOURCE_DIR}/cmake/variant.cu.in ${source} @ONLY)
        target_sources(${object} PRIVATE ${source})
        string(APPEND rows "{DType::${dtype}, ${HEAD_DIM}, ${arch_field}"
                           "&${ARG_KERNEL}<${TYPE}, ${HEAD_DIM}${ARCH_ARGUMENT}>},\n")
      endforeach()
    endforeach()
  endforeach()
  file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/variants/${ARG_KERNEL}.inc CONTENT "${rows}"
       @ONLY)
endfunction()
