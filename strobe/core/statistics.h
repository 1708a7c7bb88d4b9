#pragma once

#include <span>

namespace strobe {

// Of at least one value; throw Error when there is none.
double mean(std::span<const double> values);
// Of the sample, by n − 1; 0 of a single value.
double standard_deviation(std::span<const double> values);
// The value below which `percent` of the values lie, interpolated linearly between neighbours:
// 0 is the smallest, 50 the median, 100 the largest.
double percentile(std::span<const double> values, double percent);
double median(std::span<const double> values);

}  // namespace strobe
