// Greedy search against transformers': tools/make_generation_golden.py made the files. Its batches
// are padded on the left, as transformers wants it.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "strobe/data/tokenizer.h"
#include "strobe/generate/generate.h"
#include "strobe/generate/utf8_stream.h"
#include "strobe/models/gpt2_files.h"
#include "tests/testkit/options.h"

namespace strobe::testing {
namespace {

const std::string kFolder = STROBE_SOURCE_DIR "/tests/golden/generation";

struct Golden {
  std::vector<std::string> prompts, texts;
  std::vector<std::vector<int32_t>> tokens, continuations;
  int64_t max_new_tokens = 0;
};

std::vector<Golden> goldens() {
  nlohmann::json batches;
  std::ifstream(kFolder + "/expected.json") >> batches;
  std::vector<Golden> result;
  for (const auto& batch : batches) {
    Golden& golden = result.emplace_back();
    batch.at("prompts").get_to(golden.prompts);
    batch.at("tokens").get_to(golden.tokens);
    batch.at("continuations").get_to(golden.continuations);
    batch.at("texts").get_to(golden.texts);
    batch.at("max_new_tokens").get_to(golden.max_new_tokens);
  }
  return result;
}

class GenerateGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(GenerateGolden, EqualsHuggingFace) {
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(kFolder);
  Context ctx(options().device, {.poison = true});
  Gpt2 model = load_gpt2(ctx, kFolder, DType::f32, /*is_trainable=*/false);
  model.set_attention(GetParam());
  const std::vector<Golden> batches = goldens();
  EXPECT_EQ(batches.size(), 3U);
  for (const Golden& golden : batches) {
    GenerateOptions how = {.max_new_tokens = golden.max_new_tokens,
                           .end_of_text = tokenizer->end_of_text()};
    std::vector<std::vector<int32_t>> prompts;
    for (const std::string& prompt : golden.prompts) prompts.push_back(tokenizer->encode(prompt));
    EXPECT_EQ(prompts, golden.tokens);
    for (const bool use_cache : {true, false}) {
      how.use_cache = use_cache;
      const GenerateResult together = generate(ctx, model, prompts, how);
      for (size_t i = 0; i < prompts.size(); ++i) {
        const GenerateResult alone = generate(ctx, model, std::span(prompts).subspan(i, 1), how);
        const std::vector<int32_t>& tokens = together.sequences[i].tokens;
        EXPECT_EQ(tokens, golden.continuations[i]) << golden.prompts[i];
        EXPECT_EQ(alone.sequences[0].tokens, tokens) << golden.prompts[i];
        EXPECT_EQ(together.sequences[i].is_ended,
                  static_cast<int64_t>(tokens.size()) < golden.max_new_tokens);
        EXPECT_EQ(valid_utf8(tokenizer->decode(tokens)), golden.texts[i]);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Attention, GenerateGolden, ::testing::Values("any", "standard", "flash"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace strobe::testing
