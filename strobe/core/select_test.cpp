#include "strobe/core/select.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "strobe/core/context.h"

namespace strobe {
namespace {

// An op that exists for this test: its problem is a length, and its rows refuse some.
struct Problem {
  int length = 0;
};
struct Row {
  std::string_view name;
  Algorithm algorithm;
  std::string (*why_not)(const Problem&, const Device&);
};

std::string only_short(const Problem& problem, const Device&) {
  return problem.length <= 8 ? "" : fmt::format("length is {}, at most 8", problem.length);
}
std::string only_even(const Problem& problem, const Device&) {
  return problem.length % 2 == 0 ? "" : fmt::format("length is {}, only even ones", problem.length);
}
std::string always(const Problem&, const Device&) { return ""; }

const std::vector<Row> kRows = {{"cpu_flash_wide", Algorithm::flash, only_short},
                                {"cpu_flash", Algorithm::flash, only_even},
                                {"cpu_standard", Algorithm::standard, always}};

const Row& choose(int length, const Wish& wish = {}, size_t rows = 3) {
  return select("attention", std::span(kRows).first(rows), Problem{length}, Device{}, wish);
}

std::string refusal(int length, const Wish& wish, size_t rows = 3) {
  try {
    return fmt::format("chose {}", choose(length, wish, rows).name);
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Select, TakesTheFirstRowThatCanRun) {
  EXPECT_EQ(choose(4).name, "cpu_flash_wide");
  EXPECT_EQ(choose(10).name, "cpu_flash");
  EXPECT_EQ(choose(11).name, "cpu_standard");
}

TEST(Select, GrantsAWishByAlgorithm) {
  EXPECT_EQ(choose(4, {.algorithm = Algorithm::standard}).name, "cpu_standard");
  EXPECT_EQ(choose(10, {.algorithm = Algorithm::flash}).name, "cpu_flash");
}

TEST(Select, GrantsAWishByNameWhichDecides) {
  EXPECT_EQ(choose(4, {.implementation = "cpu_flash"}).name, "cpu_flash");
  EXPECT_EQ(choose(4, {.algorithm = Algorithm::flash, .implementation = "cpu_standard"}).name,
            "cpu_standard");
}

TEST(Select, ListsEveryRowsReasonWhenNoneCanRun) {
  EXPECT_EQ(refusal(11, {.algorithm = Algorithm::flash}),
            "no implementation of attention can run this"
            "; cpu_flash_wide: length is 11, at most 8"
            "; cpu_flash: length is 11, only even ones"
            "; cpu_standard: is standard, flash was asked for");
  EXPECT_EQ(refusal(4, {}, 0), "no implementation of attention can run this");
}

TEST(Select, SaysOfANamedRowItsOwnReasonOnly) {
  EXPECT_EQ(refusal(11, {.implementation = "cpu_flash"}),
            "attention cannot be run by cpu_flash: length is 11, only even ones");
  EXPECT_EQ(refusal(4, {.implementation = "cpu_flesh"}, 2),
            "attention cannot be run by cpu_flesh: there are cpu_flash_wide, cpu_flash");
}

TEST(Select, WorksForOpsWithOneAlgorithm) {
  struct Arguments {};
  using Impl = OpImpl<Arguments, Arguments>;
  const auto f32_only = [](DType dtype, const Device&) -> std::string {
    return dtype == DType::f32 ? "" : fmt::format("dtype is {}, only f32", dtype);
  };
  const std::vector<Impl> rows = {{"cpu_scalar", f32_only, nullptr, nullptr}};
  const Wish flash = {.algorithm = Algorithm::flash};  // says nothing to an op without algorithms
  EXPECT_EQ(select("gelu", std::span<const Impl>(rows), DType::f32, Device{}, flash).name,
            "cpu_scalar");
  EXPECT_THROW(select("gelu", std::span<const Impl>(rows), DType::bf16, Device{}), Error);
}

TEST(Context, KeepsOneWishForEachOp) {
  Context ctx;
  EXPECT_EQ(ctx.wish("attention").algorithm, Algorithm::any);
  ctx.prefer("attention", {.algorithm = Algorithm::flash});
  ctx.prefer("gelu", {.implementation = "cpu_scalar"});
  EXPECT_EQ(ctx.wish("attention").algorithm, Algorithm::flash);
  EXPECT_EQ(ctx.wish("gelu").implementation, "cpu_scalar");
  ctx.prefer("attention", {});
  EXPECT_EQ(ctx.wish("attention").algorithm, Algorithm::any);
}

TEST(Context, AddsUpTheTimeOfAnOp) {
  Context ctx;
  EXPECT_EQ(ctx.seconds_in("attention"), 0);
  double before = 0;
  for (int pass = 0; pass < 2; ++pass) {
    { const Context::Timer timer(ctx, "attention"); }
    EXPECT_GT(ctx.seconds_in("attention"), before);
    before = ctx.seconds_in("attention");
  }
  EXPECT_EQ(ctx.seconds_in("gelu"), 0);
}

TEST(Device, RefusesInstructionSetsWithAReason) {
  EXPECT_EQ(why_not_isa(Isa::scalar, {}), "");
  EXPECT_EQ(why_not_isa(Isa::scalar, {.kind = DeviceKind::cuda}), "runs on cpu, not on cuda");
  const Isa best = cpu_info().isa;
  EXPECT_EQ(why_not_isa(best, {}), "");
  if (best < Isa::avx512_bf16) {
    EXPECT_EQ(why_not_isa(Isa::avx512_bf16, {}),
              fmt::format("needs avx512_bf16, this CPU offers {}", best));
  }
  EXPECT_GE(cpu_info().cores, 1);
  EXPECT_GT(cpu_info().memory_bytes, 0);
  EXPECT_FALSE(cpu_info().model.empty());
}

}  // namespace
}  // namespace strobe
