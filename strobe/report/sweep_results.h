#pragma once

#include <optional>
#include <string>
#include <vector>

#include "strobe/report/jsonl_reader.h"

namespace strobe {

// A quantity that a sweep measures at every point: what it is called, the field of the rows, and
// what its numbers are.
enum class SweepUnit : unsigned char { milliseconds, bytes };
struct SweepQuantity {
  const char *name, *short_name;
  const char* field;
  SweepUnit unit;
};

struct SweepPoint {
  int64_t value = 0;
  std::string ending;   // "finished", "out_of_memory", "too_slow", "failed"; empty: not begun
  std::string message;  // why it was not measured
  Json row;

  bool is_measured() const { return ending == "finished"; }
  // Of a quantity; nothing where it was not measured.
  std::optional<double> of(const SweepQuantity& quantity) const;
};

// One attention at all sizes.
struct SweepCurve {
  std::string attention;
  std::vector<SweepPoint> points;  // one for each value of the sweep
};

// A sweep as its rows of kind "sweep" tell it.
struct SweepResults {
  std::string axis, task;
  std::vector<int64_t> values;  // ascending
  std::vector<SweepCurve> curves;

  const std::vector<SweepQuantity>& quantities() const;
};

// Throws Error when a row lacks a field.
SweepResults sweep_results(const JsonRows& rows);

// "412 ms", "1.25 MB".
std::string sweep_text(const SweepQuantity& quantity, double value);
// "out of memory", "too slow", "failed", "–": what stands where a number would.
std::string sweep_ending_text(const std::string& ending);

// How a quantity grows at the end of a curve: the exponent of the size between its last two
// measured points, 1 for a line and 2 for a square. Nothing where there are not two.
std::optional<double> growth(const SweepCurve& curve, const SweepQuantity& quantity);

}  // namespace strobe
