// Flash attention on several streams at once: whatever else a GPU is at, a problem must come out as
// it does alone.
//   strobe_attention_stress_test --device cuda --seconds 600 --seed 7
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <deque>
#include <exception>
#include <latch>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "strobe/ops/attention/attention_testing.h"
#include "tests/testkit/compare.h"

namespace strobe::testing {
namespace {

constexpr int kStreams = 4, kProblemsOfStream = 3, kPasses = 8;
constexpr double kDefaultSeconds = 5;

// What the host compares takes most of the time.
constexpr int64_t kMostElements = 300'000;  // of a tensor

std::string draw_problem(Random& random) {
  const std::vector<int64_t> lengths = {1,   17,  64,  127, 128, 129,  200,  256,  257,
                                        384, 511, 640, 777, 899, 1024, 1500, 2049, 3000};
  const std::vector<std::string> types = types_under_test();
  for (;;) {
    const int64_t b = pick<int64_t>(random, {1, 1, 2, 4}), hkv = pick<int64_t>(random, {1, 2, 3});
    const int64_t hq = hkv * pick<int64_t>(random, {1, 1, 2});
    const int64_t d = pick<int64_t>(random, {32, 40, 64, 64, 96, 128, 128, 256});
    const int64_t tq = pick(random, lengths);
    const int64_t tk = random.below(2) == 0 ? tq : pick(random, lengths);
    if (b * std::max(tq, tk) * hq * d > kMostElements) continue;
    const bool is_packed = random.below(4) == 0;
    const auto reach = [&] { return static_cast<int64_t>(random.below(300)); };
    return fmt::format(
        "b={} tq={} tk={} hq={} hkv={} d={} dtype={} mask={} left={} right={} padding={} bias={} "
        "p={} packed={:d} layout={} threads=2 seed={}",
        b, tq, tk, hq, hkv, d, pick(random, types),
        pick<std::string>(random, {"full", "causal", "causal", "window"}), reach(), reach(),
        is_packed || random.below(2) ? 0 : 1 + random.below(3),
        is_packed || random.below(6) ? 0 : 1 + random.below(8), pick<double>(random, {0, 0, 0.1}),
        is_packed, tq == tk ? random.below(3) : random.below(2), random.next_u32() % 100'000);
  }
}

// Long sequences packed beside short ones, which lengths of a few thousand elements never give.
std::string draw_long_problem(Random& random) {
  return fmt::format(
      "b={} tq=7000 tk=7000 hq=1 hkv=1 d={} dtype={} mask={} left=0 right=0 padding=0 bias=0 p={} "
      "packed=1 layout=2 threads=2 seed={}",
      2 + random.below(3), pick<int64_t>(random, {64, 128, 128}),
      pick<std::string>(random, {"f16", "bf16"}), pick<std::string>(random, {"full", "causal"}),
      pick<double>(random, {0, 0.1}), random.next_u32() % 100'000);
}

bool has_same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

// How far sums of f32 that are added up in another order, and rounded, may be apart.
double bound_of(const std::vector<double>& values, DType dtype) {
  double largest = 0;
  for (double x : values) largest = std::max(largest, std::abs(x));
  return (2 * epsilon_of(dtype) + 1e-5) * largest;
}

// A problem with its tensors in a context's arena, and what came out when it ran alone.
class StressProblem {
 public:
  StressProblem(Context& ctx, const AttentionImpl& impl, const std::string& line,
                bool is_deterministic)
      : ctx_(ctx), impl_(impl), case_(line), data_(case_), is_deterministic_(is_deterministic) {
    prepare();
    tensors_ = std::make_unique<AttentionTensors>(ctx, case_, data_);
  }

  void run_alone() {
    prepare();
    alone_ = tensors_->run(ctx_);
    for (const auto* values : {&alone_.out, &alone_.lse, &alone_.dq, &alone_.dk, &alone_.dv}) {
      const auto is_nan = [](double x) { return std::isnan(x); };
      EXPECT_TRUE(std::ranges::none_of(*values, is_nan)) << case_.line << " --impl " << impl_.name;
    }
  }
  void poison_outputs() const { tensors_->poison_outputs(); }
  void start() {
    prepare();
    attention_forward(ctx_, tensors_->forward);
    attention_backward(ctx_, tensors_->backward);
  }
  // Once it is done.
  void expect_as_alone() const {
    SCOPED_TRACE(fmt::format("alone: strobe_attention_test --case \"{}\" --impl {}; {}", case_.line,
                             impl_.name, is_deterministic_ ? "deterministic" : "in any order"));
    const AttentionOutputs now = tensors_->take_outputs();
    EXPECT_TRUE(has_same_bits(now.out, alone_.out)) << "out is not as it was alone";
    EXPECT_TRUE(has_same_bits(now.lse, alone_.lse)) << "lse is not as it was alone";
    expect_gradient_as_alone("dq", now.dq, alone_.dq);
    expect_gradient_as_alone("dk", now.dk, alone_.dk);
    expect_gradient_as_alone("dv", now.dv, alone_.dv);
    expect_gradient_as_alone("dbias", now.dbias, alone_.dbias);
  }

 private:
  void prepare() {
    ctx_.prefer("attention", {.implementation = std::string(impl_.name)});
    ctx_.set_deterministic(is_deterministic_);
  }
  void expect_gradient_as_alone(const char* name, const std::vector<double>& now,
                                const std::vector<double>& alone) const {
    if (is_deterministic_ || ctx_.device().kind == DeviceKind::cpu) {
      EXPECT_TRUE(has_same_bits(now, alone)) << name << " is not as it was alone";
    } else {
      EXPECT_TRUE(is_close(name, now, alone, 0, bound_of(alone, case_.dtype)));
    }
  }

  Context& ctx_;
  const AttentionImpl& impl_;
  const AttentionCase case_;
  const AttentionData data_;
  const bool is_deterministic_;
  std::unique_ptr<AttentionTensors> tensors_;
  AttentionOutputs alone_;
};

// The streams, each with a context, a thread that starts what runs there, and problems that are
// drawn anew from round to round.
class Streams {
 public:
  explicit Streams(uint64_t seed)
      : random_(PhiloxKey{{static_cast<uint32_t>(seed), 0x57E5}}), device_(options().device) {
    for (const AttentionImpl& impl : attention_impls()) {
      if (impl.algorithm != Algorithm::flash) continue;
      if (!options().only_impl.empty() && options().only_impl != impl.name) continue;
      const bool is_for_device = is_for_gpu(impl.name) == (device_.kind == DeviceKind::cuda);
      const AttentionProblem any = {.head_dim = 64, .dtype = DType::bf16, .needs_backward = true};
      if (is_for_device && impl.why_not(any, device_).empty()) impls_.push_back(&impl);
    }
    // Without poison, whose guards would be looked at after every pass, by a host that waits.
    for (int i = 0; i < kStreams; ++i) {
      contexts_.push_back(std::make_unique<Context>(device_, ArenaOptions{}));
    }
  }

  bool has_implementations() const { return !impls_.empty(); }

  void run_round() {
    std::deque<Arena::Scope> scopes;
    for (const auto& ctx : contexts_) scopes.emplace_back(ctx->arena());
    std::vector<std::vector<std::unique_ptr<StressProblem>>> problems(kStreams);
    for (int i = 0; i < kStreams * kProblemsOfStream; ++i) {
      problems[i % kStreams].push_back(draw(*contexts_[i % kStreams]));
      problems[i % kStreams].back()->run_alone();
    }
    for (int pass = 0; pass < kPasses && !::testing::Test::HasFailure(); ++pass) {
      for (const auto& of_stream : problems) {
        for (const auto& problem : of_stream) problem->poison_outputs();
      }
      run_at_once(problems);
      for (const auto& of_stream : problems) {
        for (const auto& problem : of_stream) problem->expect_as_alone();
      }
      runs_ += kStreams * kProblemsOfStream;
    }
  }

  void print_counts() const {
    fmt::print("{} runs on {} streams, each of a problem that had run alone:", runs_, kStreams);
    for (const auto& [name, count] : counts_) fmt::print(" {} of {}", count, name);
    fmt::print("\n");
  }

 private:
  std::unique_ptr<StressProblem> draw(Context& ctx) {
    const AttentionImpl& impl = *impls_[next_impl_++ % impls_.size()];
    for (;;) {
      const bool is_long = device_.kind == DeviceKind::cuda && random_.below(24) == 0;
      const std::string line = is_long ? draw_long_problem(random_) : draw_problem(random_);
      if (!impl.why_not(problem_of(AttentionCase(line)), device_).empty()) continue;
      ++counts_[impl.name];
      return std::make_unique<StressProblem>(ctx, impl, line, random_.below(2) == 0);
    }
  }

  void run_at_once(const std::vector<std::vector<std::unique_ptr<StressProblem>>>& problems) {
    std::latch all_ready(kStreams);
    std::vector<std::exception_ptr> errors(kStreams);
    std::vector<std::jthread> threads;
    for (int i = 0; i < kStreams; ++i) {
      threads.emplace_back([&, i] {
        all_ready.arrive_and_wait();
        try {
          for (const auto& problem : problems[i]) problem->start();
          contexts_[i]->synchronize();
        } catch (...) {
          errors[i] = std::current_exception();
        }
      });
    }
    threads.clear();  // waits for them
    for (const std::exception_ptr& error : errors) {
      if (error) std::rethrow_exception(error);
    }
  }

  Random random_;
  Device device_;
  std::vector<const AttentionImpl*> impls_;
  size_t next_impl_ = 0;
  std::vector<std::unique_ptr<Context>> contexts_;
  int64_t runs_ = 0;
  std::map<std::string_view, int64_t> counts_;
};

TEST(AttentionStress, ProblemsOfSeveralStreamsComeOutAsAlone) {
  const double seconds = options().seconds > 0 ? options().seconds : kDefaultSeconds;
  fmt::print("--seed {} --seconds {}\n", options().seed, seconds);
  Streams streams(options().seed);
  if (!streams.has_implementations()) GTEST_SKIP() << "no flash attention can run here";
  const auto begin = std::chrono::steady_clock::now();
  const auto passed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  do {
    streams.run_round();
  } while (passed() < seconds && !HasFailure());
  streams.print_counts();
}

}  // namespace
}  // namespace strobe::testing
