#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/core/context.h"
#include "strobe/core/random.h"
#include "strobe/core/tensor.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/options.h"

namespace strobe::testing {

// One case of a conformance test, written as a line: "rows=3 c=17 dtype=bf16 seed=5". Its values
// are read by name, so what a failure prints is all that it takes to repeat it.
class CaseLine {
 public:
  explicit CaseLine(std::string text) : text_(std::move(text)) {}
  const std::string& text() const { return text_; }
  int64_t number(const std::string& key) const { return std::stoll(value_in_case(text_, key)); }
  double real(const std::string& key) const { return std::stod(value_in_case(text_, key)); }
  bool is_set(const std::string& key) const { return number(key) != 0; }
  DType dtype(const std::string& key = "dtype") const;
  Random random() const;  // begins from the case's `seed`

 private:
  std::string text_;
};

// `count` case lines that `draw` makes of random numbers. --seed and --cases override; the
// environment variable STROBE_TEST_SCALE (a factor, such as 0.1) thins them out for slow builds.
std::vector<std::string> random_cases(int64_t count,
                                      const std::function<std::string(Random&)>& draw);

// Element of a short list, at random.
template <class T>
const T& pick(Random& random, const std::vector<T>& choices) {
  return choices[random.below(choices.size())];
}

// Whether a row of a table runs on GPUs: its name says so.
inline bool is_for_gpu(std::string_view name) { return name.starts_with("cuda"); }

// Runs body(ctx, case) for every row of an op's table that is for the device under test and every
// case that the row can run; ctx asks for that row, and its arena is poisoned. A row that can run
// here must get a case; skipped rows are printed with their reason. `impls` have `name` and
// `why_not(DType, Device)`.
template <class Impls, class Body>
void run_conformance(std::string_view op, const Impls& impls, const std::vector<std::string>& lines,
                     const Body& body) {
  const Options& wanted = options();
  const std::vector<std::string> cases =
      wanted.only_case.empty() ? lines : std::vector<std::string>{wanted.only_case};
  for (const auto& impl : impls) {
    if (!wanted.only_impl.empty() && wanted.only_impl != impl.name) continue;
    if (is_for_gpu(impl.name) != (wanted.device.kind == DeviceKind::cuda)) continue;
    Context ctx(wanted.device, {.poison = true});
    ctx.prefer(op, {.implementation = std::string(impl.name)});
    int64_t ran = 0;
    std::string reason;
    for (const std::string& line : cases) {
      const CaseLine one(line);
      const std::string refusal = impl.why_not(one.dtype(), ctx.device());
      if (!refusal.empty()) {
        reason = refusal;
        continue;
      }
      SCOPED_TRACE(fmt::format("strobe_{}_test --case \"{}\" --impl {}", op, line, impl.name));
      const Arena::Scope scope(ctx.arena());
      try {
        body(ctx, one);
        ctx.arena().check_guards();
      } catch (const Error& error) {
        ADD_FAILURE() << error.what();
      }
      ++ran;
      if (::testing::Test::HasFailure()) return;
    }
    if (ran == 0 && !reason.empty()) fmt::print("skipped {}: {}\n", impl.name, reason);
    EXPECT_TRUE(ran > 0 || !reason.empty()) << impl.name << " can run here but ran no case";
  }
}

// Makes a case's tensors, poisoned or random, out of one arena and one generator.
struct TensorSource {
  Arena& arena;
  Random random;

  Tensor empty(DType dtype, const Shape& shape) {
    return arena.allocate(MemoryUse::activations, dtype, shape);
  }
  Tensor normal(DType dtype, const Shape& shape, double deviation = 1);
  Tensor number(DType dtype, double value);  // one element
};

// Fails the test when a tensor's elements differ at its end from what they were at its start.
class InputsUnchanged {
 public:
  explicit InputsUnchanged(std::vector<Tensor> tensors);
  ~InputsUnchanged();
  InputsUnchanged(const InputsUnchanged&) = delete;
  InputsUnchanged& operator=(const InputsUnchanged&) = delete;

 private:
  std::vector<Tensor> tensors_;
  std::vector<std::vector<unsigned char>> before_;
};

// The derivative of f with respect to every element of x, by central differences in double.
std::vector<double> numerical_gradient(const std::function<double(const std::vector<double>&)>& f,
                                       std::vector<double> x, double step = 1e-6);

// `value` rounded to f32 and then to `dtype`.
double rounded(double value, DType dtype);

}  // namespace strobe::testing
