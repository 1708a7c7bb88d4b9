// The attention probabilities that GPT-2 shows.
#include <gtest/gtest.h>

#include <cmath>

#include "strobe/models/gpt2_testing.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/options.h"
#include "tests/testkit/tensors.h"

namespace strobe::testing {
namespace {

constexpr int64_t kLayers = 3, kHeads = 2, kTime = 13, kBatch = 2;

const Gpt2Config kConfig = {
    .vocab_size = 43, .n_positions = 20, .n_embd = 16, .n_layer = kLayers, .n_head = kHeads};

// A head that asks for nothing attends to all that it sees alike.
void silence(Gpt2& model, int64_t block, int64_t head) {
  const int64_t head_dim = kConfig.head_dim();
  const std::string prefix = fmt::format("transformer.h.{}.attn.c_attn.", block);
  model.for_each_parameter([&](Parameter& p) {
    if (!p.hf_name.starts_with(prefix)) return;
    const int dim = p.value.rank() - 1;  // the queries come first
    fill(p.value.slice(dim, head * head_dim, (head + 1) * head_dim), [] { return 0; });
  });
}

double largest_distance_from_uniform(const Tensor& p, int64_t sequence) {
  const std::vector<double> values = testing::to_doubles(p);
  double worst = 0;
  for (int64_t i = 0; i < kTime; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < kTime; ++j) {
      const double value = values[(sequence * kTime + i) * kTime + j];
      const double uniform = j <= i ? 1.0 / static_cast<double>(i + 1) : 0;
      worst = std::max(worst, std::abs(value - uniform));
      if (j > i) {
        EXPECT_EQ(value, 0) << "the future";
      }
      sum += value;
    }
    EXPECT_NEAR(sum, 1, 1e-5);
  }
  return worst;
}

TEST(Gpt2Attention, IsThatOfTheHeadAskedFor) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const char* attention : {"standard", "flash"}) {
      Context ctx(options().device, {.poison = true});
      Gpt2 model(ctx, kConfig, dtype, /*is_trainable=*/false);
      randomize(ctx, model, 3);
      silence(model, 1, 1);
      model.set_attention(attention);
      TestBatch batch = random_batch(kConfig, kBatch, kTime, 5);
      for (int64_t block = 0; block < kLayers; ++block) {
        for (int64_t head = 0; head < kHeads; ++head) {
          const Arena::Scope scope(ctx.arena());
          const Tensor p = model.attention_probabilities(ctx, batch.view(), block, head);
          ASSERT_EQ(p.shape, (Shape{kBatch, kTime, kTime}));
          for (int64_t sequence = 0; sequence < kBatch; ++sequence) {
            const double distance = largest_distance_from_uniform(p, sequence);
            if (block == 1 && head == 1) {
              EXPECT_LT(distance, 1e-5) << attention;
            } else {
              EXPECT_GT(distance, 1e-2) << attention << " " << block << " " << head;
            }
          }
        }
      }
    }
  }
}

TEST(Gpt2Attention, MistakesAreNamed) {
  Context ctx(options().device);
  Gpt2 model(ctx, kConfig, DType::f32, /*is_trainable=*/false);
  TestBatch batch = random_batch(kConfig, 1, 4, 1);
  const auto error = [&](int64_t block, int64_t head) {
    return error_of([&] { model.attention_probabilities(ctx, batch.view(), block, head); });
  };
  EXPECT_EQ(error(3, 0), "layer 3, allowed is 0 to 2");
  EXPECT_EQ(error(-1, 0), "layer -1, allowed is 0 to 2");
  EXPECT_EQ(error(0, 2), "head 2, allowed is 0 to 1");
}

}  // namespace
}  // namespace strobe::testing
