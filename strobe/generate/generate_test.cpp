// Generation's promises that need no other model to compare with: however it is computed, the same
// tokens come out.
#include "strobe/generate/generate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "strobe/models/gpt2_testing.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/options.h"
#include "tests/testkit/tensors.h"

namespace strobe::testing {
namespace {

using Prompts = std::vector<std::vector<int32_t>>;

const ArenaOptions kPoison = {.poison = true};

Gpt2Config tiny_config() {
  return {.vocab_size = 61,
          .n_positions = 48,
          .n_embd = 32,
          .n_layer = 2,
          .n_head = 4,
          .bos_token_id = 60,
          .eos_token_id = 60};
}

// A model in a context of its own, with random parameters.
struct Lab {
  Context ctx{testing::options().device, kPoison};
  Gpt2 model;

  explicit Lab(DType dtype = DType::f32, Algorithm algorithm = Algorithm::any)
      : model(ctx, tiny_config(), dtype, false) {
    ctx.prefer("attention", {.algorithm = algorithm});
    randomize(ctx, model, 3);
  }
  std::vector<std::vector<int32_t>> run(const Prompts& prompts, const GenerateOptions& options,
                                        const GenerateEvents& events = {}) {
    std::vector<std::vector<int32_t>> tokens;
    for (auto& sequence : generate(ctx, model, prompts, options, events).sequences) {
      tokens.push_back(std::move(sequence.tokens));
    }
    return tokens;
  }
};

Prompts random_prompts(const std::vector<size_t>& lengths, uint64_t seed) {
  Random random(random_key(seed, 0, 0));
  Prompts prompts;
  for (const size_t length : lengths) {
    std::vector<int32_t>& prompt = prompts.emplace_back(length);
    for (int32_t& token : prompt) token = static_cast<int32_t>(random.below(60));
  }
  return prompts;
}

// The token that the host draws from the last row of logits.
int32_t draw_last(const Tensor& logits, const SamplerOptions& sampler, int32_t index) {
  const int64_t vocab = logits.shape[2];
  const std::vector<double> values = to_doubles(logits);
  std::vector<float> last(values.end() - vocab, values.end());
  int32_t token = 0;
  Context host;
  sample(host, {.logits = Tensor::of(last.data(), {1, vocab}),
                .indices = Tensor::of(&index, {1}),
                .tokens = Tensor::of(&token, {1}),
                .options = sampler});
  return token;
}

// The definition: every token from the whole sequence's logits.
std::vector<int32_t> by_definition(Lab& lab, std::vector<int32_t> tokens,
                                   const GenerateOptions& options) {
  const auto prompt_length = static_cast<int64_t>(tokens.size());
  for (int32_t i = 0; i < options.max_new_tokens; ++i) {
    const Arena::Scope scope(lab.ctx.arena());
    const auto length = static_cast<int64_t>(tokens.size());
    const int64_t begin = window_begin(length, lab.model.config().n_positions);
    const Tensor logits = lab.model.logits(
        lab.ctx, {.tokens = Tensor::of(tokens.data() + begin, {1, length - begin})});
    const int32_t token = draw_last(logits, options.sampler, i);
    if (token == options.end_of_text) break;
    tokens.push_back(token);
  }
  return {tokens.begin() + prompt_length, tokens.end()};
}

struct Way {
  const char* name;
  SamplerOptions sampler;
  bool is_sliding;
};
const Way kWays[] = {
    {"greedy", {}, false},
    {"sampled", {.temperature = 1, .seed = 5}, false},
    {"sampled_cut", {.temperature = 0.8, .top_k = 20, .top_p = 0.9, .seed = 6}, false},
    {"greedy_sliding", {}, true},
    {"sampled_sliding", {.temperature = 1.2, .seed = 7}, true},
};

class GenerateWays : public ::testing::TestWithParam<Way> {};

TEST_P(GenerateWays, CacheBatchAndAttentionChangeNothing) {
  const Way& way = GetParam();
  const Prompts prompts = way.is_sliding ? random_prompts({3, 48, 7, 60, 1, 47, 150}, 1)
                                         : random_prompts({3, 16, 1, 7, 11}, 1);
  GenerateOptions options = {.max_new_tokens = way.is_sliding ? 70 : 32,
                             .sampler = way.sampler,
                             .is_sliding = way.is_sliding};
  Lab reference;
  std::vector<std::vector<int32_t>> expected;
  for (const auto& prompt : prompts) expected.push_back(by_definition(reference, prompt, options));

  for (const Algorithm algorithm : {Algorithm::standard, Algorithm::flash}) {
    Lab lab(DType::f32, algorithm);
    for (const bool use_cache : {true, false}) {
      options.use_cache = use_cache;
      EXPECT_EQ(lab.run(prompts, options), expected) << algorithm << " cache " << use_cache;
      for (size_t i = 0; i < prompts.size(); ++i) {
        EXPECT_EQ(lab.run({prompts[i]}, options)[0], expected[i]) << "alone: " << i;
      }
    }
    lab.ctx.arena().check_guards();
  }
}

INSTANTIATE_TEST_SUITE_P(All, GenerateWays, ::testing::ValuesIn(kWays),
                         [](const auto& test) { return test.param.name; });

// A sequence that ends leaves the batch; the others go on as if it had not been there.
TEST(Generate, EndOfTextEndsASequence) {
  Lab lab;
  const Prompts prompts = random_prompts({3, 16, 1, 7, 11}, 1);
  GenerateOptions options = {.max_new_tokens = 32, .sampler = {.temperature = 1, .seed = 5}};
  const auto whole = lab.run(prompts, options);
  std::vector<std::vector<int32_t>> streamed(prompts.size());
  const GenerateEvents events = {
      .token = [&](int64_t sequence, int32_t token) { streamed[sequence].push_back(token); }};
  for (const int32_t end : {whole[0][0], whole[1][9], whole[2][20]}) {
    options.end_of_text = end;
    streamed.assign(prompts.size(), {});
    const GenerateResult result = generate(lab.ctx, lab.model, prompts, options, events);
    int64_t drawn = 0;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const auto cut = std::find(whole[i].begin(), whole[i].end(), end);
      const GeneratedSequence& sequence = result.sequences[i];
      EXPECT_EQ(sequence.tokens, std::vector<int32_t>(whole[i].begin(), cut)) << i;
      EXPECT_EQ(sequence.is_ended, cut != whole[i].end());
      std::vector<int32_t> with_end = sequence.tokens;
      if (sequence.is_ended) with_end.push_back(end);
      EXPECT_EQ(streamed[i], with_end);
      drawn += static_cast<int64_t>(with_end.size());
    }
    EXPECT_EQ(result.tokens, drawn);
  }
}

TEST(Generate, AnEmptyPromptStartsFromEndOfText) {
  Lab lab;
  const GenerateOptions options = {.max_new_tokens = 5, .end_of_text = 60};
  EXPECT_EQ(lab.run({{}}, options), lab.run({{60}}, options));
}

TEST(Generate, StopsWhenAsked) {
  Lab lab;
  int rounds = 0;
  const GenerateResult result =
      generate(lab.ctx, lab.model, random_prompts({3, 5}, 1), {.max_new_tokens = 32},
               {.token = {}, .should_stop = [&] { return ++rounds == 4; }});
  EXPECT_EQ(result.sequences[0].tokens.size(), 4U);
  EXPECT_EQ(result.sequences[1].tokens.size(), 4U);
  EXPECT_EQ(result.token_ms.size(), 3U);
  EXPECT_EQ(result.tokens, 8);
}

// A GPU is a round ahead then.
TEST(Generate, GoesOnAfterAnErrorInAnEvent) {
  Lab lab;
  const Prompts prompts = random_prompts({3, 5}, 1);
  const auto expected = lab.run(prompts, {.max_new_tokens = 8});
  const int64_t before = lab.ctx.arena().report().current_total_bytes;
  int tokens = 0;
  const std::string error = testing::error_of([&] {
    generate(
        lab.ctx, lab.model, prompts, {.max_new_tokens = 32},
        {.token = [&](int64_t, int32_t) { check(++tokens < 6, "no more"); }, .should_stop = {}});
  });
  EXPECT_EQ(error, "no more");
  EXPECT_EQ(lab.ctx.arena().report().current_total_bytes, before);
  EXPECT_EQ(lab.run(prompts, {.max_new_tokens = 8}), expected);
}

// Two continuations of one prompt are the same up to a token that rounding decides: where they
// part, the model finds both as good, to the error that gpt2_decode_test.cpp allows its logits.
void expect_same_but_for_rounding(Lab& lab, std::vector<int32_t> tokens,
                                  const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  ASSERT_EQ(a.size(), b.size());
  const auto parted = std::mismatch(a.begin(), a.end(), b.begin());
  if (parted.first == a.end()) return;
  tokens.insert(tokens.end(), a.begin(), parted.first);
  const Arena::Scope scope(lab.ctx.arena());
  const auto length = static_cast<int64_t>(tokens.size());
  const std::vector<double> logits = to_doubles(
      lab.model.next_logits(lab.ctx, {.tokens = Tensor::of(tokens.data(), {1, length})}));
  double squares = 0;
  for (const double logit : logits) squares += logit * logit;
  EXPECT_NEAR(logits[*parted.first], logits[*parted.second], 2e-2 * std::sqrt(squares))
      << "token " << parted.first - a.begin();
}

TEST(Generate, SixteenBitModelsAgreeWithTheirDefinition) {
  Lab lab(DType::bf16);
  const Prompts prompts = random_prompts({3, 16, 1, 7, 11}, 2);
  const GenerateOptions options = {.max_new_tokens = 32};
  const auto batched = lab.run(prompts, options);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::vector<int32_t> alone = lab.run({prompts[i]}, options)[0];
    // A GPU multiplies many rows in another order than few.
    if (lab.ctx.device().kind == DeviceKind::cpu) {
      EXPECT_EQ(alone, batched[i]) << i;
    } else {
      expect_same_but_for_rounding(lab, prompts[i], alone, batched[i]);
    }
  }
}

