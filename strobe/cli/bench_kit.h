#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "strobe/core/arena.h"
#include "strobe/core/clock.h"
#include "strobe/core/context.h"
#include "strobe/core/json.h"
#include "strobe/core/jsonl.h"
#include "strobe/core/statistics.h"

namespace strobe {

// What the benchmarks share: timing, the rate that speeds are compared with, and where rows go.

// How long to time: `repeats` calls, or where that is 0, for so many seconds, at least 3 calls.
struct TimingPlan {
  int64_t repeats = 0;
  double seconds = 0.5;
  bool is_done(size_t calls, double elapsed_s) const {
    return repeats > 0 ? calls >= static_cast<size_t>(repeats) : calls >= 3 && elapsed_s >= seconds;
  }
};

// Milliseconds of each timed call, after one that is not timed.
template <class Call>
std::vector<double> time_calls(const TimingPlan& plan, const Call& call) {
  call();
  std::vector<double> ms;
  const Stopwatch whole;
  while (!plan.is_done(ms.size(), whole.seconds())) {
    const Stopwatch one;
    call();
    ms.push_back(one.ms());
  }
  return ms;
}

// The same of work on the context's device. On a GPU a tenth of a second of calls goes before, so
// that its clock has risen; each call begins with an L2 cache that holds nothing of its own, and
// counts from its first kernel's begin to its last one's end, by events on the stream.
std::vector<double> time_calls(Context& ctx, const TimingPlan& plan,
                               const std::function<void()>& call);

// What a plain matrix product reaches on the context's device at this moment, in GFLOP/s: the
// median of a few calls after a warm-up. On a CPU oneDNN's, M×N×K = 2048×3072×768; on a GPU that of
// cuBLASLt, 8192×8192×8192. Speeds of Strobe are stated as shares of it, measured side by side, so
// that they can be compared across machines and load.
double measure_matmul_gflops(Context& ctx, DType dtype);
const char* matmul_name(const Device& device);  // "oneDNN's rate at 2048×3072×768", …

// That rate beside other measurements: on a CPU measured anew each time, because others may be at
// work there; on a GPU, whose clock a large product lowers for a while, once for each type.
class MatmulRate {
 public:
  explicit MatmulRate(Context& ctx) : ctx_(ctx) {}
  double gflops(DType dtype);

 private:
  Context& ctx_;
  std::map<DType, double> measured_;
};

// Fills with standard normal values, the same for a seed on every device; from a pool, so that it
// is quick.
void fill_normal(const Tensor& tensor, uint64_t seed);

// "repeats", "ms_median", "ms_p10", "ms_p90", "gflops", "matmul_gflops", "ratio".
void add_speed(Json& row, const std::vector<double>& ms, double flop, double matmul_gflops);

// Where rows of kind "bench" go: every row gets the provenance, so that it stands by itself, and is
// added to the end of a file, if there is one.
class BenchRows {
 public:
  explicit BenchRows(const std::string& path, const Device& device = {});  // empty path: no file
  void write(const Json& row);

 private:
  Json provenance_;
  std::optional<JsonlWriter> file_;
};

}  // namespace strobe
