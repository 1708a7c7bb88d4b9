#include "strobe/models/gpt2_config.h"

#include <gtest/gtest.h>

#include "strobe/core/check.h"
#include "strobe/core/json.h"
#include "tests/testkit/errors.h"

namespace strobe {
namespace {

using testing::error_of;

TEST(Gpt2Config, DefaultsAreGpt2Small) {
  const Gpt2Config config;
  EXPECT_NO_THROW(validate(config));
  EXPECT_EQ(config.head_dim(), 64);
  EXPECT_EQ(config.inner_dim(), 3072);
  EXPECT_EQ(gpt2_config_from_json("{}"), config);
}

TEST(Gpt2Config, RoundTrip) {
  Gpt2Config config = {
      .vocab_size = 257, .n_positions = 96, .n_embd = 48, .n_layer = 3, .n_head = 2};
  config.n_inner = 100;
  config.layer_norm_epsilon = 1e-6;
  config.attn_pdrop = 0.25;
  config.eos_token_id = 256;
  EXPECT_EQ(gpt2_config_from_json(to_json(config)), config);
  config.attn_implementation = "standard";
  config.n_inner.reset();
  EXPECT_EQ(gpt2_config_from_json(to_json(config)), config);
}

// transformers refuses a word for attention that it does not know, so it gets its own.
TEST(Gpt2Config, AttentionInBothLanguages) {
  const auto read = [](const std::string& word) {
    return gpt2_config_from_json(R"({"attn_implementation": ")" + word + "\"}");
  };
  const auto written = [](const Gpt2Config& config) {
    return SortedJson::parse(to_json(config)).value("attn_implementation", "nothing");
  };
  EXPECT_EQ(gpt2_config_from_json("{}").attn_implementation, "any");
  EXPECT_EQ(read("flash").attn_implementation, "flash");
  EXPECT_EQ(read("eager").attn_implementation, "standard");
  EXPECT_EQ(read("sdpa").attn_implementation, "flash");
  EXPECT_EQ(read("flash_attention_2").attn_implementation, "flash");
  EXPECT_EQ(read("cpu_flash_avx2").attn_implementation, "cpu_flash_avx2");
  EXPECT_EQ(written(read("any")), "nothing");
  EXPECT_EQ(written(read("standard")), "eager");
  EXPECT_EQ(written(read("flash")), "sdpa");
  EXPECT_EQ(written(read("cpu_flash_avx2")), "sdpa");
  EXPECT_EQ(error_of([&] { read("quick"); }).find("attention is 'quick', allowed are any, "), 0u);
}

TEST(Gpt2Config, PassesOverForeignFields) {
  const Gpt2Config config = gpt2_config_from_json(
      R"({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_ctx": 1024, "n_layer": 24,
          "n_inner": null, "scale_attn_weights": true, "summary_type": "cls_index"})");
  EXPECT_EQ(config.n_layer, 24);
  EXPECT_EQ(config.inner_dim(), 3072);
}

TEST(Gpt2Config, ErrorsNameFieldValueAndWhatIsAllowed) {
  const auto message = [](const std::string& json) {
    return error_of([&] { gpt2_config_from_json(json); });
  };
  EXPECT_EQ(message(R"({"n_embd": 100, "n_head": 3})"),
            "n_embd is 100, allowed is a multiple of n_head, which is 3");
  EXPECT_EQ(message(R"({"n_embd": 60, "n_head": 5})"),
            "n_embd / n_head is 12 (60 / 5), allowed is a multiple of 8 up to 256");
  EXPECT_EQ(message(R"({"n_layer": 0})"), "n_layer is 0, allowed is 1 or more");
  EXPECT_EQ(message(R"({"n_inner": -4})"), "n_inner is -4, allowed is 1 or more");
  EXPECT_EQ(message(R"({"attn_pdrop": 1})"), "attn_pdrop is 1, allowed is [0, 1)");
  EXPECT_EQ(message(R"({"resid_pdrop": -0.1})"), "resid_pdrop is -0.1, allowed is [0, 1)");
  EXPECT_EQ(message(R"({"vocab_size": "many"})"),
            "vocab_size is \"many\", allowed is a whole number");
  EXPECT_EQ(message(R"({"vocab_size": 12.5})"), "vocab_size is 12.5, allowed is a whole number");
  EXPECT_EQ(message(R"({"activation_function": "relu"})"),
            "activation_function is 'relu', allowed is 'gelu_new'");
  EXPECT_EQ(message("{\"activation_function\": \"gelu\x7f\"}"),
            "activation_function is \"gelu\\u007f\", allowed is a name of at most 100 ASCII "
            "characters");
  EXPECT_EQ(message(R"({"model_type": "llama"})"), "model_type is \"llama\", allowed is \"gpt2\"");
  EXPECT_EQ(message(R"({"scale_attn_by_inverse_layer_idx": true})"),
            "scale_attn_by_inverse_layer_idx is true, allowed is false");
  EXPECT_EQ(message(R"({"tie_word_embeddings": false})"),
            "tie_word_embeddings is false, allowed is true");
  EXPECT_EQ(message("{oops").find("the configuration is not JSON: parse error at line 1"), 0u);
  EXPECT_EQ(message(R"({"n_embd": [[[[[[)" + std::string(100'000, '[')),
            "the configuration nests values more than 64 deep");
  EXPECT_EQ(message(R"({"n_layer": 18446744073709551615})"),
            "n_layer is 18446744073709551615, allowed is a whole number");
  EXPECT_EQ(message(R"({"n_embd": 4611686018427387904})"),
            "n_embd is 4611686018427387904, allowed is up to 262144");
  EXPECT_EQ(message("[]"), "the configuration is not a JSON object: []");
}

}  // namespace
}  // namespace strobe
