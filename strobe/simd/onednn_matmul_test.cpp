#include "strobe/simd/onednn_matmul.h"

#include <gtest/gtest.h>

#include "tests/testkit/errors.h"

namespace strobe::testing {
namespace {

TEST(OnednnMatmul, RefusesOtherTypes) {
  Context ctx;
  const auto message_of = [&](DType a, DType b, DType c) {
    const auto make = [&](DType dtype) {
      return ctx.arena().allocate(MemoryUse::workspace, dtype, {8, 8});
    };
    const Matmul product = {.a = make(a), .b = make(b), .c = make(c), .bias = {}};
    return error_of([&] { onednn_matmul(ctx, product); });
  };
  const std::string allowed = ", allowed is f32, or bf16 to bf16 or f32";
  EXPECT_EQ(message_of(DType::f16, DType::f16, DType::f16),
            "oneDNN is given f16 times f16 to f16" + allowed);
  EXPECT_EQ(message_of(DType::f32, DType::bf16, DType::f32),
            "oneDNN is given f32 times bf16 to f32" + allowed);
  EXPECT_EQ(message_of(DType::f32, DType::f32, DType::bf16),
            "oneDNN is given f32 times f32 to bf16" + allowed);
  EXPECT_EQ(message_of(DType::f32, DType::f32, DType::f32), "no error");
}

}  // namespace
}  // namespace strobe::testing
