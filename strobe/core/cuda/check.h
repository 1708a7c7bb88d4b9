#pragma once

#include <cuda_runtime.h>

#include "strobe/core/check.h"

namespace strobe {

// Throws Error unless a call of the CUDA runtime succeeded: `what` says what was tried.
inline void cuda_check(cudaError_t status, std::string_view what, Where where = Where::here()) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // not again at the next call
  throw_error(
      fmt::format("{}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status)),
      where);
}

}  // namespace strobe
