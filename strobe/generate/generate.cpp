#include "strobe/generate/generate.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "strobe/core/check.h"
#include "strobe/core/clock.h"

namespace strobe {
namespace {

// A sequence at work: its tokens, prompt included, of which the model reads those of the window.
struct Sequence {
  int64_t number = 0;  // of the prompt
  std::vector<int32_t> tokens;
  int64_t prompt_length = 0;
  int64_t window = 0;  // where the window begins

  int64_t length() const { return static_cast<int64_t>(tokens.size()); }
  int64_t drawn() const { return length() - prompt_length; }
  std::span<const int32_t> in_window() const { return std::span(tokens).subspan(window); }
};

void check_prompt(size_t number, const std::vector<int32_t>& prompt, const Gpt2Config& config,
                  const GenerateOptions& options) {
  for (size_t i = 0; i < prompt.size(); ++i) {
    check(prompt[i] >= 0 && prompt[i] < config.vocab_size, "prompt ", number, " has token ",
          prompt[i], " at ", i, ", allowed are 0 to ", config.vocab_size - 1);
  }
  check(!prompt.empty() || options.end_of_text >= 0, "prompt ", number,
        " is empty, and there is no end-of-text token to start from");
  const int64_t length = std::max<int64_t>(1, static_cast<int64_t>(prompt.size()));
  check(options.is_sliding || length + options.max_new_tokens <= config.n_positions, "prompt ",
        number, " has ", length, " tokens and ", options.max_new_tokens,
        " new ones were asked for, together ", length + options.max_new_tokens,
        ", allowed are up to n_positions = ", config.n_positions,
        "; sliding would go on with the newest half");
}

// Rows of tokens, filled up on the right.
class RightPadded {
 public:
  explicit RightPadded(std::span<const std::span<const int32_t>> rows) {
    for (const auto& row : rows) time_ = std::max(time_, static_cast<int64_t>(row.size()));
    for (const auto& row : rows) {
      tokens_.insert(tokens_.end(), row.begin(), row.end());
      tokens_.resize(tokens_.size() + time_ - row.size(), 0);
      ends_.push_back(static_cast<int32_t>(row.size()));
    }
  }
  Gpt2Batch batch() {
    const auto batch_size = static_cast<int64_t>(ends_.size());
    Gpt2Batch batch = {.tokens = Tensor::of(tokens_.data(), {batch_size, time_})};
    batch.padding.key_end = Tensor::of(ends_.data(), {batch_size});
    return batch;
  }

 private:
  int64_t time_ = 0;
  std::vector<int32_t> tokens_, ends_;
};

class Generation {
 public:
  Generation(Context& ctx, Gpt2& model, std::span<const std::vector<int32_t>> prompts,
             const GenerateOptions& options, const GenerateEvents& events);
  GenerateResult run();

 private:
  Tensor next_logits();  // of every sequence at work; the first call reads the prompts
  Tensor read_windows(KvCache* cache);
  void slide();
  void draw(const Tensor& logits);
  void retire(size_t slot, bool is_ended);

