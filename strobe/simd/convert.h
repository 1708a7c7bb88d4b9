#pragma once

#include <cstdint>

#include "strobe/core/dtype.h"
#include "strobe/simd/f16.h"
#include "strobe/simd/loop.h"

// Arrays from one floating type to another, through f32: widening is exact, so each element is
// rounded once.
namespace strobe::STROBE_ISA {

template <class From, class To>
void convert_array(const void* from, void* to, int64_t count) {
  for_vectors(count, [&](int64_t i, auto lanes) {
    lanes.store(static_cast<To*>(to) + i, lanes.load(static_cast<const From*>(from) + i));
  });
}

template <class From>
void convert_from(const void* from, void* to, DType to_type, int64_t count) {
  switch (to_type) {
    case DType::f16: return convert_array<From, f16>(from, to, count);
    case DType::bf16: return convert_array<From, bf16>(from, to, count);
    default: return convert_array<From, float>(from, to, count);
  }
}

inline void convert(const void* from, DType from_type, void* to, DType to_type, int64_t count) {
  switch (from_type) {
    case DType::f16: return convert_from<f16>(from, to, to_type, count);
    case DType::bf16: return convert_from<bf16>(from, to, to_type, count);
    default: return convert_from<float>(from, to, to_type, count);
  }
}

}  // namespace strobe::STROBE_ISA
