#pragma once

#include <cublas_v2.h>

#include <map>
#include <mutex>

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

// The cuBLAS handle of the context's device on its stream, for as long as the object lives; it is
// made once, and `workspace` is its memory meanwhile. 16-bit products are summed in f32, and f32
// products are of f32, never TF32. Not for a context that is planning.
class CublasHandle {
 public:
  CublasHandle(const Context& ctx, const Tensor& workspace)
      : device_(of_device(ctx.device().index)), lock_(device_.mutex) {
    if (device_.handle == nullptr) device_.start();
    cublas_check(cublasSetStream(device_.handle, stream_of(ctx)), "setting cuBLAS's stream");
    cublas_check(cublasSetWorkspace(device_.handle, workspace.data, workspace.bytes()),
                 "setting cuBLAS's workspace");
  }
  // The context's stream may be gone at the next call, and cuBLAS looks at the one that it leaves.
  ~CublasHandle() { cublasSetStream(device_.handle, device_.idle_stream); }
  CublasHandle(const CublasHandle&) = delete;
  CublasHandle& operator=(const CublasHandle&) = delete;

  cublasHandle_t get() const { return device_.handle; }

 private:
  struct OfDevice {
    std::mutex mutex;
    cublasHandle_t handle = nullptr;
    cudaStream_t idle_stream = nullptr;

    void start() {
      cuda_check(cudaStreamCreateWithFlags(&idle_stream, cudaStreamNonBlocking),
                 "making a stream for cuBLAS");
      cublas_check(cublasCreate(&handle), "starting cuBLAS");
      const auto mode = static_cast<cublasMath_t>(CUBLAS_DEFAULT_MATH |
                                                  CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION);
      cublas_check(cublasSetMathMode(handle, mode), "setting cuBLAS's precision");
    }
  };
  static OfDevice& of_device(int index) {
    static std::mutex mutex;
    static auto& devices = *new std::map<int, OfDevice>;  // the driver may be gone at the end
    const std::lock_guard lock(mutex);
    return devices[index];
  }

  OfDevice& device_;
  std::unique_lock<std::mutex> lock_;
};

}  // namespace strobe