  Context& ctx_;
  const Arena::Scope scope_;
  Gpt2& model_;
  const GenerateOptions& options_;
  const GenerateEvents& events_;
  Sampler sampler_;
  std::vector<Sequence> active_;  // the one at i has the cache's sequence i
  std::optional<KvCache> cache_;
  std::vector<int32_t> newest_;
  bool is_first_ = true;
  GenerateResult result_;
};

Generation::Generation(Context& ctx, Gpt2& model, std::span<const std::vector<int32_t>> prompts,
                       const GenerateOptions& options, const GenerateEvents& events)
    : ctx_(ctx),
      scope_(ctx.arena()),
      model_(model),
      options_(options),
      events_(events),
      sampler_(options.sampler) {
  const Gpt2Config& config = model.config();
  check(!prompts.empty(), "there is no prompt, allowed is at least one");
  check(options.max_new_tokens >= 1 && options.max_new_tokens <= INT32_MAX, "max_new_tokens is ",
        options.max_new_tokens, ", allowed is 1 to ", INT32_MAX);
  check(options.end_of_text < config.vocab_size, "end_of_text is token ", options.end_of_text,
        ", allowed are up to ", config.vocab_size - 1);
  for (size_t i = 0; i < prompts.size(); ++i) check_prompt(i + 1, prompts[i], config, options);

  // So that a step allocates nothing, unless somebody asks for very many.
  const int64_t expected_tokens = std::min<int64_t>(options.max_new_tokens, 1 << 16);
  int64_t longest = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Sequence sequence = {.number = static_cast<int64_t>(i), .tokens = prompts[i]};
    if (sequence.tokens.empty()) sequence.tokens.push_back(options.end_of_text);
    sequence.prompt_length = sequence.length();
    sequence.window = window_begin(sequence.length(), config.n_positions);
    longest = std::max(longest, sequence.length());
    sequence.tokens.reserve(sequence.length() + expected_tokens);
    active_.push_back(std::move(sequence));
  }
  result_.sequences.resize(prompts.size());
  result_.token_ms.reserve(expected_tokens);
  newest_.reserve(prompts.size());
  if (options.use_cache) {
    // The last token that is drawn is never read.
    const int64_t capacity = std::min(config.n_positions, longest + options.max_new_tokens - 1);
    cache_ = model.make_cache(ctx, static_cast<int64_t>(prompts.size()), capacity);
    result_.cache_bytes = cache_->bytes();
  }
}

GenerateResult Generation::run() {
  while (!active_.empty()) {
    const Stopwatch watch;
    {
      const Arena::Scope scope(ctx_.arena());
      draw(next_logits());
    }
    if (is_first_) {
      result_.prefill_ms = watch.ms();
      is_first_ = false;
    } else {
      result_.token_ms.push_back(watch.ms());
    }
    if (events_.should_stop && events_.should_stop()) break;
  }
  while (!active_.empty()) retire(active_.size() - 1, false);
  return std::move(result_);
}

Tensor Generation::next_logits() {
  if (is_first_) return read_windows(cache_ ? &*cache_ : nullptr);
  slide();
  if (!cache_) return read_windows(nullptr);
  newest_.clear();
  for (const Sequence& sequence : active_) newest_.push_back(sequence.tokens.back());
  return model_.decode(ctx_, Tensor::of(newest_.data(), {static_cast<int64_t>(newest_.size())}),
                       *cache_);
}

// Reads every window from its beginning.
Tensor Generation::read_windows(KvCache* cache) {
  std::vector<std::span<const int32_t>> rows;
  for (const Sequence& sequence : active_) rows.push_back(sequence.in_window());
  RightPadded padded(rows);
  return cache != nullptr ? model_.prefill(ctx_, padded.batch(), *cache)
                          : model_.next_logits(ctx_, padded.batch());
}

// Moves the windows that are full. The cache then reads the new one again but for its newest token,
// which is decoded with those of the other sequences.
void Generation::slide() {
  for (size_t slot = 0; slot < active_.size(); ++slot) {
    Sequence& sequence = active_[slot];
    const int64_t window = window_begin(sequence.length(), model_.config().n_positions);
    if (window == sequence.window) continue;
    sequence.window = window;
    if (!cache_) continue;
    const std::span<const int32_t> tokens = sequence.in_window();
    if (tokens.size() == 1) {
      cache_->clear(static_cast<int64_t>(slot));
      continue;
    }
    const Arena::Scope scope(ctx_.arena());
    const std::span<const int32_t> rows[] = {tokens.first(tokens.size() - 1)};
    model_.prefill(ctx_, RightPadded(rows).batch(), *cache_, static_cast<int64_t>(slot));
  }
}

void Generation::draw(const Tensor& logits) {
  const int64_t vocab = logits.shape[1];
  // From the last to the first: one that ends gives its place to the last one, which is done.
  for (size_t slot = active_.size(); slot-- > 0;) {
    Sequence& sequence = active_[slot];
    const std::span row(logits.as<float>() + static_cast<int64_t>(slot) * vocab, vocab);
    const int32_t token = sampler_.draw(row, sequence.drawn());
    ++result_.tokens;
    if (events_.token) events_.token(sequence.number, token);
    if (token == options_.end_of_text) {
      retire(slot, true);
      continue;
    }
    sequence.tokens.push_back(token);
    if (sequence.drawn() == options_.max_new_tokens) retire(slot, false);
  }
}

void Generation::retire(size_t slot, bool is_ended) {
  const Sequence& sequence = active_[slot];
  GeneratedSequence& generated = result_.sequences[sequence.number];
  generated.tokens.assign(sequence.tokens.begin() + sequence.prompt_length, sequence.tokens.end());
  generated.is_ended = is_ended;
  const size_t last = active_.size() - 1;
  if (cache_) cache_->move(ctx_, static_cast<int64_t>(last), static_cast<int64_t>(slot));
  if (slot != last) active_[slot] = std::move(active_[last]);
  active_.pop_back();
}

}  // namespace

double GenerateResult::decode_ms() const {
  return std::accumulate(token_ms.begin(), token_ms.end(), 0.0);
}

double GenerateResult::tokens_per_s() const {
  const auto first_tokens = static_cast<int64_t>(sequences.size());
  return token_ms.empty() ? 0 : 1e3 * static_cast<double>(tokens - first_tokens) / decode_ms();
}

GenerateResult generate(Context& ctx, Gpt2& model, std::span<const std::vector<int32_t>> prompts,
                        const GenerateOptions& options, const GenerateEvents& events) {
  return Generation(ctx, model, prompts, options, events).run();
}

int64_t window_begin(int64_t length, int64_t n_positions) {
  const int64_t kept = std::max<int64_t>(1, n_positions / 2);
  // n_positions + 1 tokens become `kept`: the window moves by so much each time.
  const int64_t stride = n_positions + 1 - kept;
  const int64_t excess = length - n_positions;
  return excess <= 0 ? 0 : (excess + stride - 1) / stride * stride;
}

}  // namespace strobe
