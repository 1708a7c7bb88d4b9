#include <algorithm>

#include "strobe/cli/compare_runs.h"
#include "strobe/cli/loaded_model.h"
#include "strobe/core/check.h"
#include "strobe/core/clock.h"
#include "strobe/core/parallel.h"
#include "strobe/core/peak_memory.h"
#include "strobe/core/statistics.h"
#include "strobe/generate/generate.h"
#include "strobe/generate/utf8_stream.h"

namespace strobe {
namespace {

// A model of the options' shape with random weights, which reads and writes bytes: good for times.
LoadedModel random_model(Context& ctx, TrainOptions train, int64_t positions) {
  train.n_positions = std::max(train.n_positions, positions);
  train.seq = train.n_positions;
  LoadedModel loaded = {Gpt2(ctx, model_config(train), train.dtype, /*is_trainable=*/false),
                        std::make_unique<ByteTokenizer>(train.vocab_size)};
  loaded.model.initialize(ctx, train.seed);
  return loaded;
}

std::vector<int32_t> prompt_of(const CompareOptions& options, const Tokenizer& tokenizer) {
  const std::vector<int32_t> text = tokenizer.encode(options.prompt);
  check(!text.empty(), "the prompt has no token");
  if (options.prompt_tokens == 0) return text;
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < options.prompt_tokens; ++i) {
    prompt.push_back(text[static_cast<size_t>(i) % text.size()]);
  }
  return prompt;
}

std::string text_of(const LoadedModel& model, const std::vector<int32_t>& tokens) {
  std::string bytes;
  for (const int32_t token : tokens) bytes += model.bytes_of(token);
  Utf8Stream stream;
  return stream.add(bytes) + stream.finish();
}

// What runs the prefill.
std::string_view implementation_of(Context& ctx, const Gpt2& model, const std::string& attention,
                                   const CompareOptions& options) {
  const Gpt2Config& config = model.config();
  const Context::Preference preference(ctx, "attention", attention_wish(attention));
  const int64_t seq = std::max<int64_t>(options.prompt_tokens, 1);
  return select_attention(ctx, {.batch = options.train.batch,
                                .seq_q = seq,
                                .seq_k = seq,
                                .heads_q = config.n_head,
                                .heads_kv = config.n_head,
                                .head_dim = config.head_dim(),
                                .dtype = options.train.dtype,
                                .mask = causal()})
      .name;
}

// The timed runs, for means and deviations.
struct Times {
  std::vector<double> prefill_ms, token_ms, tokens_per_s;

  void add(const GenerateResult& result) {
    prefill_ms.push_back(result.prefill_ms);
    token_ms.push_back(mean(result.token_ms));
    tokens_per_s.push_back(result.tokens_per_s());
  }
  static void write(Json& row, const std::string& name, const std::vector<double>& values) {
    row[name] = mean(values);
    row[name + "_std"] = standard_deviation(values);
  }
};

}  // namespace

int generate_once(const CompareOptions& options, const ChildCall& call, JsonlWriter& rows) {
  const Stopwatch watch;
  const InterruptGuard interrupt;
  if (options.train.threads > 0) set_thread_count(static_cast<int>(options.train.threads));
  Context ctx(device_named(options.train.device));
  LoadedModel model =
      options.train.model.empty()
          ? random_model(ctx, options.train, options.prompt_tokens + options.new_tokens)
          : load_model(ctx, options.train.model, options.train.dtype);
  model.model.set_attention(call.attention);
  const std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(options.train.batch),
                                                  prompt_of(options, *model.tokenizer));
  // No token ends a sequence: what is timed must not depend on what a model says.
  const GenerateOptions how = {.max_new_tokens = options.new_tokens};
  const GenerateEvents events = {.token = {}, .should_stop = [&] { return interrupt.requested(); }};

  GenerateResult result = generate(ctx, model.model, prompts, how, events);  // touches all memory
  Times times;
  while (static_cast<int64_t>(times.prefill_ms.size()) < options.runs && !interrupt.requested()) {
    result = generate(ctx, model.model, prompts, how, events);
    if (interrupt.requested()) break;
    times.add(result);
    if (call.is_quiet && watch.seconds() > options.budget / 2) break;
  }
  if (times.prefill_ms.empty()) return 128 + interrupt.signal();

  const std::vector<int32_t>& tokens = result.sequences[0].tokens;
  Json row = {{"kind", "generation"},
              {"attention", call.attention},
              {"attention_impl", implementation_of(ctx, model.model, call.attention, options)},
              {"parameters", parameter_count(model.model.config())},
              {"dtype", to_text(options.train.dtype)},
              {"batch", options.train.batch},
              {"prompt_tokens", prompts[0].size()},
              {"new_tokens", tokens.size()},
              {"runs", times.prefill_ms.size()}};
  Times::write(row, "prefill_ms", times.prefill_ms);
  Times::write(row, "token_ms", times.token_ms);
  Times::write(row, "tokens_per_s", times.tokens_per_s);
  row["cache_bytes"] = result.cache_bytes;
  add_peak_memory(row, ctx.arena().report());
  row["prompt"] = options.prompt;
  row["text"] = text_of(model, tokens);
  row["tokens"] = tokens;
  rows.write(row);
  return interrupt.requested() ? 128 + interrupt.signal() : 0;
}

}  // namespace strobe
