#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <string_view>

#include "strobe/core/check.h"
#include "strobe/core/device.h"

namespace strobe::cuda {

// What the CUDA runtime answers about a GPU. After the first failure the rest says nothing.
struct Answers {
  int driver = 0;  // the CUDA version that the driver supports, 13000 for 13.0; 0: there is none
  cudaError_t counting = cudaSuccess;
  int count = 0;                    // of GPUs
  cudaError_t probe = cudaSuccess;  // whether a kernel can be had for the GPU
  CudaInfo gpu;                     // where it cannot
};

// "13.0" for 13000.
inline std::string version_text(int number) {
  return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
}

// Empty when GPU `index` can run a build for these architectures, "80 90", else why not.
inline std::string why_not(const Answers& answers, int index, std::string_view architectures) {
  if (answers.driver == 0) return "there is no NVIDIA driver";
  if (answers.counting == cudaErrorInsufficientDriver) {
    return fmt::format("the NVIDIA driver supports CUDA {}, this build needs {}",
                       version_text(answers.driver), version_text(CUDART_VERSION));
  }
  const bool is_counted = answers.counting == cudaSuccess;
  if (answers.counting == cudaErrorNoDevice || (is_counted && answers.count == 0)) {
    return "there is no GPU";
  }
  if (!is_counted) return cudaGetErrorString(answers.counting);
  if (index < 0 || index >= answers.count) {
    return fmt::format("there is no GPU {}, but {}", index, answers.count);
  }
  if (answers.probe == cudaSuccess) return "";
  const CudaInfo& gpu = answers.gpu;
  // Somebody has the GPU for himself, or all its memory.
  if (answers.probe == cudaErrorDevicesUnavailable || answers.probe == cudaErrorMemoryAllocation) {
    return fmt::format("{}: {}", gpu.name, cudaGetErrorString(answers.probe));
  }
  return fmt::format(
      "{} has compute capability {}.{}, this build has code for compute capability {} ({})",
      gpu.name, gpu.capability / 10, gpu.capability % 10, architectures,
      cudaGetErrorString(answers.probe));
}

}  // namespace strobe::cuda