TEST(Generate, TheCacheIsCountedAndGivenBack) {
  Lab lab;
  const int64_t before = lab.ctx.arena().report().current_total_bytes;
  const GenerateResult result =
      generate(lab.ctx, lab.model, random_prompts({3, 16}, 1), {.max_new_tokens = 10});
  // 2 sequences of 16 + 10 − 1 positions, 2 blocks, keys and values of 32 floats; of each the
  // length and the newest position.
  EXPECT_EQ(result.cache_bytes, 2 * 25 * 2 * 2 * 32 * 4 + 2 * 2 * 4);
  EXPECT_EQ(lab.ctx.arena().report().peak_bytes[static_cast<int>(MemoryUse::cache)],
            result.cache_bytes);
  EXPECT_EQ(lab.ctx.arena().report().current_total_bytes, before);
}

TEST(WindowBegin, KeepsTheNewestHalfWhenFull) {
  // Word by word, as a reader of one token after the other would do it.
  for (const int64_t n_positions : {1, 2, 3, 7, 8, 48}) {
    int64_t begin = 0;
    for (int64_t length = 1; length < 200; ++length) {
      if (length - begin > n_positions) begin = length - std::max<int64_t>(1, n_positions / 2);
      EXPECT_EQ(window_begin(length, n_positions), begin) << length << " of " << n_positions;
    }
  }
}

