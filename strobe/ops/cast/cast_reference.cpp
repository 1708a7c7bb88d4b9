#include "strobe/ops/cast/cast_reference.h"

#include <algorithm>
#include <cmath>

namespace strobe {
namespace {

struct Format {
  int digits;        // of the significand, the hidden one included
  int min_exponent;  // of the smallest normal number, 2^min_exponent
  double largest;
};

Format format_of(DType dtype) {
  if (dtype == DType::f16) return {11, -14, 65504};
  if (dtype == DType::bf16) return {8, -126, 0x1.fep127};
  return {24, -126, 0x1.fffffep127};
}

}  // namespace

double cast_reference(double x, DType dtype) {
  if (x == 0 || !std::isfinite(x)) return x;
  const Format format = format_of(dtype);
  const int exponent = std::max(std::ilogb(x), format.min_exponent);
  const int scale = format.digits - 1 - exponent;  // makes one unit in the last place 1
  const double nearest = std::ldexp(std::nearbyint(std::ldexp(x, scale)), -scale);
  return std::abs(nearest) > format.largest ? std::copysign(HUGE_VAL, x) : nearest;
}

}  // namespace strobe
