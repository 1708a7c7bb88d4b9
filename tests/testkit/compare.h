#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "strobe/core/dtype.h"

namespace strobe::testing {

// The tolerance rule of docs/numerics.md. `plain` is what a plain computation in the same precision
// (inputs, intermediates and outputs rounded where numerics.md says) gives; `reference` is exact
// (double, on the same rounded inputs). Passes when
//   max |actual − reference| ≤ 2·max |plain − reference| + 2 ulp(max |reference|)   over all, and
//   the same holds for the root mean square of every row by itself (a bad row cannot hide).
// NaN never passes, unless the reference itself is −∞ or +∞ there and the values are equal.
// Values are row-major in rows of `row`. Where the result is a difference of larger terms, `terms`
// is the largest sum of their absolute values, and counts in place of max |reference|.
::testing::AssertionResult as_good_as_plain(std::string_view name,
                                            const std::vector<double>& actual,
                                            const std::vector<double>& plain,
                                            const std::vector<double>& reference, int64_t row,
                                            DType dtype, double terms = 0);

// |actual − reference| ≤ absolute + relative·|reference| for every element. NaN never passes.
::testing::AssertionResult is_close(std::string_view name, const std::vector<double>& actual,
                                    const std::vector<double>& reference, double relative,
                                    double absolute);

// Equal values (so −0 equals 0); NaN never passes.
::testing::AssertionResult is_equal(std::string_view name, const std::vector<double>& actual,
                                    const std::vector<double>& reference);

// How far rounding to the type may move a number near 0, where f16's have a fixed distance; tests
// with f32 and bf16 do not come near their smallest.
constexpr double rounding_near_zero(DType dtype) { return dtype == DType::f16 ? 0x1p-25 : 0; }

// ‖actual − reference‖ / ‖reference‖, infinite when an element is NaN.
double relative_error(const std::vector<double>& actual, const std::vector<double>& reference);

}  // namespace strobe::testing
