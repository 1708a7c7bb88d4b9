#include "strobe/ops/gather_rows/gather_rows.h"

#include <cmath>

#include "strobe/ops/gather_rows/gather_rows_reference.h"
#include "tests/testkit/compare.h"
#include "tests/testkit/conformance.h"
#include "tests/testkit/tensors.h"

namespace strobe {
namespace {

using testing::CaseLine;
using Doubles = std::vector<double>;

std::string draw_case(Random& random) {
  return fmt::format("rows={} c={} count={} dtype={} seed={}",
                     testing::pick(random, std::vector<int>{1, 2, 40}),
                     testing::pick(random, std::vector<int>{1, 7, 8, 100, 768, 1031, 2048}),
                     testing::pick(random, std::vector<int>{0, 1, 5, 33}),
                     testing::pick(random, std::vector<DType>{DType::f32, DType::f16, DType::bf16}),
                     random.below(1000000));
}

void run_case(Context& ctx, const CaseLine& c) {
  const int64_t rows = c.number("rows"), columns = c.number("c"), count = c.number("count");
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor x = make.normal(c.dtype(), {rows, columns});
  const Tensor indices = make.empty(DType::i32, {count});
  testing::fill(indices, [&] { return static_cast<double>(make.random.below(rows)); });
  const Tensor out = make.empty(c.dtype(), {count, columns});
  const testing::InputsUnchanged inputs({x, indices});
  gather_rows(ctx, {.x = x, .indices = indices, .out = out});
  const Doubles values = testing::to_doubles(indices);
  EXPECT_TRUE(testing::is_equal(
      "out", testing::to_doubles(out),
      gather_rows_reference(testing::to_doubles(x),
                            std::vector<int32_t>(values.begin(), values.end()), columns)));
}

TEST(GatherRows, ConformsToReference) {
  testing::run_conformance("gather_rows", gather_rows_impls(), testing::random_cases(60, draw_case),
                           run_case);
}

// What the host cannot check shows in the result.
void run_bad_index_case(Context& ctx, const CaseLine& c) {
  testing::TensorSource make{ctx.arena(), c.random()};
  const Tensor x = make.normal(c.dtype(), {3, 8}), out = make.empty(c.dtype(), {3, 8});
  const Tensor indices = make.empty(DType::i32, {3});
  testing::fill(indices, {3, 1, -1});
  const GatherRows args = {.x = x, .indices = indices, .out = out};
  if (ctx.device().kind == DeviceKind::cpu) {
    EXPECT_EQ(testing::error_of([&] { gather_rows(ctx, args); }),
              "gather_rows: index 3 at 0, allowed are 0 to 2");
    return;
  }
  gather_rows(ctx, args);
  const Doubles values = testing::to_doubles(out);
  for (int64_t i = 0; i < out.numel(); ++i) EXPECT_EQ(std::isnan(values[i]), i / 8 != 1);
}

TEST(GatherRows, BadIndicesAreSeen) {
  testing::run_conformance("gather_rows", gather_rows_impls(), {"dtype=f32 seed=1"},
                           run_bad_index_case);
}

TEST(GatherRows, BadArgumentsAreNamed) {
  Context ctx;
  std::vector<float> memory(64);
  std::vector<int32_t> indices = {0, 1};
  GatherRows args = {.x = Tensor::of(memory.data(), {2, 8}),
                     .indices = Tensor::of(indices.data(), {2}),
                     .out = Tensor::of(memory.data() + 32, {1, 8})};
  EXPECT_EQ(testing::error_of([&] { gather_rows(ctx, args); }),
            "gather_rows out has shape [1, 8], expected [2, 8]");
}

}  // namespace
}  // namespace strobe
