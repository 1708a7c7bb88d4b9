#pragma once

#include <cublas_v2.h>

#include <map>
#include <mutex>
#include <utility>

#include "strobe/core/tensor.h"
#include "strobe/gpu/launch.h"

namespace strobe {

inline void cublas_check(cublasStatus_t status, std::string_view what,
                         Where where = Where::here()) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw_error(
      fmt::format("{}: {} ({})", what, cublasGetStatusString(status), cublasGetStatusName(status)),
      where);
}

// What cuBLAS wants on a GPU of today (32 MiB on Hopper), out of the arena: so that it is counted,
// and cuBLAS allocates nothing while a graph is recorded.
constexpr int64_t kCublasWorkspaceBytes = int64_t{32} << 20;
inline Tensor cublas_workspace(Context& ctx) {
  return ctx.arena().allocate(MemoryUse::workspace, DType::f32, {kCublasWorkspaceBytes / 4});
}

// The cuBLAS handle of the context's stream, made at the first call; `workspace` is its memory
// until the next call. 16-bit products are summed in f32, and f32 products are of f32, never TF32.
// Not for a context that is planning.
inline cublasHandle_t cublas_handle(const Context& ctx, const Tensor& workspace) {
  static std::mutex mutex;
  static std::map<std::pair<int, void*>, cublasHandle_t> handles;
  const std::lock_guard lock(mutex);
  cublasHandle_t& handle = handles[{ctx.device().index, ctx.stream()}];
  if (handle == nullptr) {
    cublas_check(cublasCreate(&handle), "making a cuBLAS handle");
    cublas_check(cublasSetMathMode(handle, static_cast<cublasMath_t>(
                                               CUBLAS_DEFAULT_MATH |
                                               CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION)),
                 "setting cuBLAS's precision");
  }
  cublas_check(cublasSetStream(handle, stream_of(ctx)), "setting cuBLAS's stream");
  cublas_check(cublasSetWorkspace(handle, workspace.data, workspace.bytes()),
               "setting cuBLAS's workspace");
  return handle;
}

}  // namespace strobe
