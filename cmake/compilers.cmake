# ccache where it is installed, and nvcc where it is asked for.
find_program(STROBE_CCACHE ccache DOC "compiler cache, used when found")
if(STROBE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${STROBE_CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${STROBE_CCACHE})
endif()

if(STROBE_CUDA)
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(architectures 80 90)  # newer GPUs run these; Turing's take code of their own
    execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
                    OUTPUT_VARIABLE capabilities ERROR_QUIET)
    if(capabilities MATCHES "7\\.5")
      list(PREPEND architectures 75)
    endif()
    set(CMAKE_CUDA_ARCHITECTURES ${architectures} CACHE STRING "GPU architectures to compile for")
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  if(CUDAToolkit_VERSION VERSION_LESS 12.1)
    message(FATAL_ERROR "this is CUDA ${CUDAToolkit_VERSION}, Strobe needs 12.1 or newer: "
                        "kernels have more than 4 KiB of arguments")
  endif()
  if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc has it
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  # Kernels may call the standard library's constexpr functions (std::bit_cast).
  add_compile_options($<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr>)
  # fmt 8 and 9 leave constexpr out under nvcc, but not consteval, which needs it.
  add_compile_definitions($<$<COMPILE_LANGUAGE:CUDA>:FMT_USE_CONSTEXPR=1>)
endif()

# strobe_add_cuda_sources(target file…): CUDA sources of a library, and the runtime they need.
function(strobe_add_cuda_sources target)
  target_sources(${target} PRIVATE ${ARGN})
  target_link_libraries(${target} PUBLIC CUDA::cudart_static)
endfunction()
