// Loops over contiguous elements, whole vectors first and the rest as one partial vector.
#pragma once

#include <cstdint>

#include "strobe/simd/vec.h"

namespace strobe::STROBE_ISA {

// How the body of a loop touches memory: all lanes, or the first `n` of them.
struct WholeVector {
  template <class T>
  STROBE_INLINE F32 load(const T* p) const {
    return STROBE_ISA::load(p);
  }
  template <class T>
  STROBE_INLINE void store(T* p, F32 x) const {
    STROBE_ISA::store(p, x);
  }
  // x where a lane has an element, `rest` elsewhere.
  STROBE_INLINE F32 or_else(F32 x, float /*rest*/) const { return x; }
};

struct PartialVector {
  int n;  // 1 … kLanes − 1; the other lanes load as 0
  template <class T>
  STROBE_INLINE F32 load(const T* p) const {
    return load_partial(p, n);
  }
  template <class T>
  STROBE_INLINE void store(T* p, F32 x) const {
    store_partial(p, x, n);
  }
  STROBE_INLINE F32 or_else(F32 x, float rest) const {
    return select(lane_index() < n, x, broadcast(rest));
  }
};

// body(i, lanes) for the vectors that begin at i = 0, kLanes, 2·kLanes, … of `count` elements:
//   for_vectors(n, [&](int64_t i, auto lanes) { lanes.store(y + i, f(lanes.load(x + i))); });
template <class Body>
STROBE_INLINE void for_vectors(int64_t count, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, WholeVector{});
  if (i < count) body(i, PartialVector{static_cast<int>(count - i)});
}

// Σ over all elements of body(i, lanes); lanes behind the last element must be given as 0. Four
// partial sums hide the latency of addition; the order is the same in every call.
template <class Body>
STROBE_INLINE float sum_vectors(int64_t count, const Body& body) {
  F32 sum[4] = {zero(), zero(), zero(), zero()};
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    for (int k = 0; k < 4; ++k) sum[k] += body(i + k * kLanes, WholeVector{});
  }
  for (; i + kLanes <= count; i += kLanes) sum[0] += body(i, WholeVector{});
  if (i < count) sum[1] += body(i, PartialVector{static_cast<int>(count - i)});
  return sum_lanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

}  // namespace strobe::STROBE_ISA
