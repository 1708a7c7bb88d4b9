#pragma once

#include "strobe/core/dtype.h"

namespace strobe {

// The value of the type that is nearest to x, ties to the even one: the definition of rounding, by
// scaling, without looking at bits.
double cast_reference(double x, DType dtype);

}  // namespace strobe
