// Every implementation of attention against the definition, on random cases and by properties.
//   strobe_attention_test --case "b=2 tq=113 …" --impl cpu_flash_avx2     repeats one failure
#include <gtest/gtest.h>

#include <algorithm>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "strobe/ops/attention/attention_testing.h"
#include "strobe/ops/attention/cuda/sm90/flash_backward_tiles.h"
#include "strobe/ops/attention/cuda/sm90/flash_forward_tiles.h"

namespace strobe::testing {
namespace {

// Multiplications of one product of the reference; bounds the time that a case takes.
int64_t cost_of(int64_t b, int64_t tq, int64_t tk, int64_t hq, int64_t d) {
  return b * tq * tk * hq * d;
}
constexpr int64_t kMostCost = 600'000;

std::string draw_case(Random& random) {
  const std::vector<std::string> types = types_under_test();
  // Around the tile sizes of all kernels, and primes.
  const std::vector<int64_t> lengths = {1,   2,   3,   7,   13,  15,  16,  17,  31,  32,  33,  47,
                                        48,  49,  63,  64,  65,  95,  96,  97,  101, 113, 127, 128,
                                        129, 191, 192, 193, 255, 256, 257, 383, 384, 385};
  const std::vector<int64_t> head_dims = {8, 16, 24, 32, 40, 56, 64, 64, 72, 80, 96, 128, 136, 256};
  for (;;) {
    const int64_t b = pick<int64_t>(random, {1, 1, 2, 3}),
                  hkv = pick<int64_t>(random, {1, 1, 2, 3});
    const int64_t hq = hkv * pick<int64_t>(random, {1, 1, 1, 2, 3}), d = pick(random, head_dims);
    const int64_t tq = random.below(40) == 0 ? 0 : pick(random, lengths);
    const int64_t tk = random.below(40) == 0  ? 0
                       : random.below(3) == 0 ? tq
                                              : pick(random, lengths);
    if (cost_of(b, tq, tk, hq, d) > kMostCost) continue;
    const bool is_packed = random.below(5) == 0;
    const std::string mask = pick<std::string>(random, {"full", "causal", "causal", "window"});
    const auto reach = [&] { return static_cast<int64_t>(random.below(random.below(2) ? 4 : 70)); };
    return fmt::format(
        "b={} tq={} tk={} hq={} hkv={} d={} dtype={} mask={} left={} right={} padding={} bias={} "
        "p={} packed={:d} layout={} threads={} seed={}",
        b, tq, tk, hq, hkv, d, pick(random, types), mask, reach(), reach(),
        is_packed || random.below(2) ? 0 : 1 + random.below(3),
        is_packed || random.below(3) ? 0 : 1 + random.below(8),
        pick<double>(random, {0, 0, 0.1, 0.5}), is_packed,
        tq == tk ? random.below(3) : random.below(2), 1 + random.below(4),
        random.next_u32() % 100'000);
  }
}

// Random cases, and queries so many that the backward pass of flash takes them in blocks on a CPU
// (of packed sequences, larger ones for a shorter sequence), and that Hopper's kernels take other
// tiles (the static_asserts), or, with groups of 4, another order.
std::vector<std::string> all_cases() {
  static_assert(flash_backward_sm90_block_q(96, false, 1050) == 80);
  static_assert(flash_backward_sm90_block_q(128, false, 1050) == 80);
  static_assert(kLongSequence <= 2100 && flash_forward_sm90_tile(128, false, true).block_k == 80);
  std::vector<std::string> cases = random_cases(300, draw_case);
  for (const char* many_queries :
       {"b=1 tq=3101 tk=23 hq=2 hkv=1 d=8 dtype=f32 mask=full left=0 right=0 padding=0 bias=2 "
        "p=0.1 packed=0 layout=0 threads=2 seed=1",
        "b=1 tq=1537 tk=101 hq=1 hkv=1 d=40 dtype=bf16 mask=window left=1490 right=5 padding=3 "
        "bias=0 p=0 packed=0 layout=1 threads=3 seed=2",
        "b=2 tq=1633 tk=1633 hq=1 hkv=1 d=8 dtype=bf16 mask=causal left=0 right=0 padding=0 "
        "bias=0 p=0.5 packed=1 layout=0 threads=1 seed=3",
        "b=1 tq=1103 tk=150 hq=2 hkv=1 d=72 dtype=bf16 mask=full left=0 right=0 padding=3 bias=0 "
        "p=0 packed=0 layout=0 threads=4 seed=4",
        "b=1 tq=2109 tk=150 hq=1 hkv=1 d=104 dtype=f16 mask=causal left=0 right=0 padding=0 bias=0 "
        "p=0 packed=0 layout=1 threads=4 seed=5",
        "b=1 tq=1203 tk=203 hq=1 hkv=1 d=96 dtype=bf16 mask=window left=900 right=700 padding=1 "
        "bias=0 p=0 packed=0 layout=0 threads=4 seed=6",
        "b=2 tq=1321 tk=133 hq=1 hkv=1 d=128 dtype=bf16 mask=full left=0 right=0 padding=0 bias=0 "
        "p=0 packed=1 layout=0 threads=4 seed=7",
        "b=2 tq=1321 tk=133 hq=1 hkv=1 d=128 dtype=bf16 mask=full left=0 right=0 padding=0 bias=0 "
        "p=0 packed=1 layout=0 threads=4 seed=8",
        "b=1 tq=151 tk=301 hq=4 hkv=1 d=40 dtype=bf16 mask=causal left=0 right=0 padding=2 bias=0 "
        "p=0.1 packed=0 layout=0 threads=2 seed=8"}) {
    cases.emplace_back(many_queries);
  }
  return cases;
}

// Where a row of the reference is exactly zero, nothing but zero will do: masked means zero.
void expect_zero_rows(const char* name, const std::vector<double>& actual,
                      const std::vector<double>& exact, int64_t row) {
  for (size_t begin = 0; begin < exact.size(); begin += row) {
    const auto is_zero = [&](const std::vector<double>& values) {
      return std::all_of(&values[begin], &values[begin] + row, [](double x) { return x == 0; });
    };
    ASSERT_TRUE(!is_zero(exact) || is_zero(actual)) << name << " row " << begin / row;
  }
}

void expect_conforms(const AttentionImpl& impl, Context& ctx, const AttentionCase& c,
                     const AttentionData& data, bool is_reproducible) {
  const Arena::Scope scope(ctx.arena());
  AttentionTensors tensors(ctx, c, data);
  ctx.arena().reset_peaks();
  const AttentionOutputs first = tensors.run(ctx);
  EXPECT_EQ(ctx.arena().report().peak_bytes[static_cast<int>(MemoryUse::attention)],
            impl.workspace_bytes(problem_of(ctx, tensors.backward)));
  expect_as_good_as_plain(first, c, data);
  expect_zero_rows("out", first.out, data.expected().exact.out, c.head_dim);
  expect_zero_rows("dv", first.dv, data.expected().exact.dv, c.head_dim);

  const AttentionOutputs second = tensors.run(ctx);
  EXPECT_TRUE(first.out == second.out && first.lse == second.lse) << "forward is not reproducible";
  if (!is_reproducible) return;
  EXPECT_TRUE(first.dq == second.dq && first.dk == second.dk && first.dv == second.dv &&
              first.dbias == second.dbias)
      << "backward is not reproducible";
}

TEST(Attention, ConformsToItsDefinition) {
  const auto body = [](const AttentionImpl& impl, Context& ctx, const AttentionCase& c,
                       const AttentionData& data) {
    // A CPU knows one way; a GPU may know a faster one beside the deterministic one.
    const bool is_cpu = ctx.device().kind == DeviceKind::cpu;
    for (const bool is_deterministic : is_cpu ? std::vector{false} : std::vector{false, true}) {
      ctx.set_deterministic(is_deterministic);
      expect_conforms(impl, ctx, c, data, is_cpu || is_deterministic);
    }
  };
  for_all_implementations(all_cases(), body);
}

// An implementation that cannot load such rows says so.
TEST(Attention, RowsAtOddAddressesConformOrAreRefused) {
  const std::vector<std::string> lines = {
      "b=2 tq=70 tk=97 hq=2 hkv=1 d=64 dtype=bf16 mask=causal padding=2 bias=1 p=0.1 packed=0 "
      "layout=3 threads=2 seed=4",
      "b=1 tq=65 tk=33 hq=1 hkv=1 d=40 dtype=f16 mask=full padding=0 bias=0 p=0 packed=0 layout=3 "
      "threads=1 seed=5",
      "b=3 tq=50 tk=50 hq=2 hkv=2 d=24 dtype=f32 mask=window left=9 right=3 padding=0 bias=0 p=0.1 "
      "packed=1 layout=3 threads=1 seed=6"};
  const auto body = [](const AttentionImpl&, Context& ctx, const AttentionCase& c,
                       const AttentionData& data) {
    try {
      expect_as_good_as_plain(AttentionTensors(ctx, c, data).run(ctx), c, data);
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("multiples of 16 bytes"), std::string::npos)
          << error.what();
      EXPECT_NE(ctx.device().kind, DeviceKind::cpu);
    }
  };
  for_all_implementations(lines, body);
}

// Attention may be the first that a thread asks of the device.
TEST(Attention, AnotherThreadMayStartIt) {
  const std::vector<std::string> lines = {
      "b=1 tq=70 tk=97 hq=2 hkv=1 d=64 dtype=bf16 mask=causal padding=0 bias=0 p=0 packed=0 "
      "layout=0 threads=1 seed=7",
      "b=1 tq=40 tk=40 hq=1 hkv=1 d=32 dtype=f32 mask=full padding=0 bias=0 p=0 packed=0 layout=0 "
      "threads=1 seed=8"};
  const auto body = [](const AttentionImpl&, Context& ctx, const AttentionCase& c,
                       const AttentionData& data) {
    AttentionTensors tensors(ctx, c, data);
    std::string error;
    std::thread([&] {
      try {
        attention_forward(ctx, tensors.forward);
        attention_backward(ctx, tensors.backward);
        ctx.synchronize();
      } catch (const std::exception& e) {
        error = e.what();
      }
    }).join();
    EXPECT_EQ(error, "");
    expect_as_good_as_plain(tensors.take_outputs(), c, data);
  };
  for_all_implementations(lines, body);
}

// A GPU takes any numbers for lengths. Of those that do not ascend wrong results come, but they do,
// and lie nowhere but in the outputs.
TEST(Attention, SequencesThatDoNotAscendComeToAnEnd) {
  const std::vector<std::string> lines = {
      "b=3 tq=200 tk=1200 hq=2 hkv=1 d=64 dtype=bf16 mask=full left=0 right=0 padding=0 bias=0 p=0 "
      "packed=1 layout=1 threads=1 seed=1",
      "b=3 tq=900 tk=900 hq=1 hkv=1 d=128 dtype=bf16 mask=causal left=0 right=0 padding=0 bias=0 "
      "p=0 packed=1 layout=0 threads=1 seed=2",
      "b=3 tq=200 tk=900 hq=1 hkv=1 d=32 dtype=f32 mask=full left=0 right=0 padding=0 bias=0 p=0 "
      "packed=1 layout=0 threads=1 seed=3"};
  const auto body = [](const AttentionImpl&, Context& ctx, const AttentionCase& c,
                       const AttentionData& data) {
    constexpr double kManyRows = 700;  // several tiles
    ASSERT_GT(data.rows_k, kManyRows);
    ASSERT_GT(data.rows_q, 0);
    if (ctx.device().kind == DeviceKind::cpu) return;  // refuses them
    const auto rows_q = static_cast<double>(data.rows_q), rows_k = static_cast<double>(data.rows_k);
    for (const double first : {0.0, -kManyRows}) {
      AttentionData wrong = data;
      wrong.cu_q = {first, 0, 0, rows_q};
      wrong.cu_k = {first, rows_k, 64, rows_k};
      AttentionTensors tensors(ctx, c, wrong);
      attention_forward(ctx, tensors.forward);
      attention_backward(ctx, tensors.backward);
      ctx.synchronize();
      tensors.take_outputs();
    }
  };
  for_all_implementations(lines, body);
}

}  // namespace
}  // namespace strobe::testing
