#pragma once

#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "strobe/gpu/launch.h"
#include "strobe/gpu/native.cuh"

namespace strobe {

// How the threads of a grid share out the elements of contiguous tensors of one length: each takes
// 16 bytes, or one element of the rest. Where an address is not a multiple of 16, all is rest.
template <class T>
struct ElementShares {
  static constexpr int kThreads = 256;
  static constexpr int kWidth = kVectorWidth<T>;

  int64_t count;    // elements
  int64_t vectors;  // of 16 bytes

  ElementShares(int64_t elements, std::initializer_list<const T*> tensors) : count(elements) {
    bool is_aligned = true;
    for (const T* tensor : tensors) is_aligned = is_aligned && is_aligned_for_vectors(tensor, 0);
    vectors = is_aligned ? count / kWidth : 0;
  }

  Launch grid() const {
    const int64_t threads = vectors + (count - vectors * kWidth);
    return {.grid = dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads)),
            .block = dim3(kThreads)};
  }

  // body(first, width): of this thread, if it has a share. The elements from `first` on are
  // `width`, a constant: kWidth or 1.
  template <class Body>
  __device__ __forceinline__ void for_mine(const Body& body) const {
    const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (thread < vectors) {
      body(thread * kWidth, std::integral_constant<int, kWidth>{});
    } else if (const int64_t element = thread + vectors * (kWidth - 1); element < count) {
      body(element, std::integral_constant<int, 1>{});
    }
  }
};

// kCount neighbours as f32.
template <class T, int kCount>
__device__ __forceinline__ void to_floats(float (&x)[kCount], const Vector<T, kCount>& vector) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) x[i] = to_float(vector.element[i]);
}
template <class T, int kCount>
__device__ __forceinline__ void load_floats(float (&x)[kCount], const T* from) {
  to_floats(x, load_vector<T, kCount>(from));
}
template <class T, int kCount>
__device__ __forceinline__ void store_floats(T* to, const float (&x)[kCount]) {
  Vector<T, kCount> vector;
#pragma unroll
  for (int i = 0; i < kCount; ++i) vector.element[i] = from_float<T>(x[i]);
  store_vector(to, vector);
}

}  // namespace strobe
