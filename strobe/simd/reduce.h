// Sums over the lanes of as many vectors as a vector has lanes, at the price of about three
// instructions each.
#pragma once

#include <utility>

#include "strobe/simd/vec.h"

namespace strobe::STROBE_ISA {

// Lane i of the result is lane i (below kLanes) of a or lane i − kLanes of b; both given by lane
// indices that are constants.
template <int... kIndex>
STROBE_INLINE F32 shuffle(F32 a, F32 b, std::integer_sequence<int, kIndex...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, kIndex...);
#else
  return __builtin_shuffle(a, b, I32{kIndex...});
#endif
}

// The lanes that fold_pair() adds: of each block of 2·kHalf lanes the first (kSecond: second) half,
// in turn from a and from b.
template <int kHalf, bool kSecond, int... kLane>
constexpr auto half_lanes(std::integer_sequence<int, kLane...>) {
  return std::integer_sequence<int, (kLane / (2 * kHalf) * (2 * kHalf) + kLane % kHalf +
                                     (kSecond ? kHalf : 0) +
                                     (kLane / kHalf % 2 == 0 ? 0 : kLanes))...>{};
}

// Adds the halves of every block of 2·kHalf lanes: a's sums lie in the block's first half, b's in
// its second.
template <int kHalf>
STROBE_INLINE F32 fold_pair(F32 a, F32 b) {
  constexpr auto kAll = std::make_integer_sequence<int, kLanes>{};
  return shuffle(a, b, half_lanes<kHalf, false>(kAll)) +
         shuffle(a, b, half_lanes<kHalf, true>(kAll));
}

template <int kHalf>
STROBE_INLINE F32 fold(const F32* x, int step) {
  // x[0], x[step], … still have 2·kHalf lanes a sum.
  if constexpr (2 * kHalf == kLanes) {
    return fold_pair<kHalf>(x[0], x[step]);
  } else {
    return fold_pair<kHalf>(fold<2 * kHalf>(x, 2 * step), fold<2 * kHalf>(x + step, 2 * step));
  }
}

// Lane i is the sum of the lanes of x[i], added in the order of sum_lanes().
STROBE_INLINE F32 sum_each(const F32 (&x)[kLanes]) { return fold<1>(x, 1); }

}  // namespace strobe::STROBE_ISA
