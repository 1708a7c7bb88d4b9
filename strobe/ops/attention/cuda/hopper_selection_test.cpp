// Who runs attention on a Hopper GPU, where its kernels are compiled.
#include <gtest/gtest.h>

#include "strobe/ops/attention/attention_testing.h"
#include "strobe/ops/attention/cuda/sm90/flash_sm90.h"

namespace strobe::testing {
namespace {

// Skips with the reason where there is no Hopper GPU.
class HopperSelection : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!why_no_cuda().empty()) GTEST_SKIP() << why_no_cuda();
    const int capability = cuda_info().capability;
    if (capability != 90) GTEST_SKIP() << "the compute capability is " << capability << ", not 90";
  }

  // Who runs the forward and the backward pass: "one, another". `change` may change the tensors.
  template <class Change>
  static std::string chosen(int64_t head_dim, DType dtype, int bias, bool is_deterministic,
                            const Change& change) {
    const AttentionCase c(fmt::format(
        "b=2 tq=70 tk=70 hq=4 hkv=2 d={} dtype={} mask=causal padding=0 bias={} p=0.1 packed=0 "
        "layout=2 threads=1 seed=3",
        head_dim, dtype, bias));
    const AttentionData data(c);
    Context ctx({DeviceKind::cuda, 0});
    ctx.set_deterministic(is_deterministic);
    AttentionTensors tensors(ctx, c, data);
    change(tensors);
    return fmt::format("{}, {}", select_attention(ctx, problem_of(ctx, tensors.forward)).name,
                       select_attention(ctx, problem_of(ctx, tensors.backward)).name);
  }
};

constexpr auto kNoChange = [](AttentionTensors&) {};

TEST_F(HopperSelection, ItsOwnKernelsRunEveryHeadDimThatTheyAreCompiledFor) {
  const auto variants = flash_forward_sm90_variants();
  ASSERT_FALSE(variants.empty());
  for (const auto& variant : variants) {
    const auto* backward =
        find_variant(flash_backward_sm90_variants(), variant.dtype, variant.head_dim);
    ASSERT_NE(backward, nullptr) << variant.dtype << ", head_dim " << variant.head_dim;
    EXPECT_EQ(backward->head_dim, variant.head_dim);
    for (const bool is_deterministic : {false, true}) {
      EXPECT_EQ(chosen(variant.head_dim, variant.dtype, 0, is_deterministic, kNoChange),
                "cuda_flash_sm90, cuda_flash_sm90")
          << variant.dtype << ", head_dim " << variant.head_dim;
    }
  }
}

TEST_F(HopperSelection, PortableKernelsRunWhatTheyRefuse) {
  constexpr std::string_view kPortable = "cuda_flash_portable, cuda_flash_portable";
  EXPECT_EQ(chosen(64, DType::f32, 0, false, kNoChange), kPortable);
  EXPECT_EQ(chosen(64, DType::bf16, 8, false, kNoChange), kPortable);
  EXPECT_EQ(chosen(64, DType::bf16, 0, false,
                   [](AttentionTensors& tensors) {  // all heads read one
                     tensors.forward.k.strides[2] = tensors.backward.k.strides[2] = 0;
                   }),
            kPortable);
}

}  // namespace
}  // namespace strobe::testing
