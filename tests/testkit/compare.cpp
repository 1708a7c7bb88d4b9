#include "tests/testkit/compare.h"

#include <algorithm>
#include <cmath>

namespace strobe::testing {
namespace {

using ::testing::AssertionFailure;
using ::testing::AssertionResult;
using ::testing::AssertionSuccess;

double largest(const std::vector<double>& values) {
  double result = 0;
  for (double value : values) {
    if (std::isfinite(value)) result = std::max(result, std::abs(value));
  }
  return result;
}

// Distance to the reference; 0 where both are the same infinity.
double distance(double actual, double reference) {
  return actual == reference ? 0 : std::abs(actual - reference);
}

double rms_distance(const double* actual, const double* reference, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double d = distance(actual[i], reference[i]);
    sum += d * d;
  }
  return std::sqrt(sum / static_cast<double>(n));
}

template <class Tolerance>
AssertionResult each_within(std::string_view name, const std::vector<double>& actual,
                            const std::vector<double>& reference, Tolerance tolerance) {
  if (actual.size() != reference.size()) {
    return AssertionFailure() << name << ": " << actual.size() << " values, expected "
                              << reference.size();
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    const double d = distance(actual[i], reference[i]);
    if (!(d == 0 || (std::isfinite(d) && d <= tolerance(reference[i])))) {
      return AssertionFailure() << name << "[" << i << "] is " << actual[i] << ", expected "
                                << reference[i] << " ± " << tolerance(reference[i]);
    }
  }
  return AssertionSuccess();
}

}  // namespace

AssertionResult as_good_as_plain(std::string_view name, const std::vector<double>& actual,
                                 const std::vector<double>& plain,
                                 const std::vector<double>& reference, int64_t row, DType dtype,
                                 double terms) {
  const double ulp = std::max(largest(reference), terms) * epsilon_of(dtype);
  const AssertionResult plain_is_finite =
      each_within("plain", plain, reference, [](double) { return HUGE_VAL; });
  if (!plain_is_finite) return plain_is_finite;
  double plain_max = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    plain_max = std::max(plain_max, distance(plain[i], reference[i]));
  }
  const double element_bound = 2 * plain_max + 2 * ulp;
  const AssertionResult elements =
      each_within(name, actual, reference, [&](double) { return element_bound; });
  if (!elements) return elements;
  for (size_t begin = 0; row > 0 && begin < reference.size(); begin += row) {
    const double rms = rms_distance(&actual[begin], &reference[begin], row);
    const double bound = 2 * rms_distance(&plain[begin], &reference[begin], row) + 2 * ulp;
    if (!(rms <= bound)) {
      return AssertionFailure() << name << " row " << begin / row << " has RMS error " << rms
                                << ", allowed is " << bound;
    }
  }
  return AssertionSuccess();
}

AssertionResult is_close(std::string_view name, const std::vector<double>& actual,
                         const std::vector<double>& reference, double relative, double absolute) {
  return each_within(name, actual, reference,
                     [&](double r) { return absolute + relative * std::abs(r); });
}

AssertionResult is_equal(std::string_view name, const std::vector<double>& actual,
                         const std::vector<double>& reference) {
  return each_within(name, actual, reference, [](double) { return 0.0; });
}

double relative_error(const std::vector<double>& actual, const std::vector<double>& reference) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    difference += (actual[i] - reference[i]) * (actual[i] - reference[i]);
    norm += reference[i] * reference[i];
  }
  const double error = std::sqrt(difference / std::max(norm, 1e-300));
  return std::isnan(error) ? HUGE_VAL : error;
}

}  // namespace strobe::testing
