// Every implementation of attention against the definition, on random cases and by properties.
//   strobe_attention_test --case "b=2 tq=113 …" --impl cpu_flash_avx2     repeats one failure
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "strobe/ops/attention/attention_case.h"
#include "strobe/ops/attention/dropout.h"
#include "tests/testkit/compare.h"

namespace strobe::testing {
namespace {

// Multiplications of one product of the reference; bounds the time that a case takes.
int64_t cost_of(int64_t b, int64_t tq, int64_t tk, int64_t hq, int64_t d) {
  return b * tq * tk * hq * d;
}
constexpr int64_t kMostCost = 600'000;

std::string draw_case(Random& random) {
  // Around the tile sizes of all kernels, and primes.
  const std::vector<int64_t> lengths = {1,  2,  3,  7,  13, 15, 16,  17,  31,  32,  33,  47,  48,
                                        49, 63, 64, 65, 95, 96, 97,  101, 113, 127, 128, 129, 191,
                                        192, 193, 255, 256, 257, 383, 384, 385};
  const std::vector<int64_t> head_dims = {8, 16, 24, 32, 40, 56, 64, 64, 72, 80, 96, 128, 136, 256};
  for (;;) {
    const int64_t b = pick<int64_t>(random, {1, 1, 2, 3}), hkv = pick<int64_t>(random, {1, 1, 2, 3});
    const int64_t hq = hkv * pick<int64_t>(random, {1, 1, 1, 2, 3}), d = pick(random, head_dims);
    const int64_t tq = random.below(40) == 0 ? 0 : pick(random, lengths);
    const int64_t tk = random.below(40) == 0 ? 0 : random.below(3) == 0 ? tq : pick(random, lengths);
    if (cost_of(b, tq, tk, hq, d) > kMostCost) continue;
    const bool is_packed = random.below(5) == 0;
    const std::string mask = pick<std::string>(random, {"full", "causal", "causal", "window"});
    const auto reach = [&] { return static_cast<int64_t>(random.below(random.below(2) ? 4 : 70)); };
    return fmt::format(
        "b={} tq={} tk={} hq={} hkv={} d={} dtype={} mask={} left={} right={} padding={} bias={} "
        "p={} packed={:d} layout={} seed={}",
        b, tq, tk, hq, hkv, d, random.below(2) ? "f32" : "bf16", mask, reach(), reach(),
        is_packed || random.below(2) ? 0 : 1 + random.below(3),
        is_packed || random.below(3) ? 0 : 1 + random.below(8), pick<double>(random, {0, 0, 0.1, 0.5}),
        is_packed, tq == tk ? random.below(3) : random.below(2), random.next_u32() % 100'000);
  }
}

// Calls body(impl, ctx, data, case) for all implementations that can run each of the cases. Fails
// if one that this machine could run had no case at all.
using Body = std::function<void(const AttentionImpl& impl, Context& ctx, const AttentionCase& c,
                                const AttentionData& data)>;
void for_all_implementations(const std::vector<std::string>& lines, const Body& body) {
  const std::vector<std::string> cases =
      options().only_case.empty() ? lines : std::vector<std::string>{options().only_case};
  std::map<std::string_view, int64_t> ran;
  std::map<std::string_view, std::string> reasons;
  for (const std::string& line : cases) {
    const AttentionCase c(line);
    const AttentionData data(c);
    for (const AttentionImpl& impl : attention_impls()) {
      if (!options().only_impl.empty() && options().only_impl != impl.name) continue;
      SCOPED_TRACE(fmt::format("strobe_attention_test --case \"{}\" --impl {}", line, impl.name));
      Context ctx({}, {.poison = true});
      ctx.prefer("attention", {.implementation = std::string(impl.name)});
      const AttentionProblem problem = {.dtype = c.dtype, .is_packed = c.is_packed};
      const std::string reason = impl.why_not(problem, ctx.device());
      if (!reason.empty()) {
        reasons[impl.name] = reason;
        continue;
      }
      body(impl, ctx, c, data);
      ctx.arena().check_guards();
      ++ran[impl.name];
      if (::testing::Test::HasFailure()) return;
    }
  }
  for (const AttentionImpl& impl : attention_impls()) {
    if (!options().only_impl.empty() && options().only_impl != impl.name) continue;
    if (!reasons[impl.name].empty()) fmt::print("{}: {}\n", impl.name, reasons[impl.name]);
    EXPECT_TRUE(ran[impl.name] > 0 || !reasons[impl.name].empty()) << impl.name << " ran no case";
  }
}

void expect_as_good_as_plain(const AttentionOutputs& actual, const AttentionCase& c,
                             const AttentionData& data) {
  const AttentionReferenceResult &exact = data.exact, &plain = data.plain;
  EXPECT_TRUE(as_good_as_plain("out", actual.out, plain.out, exact.out, c.head_dim, c.dtype));
  EXPECT_TRUE(as_good_as_plain("lse", actual.lse, plain.lse, exact.lse, 1, DType::f32,
                               exact.score_terms));
  EXPECT_TRUE(as_good_as_plain("dq", actual.dq, plain.dq, exact.dq, c.head_dim, c.dtype,
                               exact.gradient_terms));
  EXPECT_TRUE(as_good_as_plain("dk", actual.dk, plain.dk, exact.dk, c.head_dim, c.dtype,
                               exact.gradient_terms));
  EXPECT_TRUE(as_good_as_plain("dv", actual.dv, plain.dv, exact.dv, c.head_dim, c.dtype));
}

// Where the reference is exactly zero, nothing but zero will do: masked means zero.
void expect_zeros(const char* name, const std::vector<double>& actual,
                  const std::vector<double>& exact) {
  for (size_t i = 0; i < exact.size(); ++i) {
    ASSERT_TRUE(exact[i] != 0 || actual[i] == 0) << name << "[" << i << "] is " << actual[i];
  }
}

TEST(Attention, ConformsToItsDefinition) {
  const auto body = [](const AttentionImpl& impl, Context& ctx, const AttentionCase& c,
                       const AttentionData& data) {
    AttentionTensors tensors(ctx, c, data);
    ctx.arena().reset_peaks();
    const AttentionOutputs first = tensors.run(ctx);
    EXPECT_EQ(ctx.arena().report().peak_bytes[static_cast<int>(MemoryUse::attention)],
              impl.workspace_bytes(problem_of(tensors.backward)));
    expect_as_good_as_plain(first, c, data);
    expect_zeros("out", first.out, data.exact.out);
    expect_zeros("dv", first.dv, data.exact.dv);

    const AttentionOutputs second = tensors.run(ctx);
    EXPECT_TRUE(first.out == second.out && first.lse == second.lse) << "forward is not reproducible";
    EXPECT_TRUE(first.dq == second.dq && first.dk == second.dk && first.dv == second.dv)
        << "backward is not reproducible";
  };
  for_all_implementations(random_cases(300, draw_case), body);
}

}  // namespace
}  // namespace strobe::testing
