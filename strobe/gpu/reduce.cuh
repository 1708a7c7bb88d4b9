#pragma once

#include <cstdint>

// Sums and maxima over the threads of a warp or block, in an order that depends on nothing but the
// number of threads.
namespace strobe {

constexpr int kWarpSize = 32;
constexpr uint32_t kFullWarp = 0xffffffffu;

struct Sum {
  template <class T>
  static __device__ __forceinline__ T join(T a, T b) {
    return a + b;
  }
};
struct Maximum {
  static __device__ __forceinline__ float join(float a, float b) { return fmaxf(a, b); }
};

// Every lane of a group of kLanes neighbours gets the result.
template <class Operation, int kLanes = kWarpSize, class T>
__device__ __forceinline__ T reduce_warp(T value) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    value = Operation::join(value, __shfl_xor_sync(kFullWarp, value, offset));
  }
  return value;
}

// Every thread of a block of kThreads (a multiple of 32) gets the result. `scratch` is in shared
// memory, kThreads / 32 elements; it may be used again after the next barrier.
template <class Operation, int kThreads, class T>
__device__ __forceinline__ T reduce_block(T value, T* scratch) {
  constexpr int kWarps = kThreads / kWarpSize;
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  value = reduce_warp<Operation>(value);
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  T result = scratch[0];
#pragma unroll
  for (int i = 1; i < kWarps; ++i) result = Operation::join(result, scratch[i]);
  return result;
}

}  // namespace strobe
