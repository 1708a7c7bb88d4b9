#include "strobe/ops/cast/cast.h"

#include <bit>
#include <cmath>
#include <numeric>

#include "strobe/core/copy.h"
#include "strobe/ops/cast/cast_reference.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::CaseLine;
using Doubles = std::vector<double>;

std::string draw_case(Random& random) {
  const std::vector<DType> types = {DType::f32, DType::f16, DType::bf16};
  return fmt::format("n={} dtype={} to={} seed={}",
                     testing::pick(random, std::vector<int>{0, 1, 7, 16, 33, 1000, 20000}),
                     testing::pick(random, types), testing::pick(random, types),
                     random.below(1000000));
}

// Values of every size, the halfway points between results among them.
void fill_with_every_size(const Tensor& tensor, Random& random) {
  testing::fill(tensor, [&]() -> double {
    const int exponent = static_cast<int>(random.below(60)) - 35;
    const double value = std::ldexp(random.normal(), exponent);
    switch (random.below(8)) {
      case 0: return std::bit_cast<float>(random.next_u32() & 0xbfffffffu);  // any below 2
      case 1:
        return std::bit_cast<float>(std::bit_cast<uint32_t>(static_cast<float>(value)) &
                                    0xffff8000u);  // halfway for bf16
      case 2:
        return std::bit_cast<float>(std::bit_cast<uint32_t>(static_cast<float>(value)) &
                                    0xfffff000u);  // halfway for f16
      case 3: return static_cast<double>(random.below(200000)) - 100000;
      default: return value;
    }
  });
}

void run_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor from = make.empty(c.dtype(), {c.number("n")});
  const Tensor to = make.empty(c.dtype("to"), {c.number("n")});
  fill_with_every_size(from, make.random);
  const testing::InputsUnchanged inputs({from});
  cast(ctx, {.from = from, .to = to});
  Doubles expected = testing::to_doubles(from);
  for (double& value : expected) value = cast_reference(value, to.dtype);
  EXPECT_TRUE(testing::is_equal("to", testing::to_doubles(to), expected));
}

TEST(Cast, ConformsToReference) {
  testing::run_conformance("cast", cast_impls(), testing::random_cases(150, draw_case), run_case);
}

// Rows with gaps between them on both sides, in another order in memory; the gaps stay as they are.
void run_strided_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  const int64_t seq = c.number("t"), heads = 3, columns = 24;
  const Tensor packed = make.empty(c.dtype(), {2, seq, 3 * heads, columns});
  const Tensor memory = make.empty(c.dtype("to"), {2, heads, seq + 2, columns});
  fill_with_every_size(packed, make.random);
  testing::fill(memory, [] { return 7.0; });
  const Tensor from = packed.slice(2, heads, 2 * heads);
  const Tensor to = memory.transpose(1, 2).slice(1, 1, seq + 1);
  const testing::InputsUnchanged inputs({packed});
  cast(ctx, {.from = from, .to = to});
  Doubles expected = testing::to_doubles(from);
  for (double& value : expected) value = cast_reference(value, to.dtype);
  EXPECT_TRUE(testing::is_equal("to", testing::to_doubles(to), expected));
  for (const int64_t gap : {int64_t{0}, seq + 1}) {
    for (double value : testing::to_doubles(memory.slice(2, gap, gap + 1))) EXPECT_EQ(value, 7.0);
  }
}

TEST(Cast, StridedRows) {
  testing::run_conformance("cast", cast_impls(),
                           {"t=5 dtype=f32 to=f16 seed=1", "t=300 dtype=f32 to=bf16 seed=2",
                            "t=300 dtype=bf16 to=bf16 seed=3", "t=0 dtype=f16 to=f32 seed=4"},
                           run_strided_case);
}

// Infinities, signed zeros and NaN come through as they are.
void run_special_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor from = make.empty(c.dtype(), {37}), to = make.empty(c.dtype("to"), {37});
  const std::vector<double> values = {HUGE_VAL, -HUGE_VAL, 0.0, -0.0, std::nan("")};
  size_t i = 0;
  testing::fill(from, [&] { return values[i++ % values.size()]; });
  cast(ctx, {.from = from, .to = to});
  const Doubles results = testing::to_doubles(to);
  for (i = 0; i < results.size(); ++i) {
    const double value = values[i % values.size()];
    EXPECT_TRUE(std::isnan(value) ? std::isnan(results[i]) : results[i] == value) << "at " << i;
    EXPECT_TRUE(value != 0 || std::signbit(results[i]) == std::signbit(value)) << "at " << i;
  }
}

TEST(Cast, SpecialValues) {
  std::vector<std::string> cases;
  for (const DType from : {DType::f32, DType::f16, DType::bf16}) {
    for (const DType to : {DType::f32, DType::f16, DType::bf16}) {
      cases.push_back(fmt::format("dtype={} to={} seed=1", from, to));
    }
  }
  testing::run_conformance("cast", cast_impls(), cases, run_special_case);
}

// All 65536 bit patterns of the 16-bit types, to f32 and back.
void run_exhaustive_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor from = make.empty(c.dtype(), {65536}), back = make.empty(c.dtype(), {65536});
  const Tensor wide = make.empty(DType::f32, {65536});
  std::vector<uint16_t> bits(65536), returned(65536);
  std::iota(bits.begin(), bits.end(), uint16_t{0});
  const auto on_host = [&](std::vector<uint16_t>& values) {
    return Tensor::contiguous(values.data(), c.dtype(), {65536});
  };
  copy_now(on_host(bits), from);
  cast(ctx, {.from = from, .to = wide});
  cast(ctx, {.from = wide, .to = back});
  const Doubles expected = testing::to_doubles(from), widened = testing::to_doubles(wide);
  copy_now(back, on_host(returned));
  for (int i = 0; i < 65536; ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(widened[i])) << "bits " << i;
    } else {
      EXPECT_EQ(widened[i], expected[i]) << "bits " << i;
      EXPECT_EQ(returned[i], bits[i]) << "bits " << i;
    }
  }
}

TEST(Cast, EveryBitPatternSurvives) {
  testing::run_conformance("cast", cast_impls(), {"dtype=f16 seed=1", "dtype=bf16 seed=1"},
                           run_exhaustive_case);
}

TEST(Cast, BadArgumentsAreNamed) {
  Context ctx;
  std::vector<float> memory(8);
  const Tensor t = Tensor::of(memory.data(), {8});
  Tensor tokens = t;
  tokens.dtype = DType::i32;
  EXPECT_EQ(testing::error_of([&] { cast(ctx, {.from = t, .to = tokens}); }),
            "cast of f32 to i32, allowed are f32, f16 and bf16");
  EXPECT_EQ(testing::error_of([&] { cast(ctx, {.from = t, .to = t.slice(0, 0, 4)}); }),
            "cast to has shape [4], expected [8]");
  const Tensor columns = t.view({2, 4}).transpose(0, 1);
  EXPECT_EQ(testing::error_of([&] { cast(ctx, {.from = columns, .to = columns}); }),
            "cast from of shape [4, 2] has strides [1, 4], the last dimension must be contiguous");
}

}  // namespace
}  // namespace strobe