TEST(Generate, ErrorsComeBeforeAnythingIsComputed) {
  Lab lab;
  const auto error = [&](const Prompts& prompts, const GenerateOptions& options) {
    const int64_t peak = lab.ctx.arena().report().peak_total_bytes;
    const std::string message = error_of([&] { lab.run(prompts, options); });
    EXPECT_EQ(lab.ctx.arena().report().peak_total_bytes, peak) << message;
    return message;
  };
  EXPECT_EQ(error(random_prompts({3, 40}, 1), {.max_new_tokens = 9}),
            "prompt 2 has 40 tokens and 9 new ones were asked for, together 49, allowed are up to "
            "n_positions = 48; sliding would go on with the newest half");
  EXPECT_EQ(error({{1, 2}, {1, 61}}, {.max_new_tokens = 3}),
            "prompt 2 has token 61 at 1, allowed are 0 to 60");
  EXPECT_EQ(error({{-1}}, {.max_new_tokens = 3}),
            "prompt 1 has token -1 at 0, allowed are 0 to 60");
  EXPECT_EQ(error({{}}, {.max_new_tokens = 3}),
            "prompt 1 is empty, and there is no end-of-text token to start from");
  EXPECT_EQ(error({}, {}), "there is no prompt, allowed is at least one");
  EXPECT_EQ(error({{1}}, {.max_new_tokens = 0}), "max_new_tokens is 0, allowed is 1 to 2147483647");
  EXPECT_EQ(error({{1}}, {.end_of_text = 61}), "end_of_text is token 61, allowed are up to 60");
  EXPECT_EQ(error({{1}}, {.sampler = {.top_p = 0}}),
            "top_p is 0, allowed is more than 0 and up to 1");
}

}  // namespace
}  // namespace strobe::testing
