// What the row of Hopper GPUs refuses, and why. No GPU is asked, and no kernel runs.
#include "strobe/ops/attention/cuda/sm90/flash_sm90_choice.h"

#include <gtest/gtest.h>

namespace strobe {
namespace {

constexpr int kHopper = 90;

constexpr Sm90Variant<AttentionForward> kForward[] = {{DType::f16, 64, nullptr},
                                                      {DType::f16, 128, nullptr},
                                                      {DType::bf16, 64, nullptr},
                                                      {DType::bf16, 128, nullptr}};
constexpr Sm90Variant<AttentionBackward> kBackward[] = {
    {DType::bf16, 64, nullptr}, {DType::bf16, 128, nullptr}, {DType::bf16, 256, nullptr}};

// The reason why not, of a problem that is taken but for what `change` makes of it.
template <class Change>
std::string refusal(const Change& change, int capability = kHopper,
                    std::span<const Sm90Variant<AttentionForward>> variants = kForward) {
  AttentionProblem p = {.batch = 2,
                        .seq_q = 100,
                        .seq_k = 200,
                        .heads_q = 4,
                        .heads_kv = 2,
                        .head_dim = 128,
                        .dtype = DType::bf16,
                        .mask = causal(),
                        .has_dropout = true,
                        .needs_backward = true};
  change(p);
  return why_not_sm90(p, capability, variants);
}

using P = AttentionProblem;

constexpr auto kNoChange = [](P&) {};

TEST(FlashSm90Choice, TakesWhatItHasKernelsFor) {
  EXPECT_EQ(refusal(kNoChange), "");
  EXPECT_EQ(refusal([](P& p) { p.dtype = DType::f16; }), "");
  EXPECT_EQ(refusal([](P& p) { p.head_dim = 8; }), "");
  EXPECT_EQ(refusal([](P& p) { p.has_padding = true; }), "");
  EXPECT_EQ(refusal([](P& p) { p.is_deterministic = true; }), "");
}

TEST(FlashSm90Choice, RunsOnHopperOnly) {
  for (const int capability : {80, 89, 100, 120}) {
    EXPECT_EQ(refusal(kNoChange, capability),
              fmt::format("runs on compute capability 9.0 only, the GPU has {}.{}", capability / 10,
                          capability % 10));
  }
}

TEST(FlashSm90Choice, RefusesWhatItHasNoKernelsFor) {
  EXPECT_EQ(refusal(kNoChange, kHopper, {}), "no kernels of compute capability 9.0 are compiled");
  EXPECT_EQ(refusal([](P& p) { p.is_decode = true; }), "has no decode pass");
  EXPECT_EQ(refusal([](P& p) { p.dtype = DType::f32; }), "takes f16 and bf16, not f32");
  EXPECT_EQ(refusal([](P& p) { p.has_bias = true; }), "takes no bias");
  EXPECT_EQ(refusal([](P& p) { p.head_dim = 136; }),
            "head_dim is 136, compiled are those up to 128");
}

TEST(FlashSm90Choice, RefusesWhatTheCopyEngineDoesNotTake) {
  EXPECT_EQ(refusal([](P& p) { p.fits_copy_engine = false; }),
            "rows do not all begin at multiples of 16 bytes, or strides are 0, negative, or 2⁴⁰ "
            "bytes and more");
}

TEST(FlashSm90Choice, CountsPositionsAndTilesIn32Bits) {
  constexpr int64_t kMost = (int64_t{1} << 29) - 1;
  const auto one_head = [](P& p) { p.batch = p.heads_q = p.heads_kv = 1; };
  for (int64_t P::*length : {&P::seq_q, &P::seq_k}) {
    EXPECT_EQ(refusal([&](P& p) { one_head(p), p.*length = kMost; }), "");
    EXPECT_EQ(refusal([&](P& p) { one_head(p), p.*length = kMost + 1; }),
              "takes sequences of up to 536870911 positions, not 536870912");
  }
  const auto tiles = [](P& p) {
    p.batch = 1 << 15, p.heads_q = 1 << 15, p.seq_k = 64, p.seq_q = 1;
  };
  EXPECT_EQ(refusal(tiles), "");
  EXPECT_EQ(refusal([&](P& p) { tiles(p), p.seq_q = 65; }),
            "takes up to 1073741824 tiles of 64 rows in all heads, not 2147483648");
  EXPECT_EQ(refusal([&](P& p) { tiles(p), p.is_packed = true; }),
            "takes up to 1073741824 tiles of 64 rows in all heads, not 1073774592");
}

// Above 128 columns dq is added up in any order: the portable kernel is asked for another.
TEST(FlashSm90Choice, LeavesWideDeterministicBackwardToThePortableKernel) {
  const auto head_dim = [](DType dtype, int64_t width, bool is_deterministic) {
    const auto* variant = sm90_backward_variant(kBackward, dtype, width, is_deterministic);
    return variant == nullptr ? 0 : variant->head_dim;
  };
  for (const bool is_deterministic : {false, true}) {
    EXPECT_EQ(head_dim(DType::bf16, 40, is_deterministic), 64);
    EXPECT_EQ(head_dim(DType::bf16, 128, is_deterministic), 128);
    EXPECT_EQ(head_dim(DType::f16, 64, is_deterministic), 0) << "none is compiled";
  }
  EXPECT_EQ(head_dim(DType::bf16, 136, false), 256);
  EXPECT_EQ(head_dim(DType::bf16, 136, true), 0);
  EXPECT_EQ(head_dim(DType::bf16, 256, true), 0);
}

}  // namespace
}  // namespace strobe
