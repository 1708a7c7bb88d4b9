#pragma once

#include <cstdint>

#include "strobe/gpu/elementwise.cuh"
#include "strobe/gpu/reduce.cuh"

namespace strobe {

constexpr int kLayernormThreads = 256;
constexpr int kLayernormSumThreads = 1024;

// A row of at most kPerLane·32·kWarps columns in the registers of kWarps warps, 1 or a whole block:
// vector k of lane l holds the columns from (k·kLanes + l)·kWidth on.
template <class T, int kPerLane, int kWarps>
struct LayernormRow {
  static constexpr int kWidth = kVectorWidth<T>;
  static constexpr int kVectors = kPerLane / kWidth;
  static constexpr int kLanes = kWarps * kWarpSize;
  static constexpr int kMaxColumns = kPerLane * kLanes;
  static constexpr int kRowsPerBlock = kLayernormThreads / kLanes;
  static_assert(kWarps == 1 || kRowsPerBlock == 1);

  static __device__ __forceinline__ int lane() { return threadIdx.x % kLanes; }
  static __device__ __forceinline__ int group() { return threadIdx.x / kLanes; }

  // body(k, column) for this lane's vectors that lie in the row.
  template <class Body>
  static __device__ __forceinline__ void for_vectors(int columns, const Body& body) {
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      const int column = (k * kLanes + lane()) * kWidth;
      if (column < columns) body(k, column);
    }
  }

  // Every lane of the row gets the sum. `scratch` (kWarps floats) may be used again after the next
  // barrier of the block.
  static __device__ __forceinline__ float sum_lanes(float value, float* scratch) {
    if constexpr (kWarps == 1) {
      return reduce_warp<Sum>(value);
    } else {
      return reduce_block<Sum, kLayernormThreads>(value, scratch);
    }
  }
};

// kCount neighbours of a parameter, 16 bytes at a time.
template <int kCount>
__device__ __forceinline__ void load_parameters(float (&x)[kCount], const float* from) {
#pragma unroll
  for (int begin = 0; begin < kCount; begin += 4) {
    const Vector<float, 4> vector = load_vector<float, 4>(from + begin);
#pragma unroll
    for (int i = 0; i < 4; ++i) x[begin + i] = vector.element[i];
  }
}

template <int kCount>
__device__ __forceinline__ void store_parameters(float* to, const float (&x)[kCount]) {
#pragma unroll
  for (int begin = 0; begin < kCount; begin += 4) {
    Vector<float, 4> vector;
#pragma unroll
    for (int i = 0; i < 4; ++i) vector.element[i] = x[begin + i];
    store_vector(to + begin, vector);
  }
}

}  // namespace strobe
