#include "strobe/generate/generate.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <optional>

#include "strobe/core/check.h"
#include "strobe/core/clock.h"
#include "strobe/core/copy.h"
#include "strobe/core/event.h"
#include "strobe/core/graph.h"

namespace strobe {
namespace {

// A sequence: its tokens, prompt included, of which the model reads those of the window.
struct Sequence {
  std::vector<int32_t> tokens;
  int64_t prompt_length = 0;
  int64_t window = 0;  // where the window begins
  bool is_done = false;

  int64_t length() const { return static_cast<int64_t>(tokens.size()); }
  int64_t drawn() const { return length() - prompt_length; }
  std::span<const int32_t> in_window() const { return std::span(tokens).subspan(window); }
};

// A token of each sequence that was at work when the device was asked for them.
struct Round {
  std::vector<int64_t> sequences;  // by slot
  Tensor tokens;                   // i32, in host memory: set once `done` has come
  Event done;
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

// Sequences at work are in slots, without a gap: the one in a slot has the cache's sequence of that
// number. Rounds are launched, at most two ahead of what the host has read, and read in order.
class Generation {
 public:
  Generation(Context& ctx, Gpt2& model, std::span<const std::vector<int32_t>> prompts,
             const GenerateOptions& options, const GenerateEvents& events);
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;
  GenerateResult run();

 private:
  static constexpr int64_t kRounds = 2;

  void take_memory(int64_t count, int64_t longest);
  int64_t at_work() const { return static_cast<int64_t>(slots_.size()); }
  Round& round(int64_t number) { return rounds_[number % kRounds]; }
  int64_t next_window(const Sequence& sequence) const;
  bool needs_read_tokens() const;
  bool can_launch() const;
  void launch();
  void draw(const Tensor& logits);
  Tensor read_windows(KvCache* cache);
  void slide();
  void read();
  void retire(int64_t sequence, bool is_ended);

  Context& ctx_;
  const Arena::Scope scope_;
  Gpt2& model_;
  const GenerateOptions& options_;
  const GenerateEvents& events_;
  std::vector<Sequence> sequences_;  // in the order of the prompts
  std::vector<int64_t> slots_;       // the sequences at work
  std::optional<KvCache> cache_;
  Tensor newest_, indices_;  // i32 [slots], on the device: the newest tokens, how many were drawn
  std::map<int64_t, Graph> steps_;  // by how many sequences are at work
  std::optional<HostBuffer> host_;
  std::array<Round, kRounds> rounds_;
  int64_t launched_ = 0, read_ = 0;  // rounds
  GenerateResult result_;
};

Generation::Generation(Context& ctx, Gpt2& model, std::span<const std::vector<int32_t>> prompts,
                       const GenerateOptions& options, const GenerateEvents& events)
    : ctx_(ctx), scope_(ctx.arena()), model_(model), options_(options), events_(events) {
  const Gpt2Config& config = model.config();
  validate(options.sampler);
  check(!prompts.empty(), "there is no prompt, allowed is at least one");
  check(options.max_new_tokens >= 1 && options.max_new_tokens <= INT32_MAX, "max_new_tokens is ",
        options.max_new_tokens, ", allowed is 1 to ", INT32_MAX);
  check(options.end_of_text < config.vocab_size, "end_of_text is token ", options.end_of_text,
        ", allowed are up to ", config.vocab_size - 1);
  for (size_t i = 0; i < prompts.size(); ++i) check_prompt(i + 1, prompts[i], config, options);

  // So that a round allocates nothing, unless somebody asks for very many.
  const int64_t expected_tokens = std::min<int64_t>(options.max_new_tokens, 1 << 16);
  int64_t longest = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Sequence sequence = {.tokens = prompts[i]};
    if (sequence.tokens.empty()) sequence.tokens.push_back(options.end_of_text);
    sequence.prompt_length = sequence.length();
    sequence.window = window_begin(sequence.length(), config.n_positions);
    longest = std::max(longest, sequence.length());
    sequence.tokens.reserve(sequence.length() + expected_tokens);
    sequences_.push_back(std::move(sequence));
    slots_.push_back(static_cast<int64_t>(i));
  }
  result_.sequences.resize(prompts.size());
  result_.token_ms.reserve(expected_tokens);
  take_memory(at_work(), longest);
}

// Rounds that nobody has read, because of a wish to stop or an error, end before the memory is
// released that they work on.
Generation::~Generation() {
  try {
    if (read_ < launched_) ctx_.synchronize();
  } catch (const Error&) {  // they have ended, too
  }
}

void Generation::take_memory(int64_t count, int64_t longest) {
  if (options_.use_cache) {
    // The last token that is drawn is never read.
    const int64_t capacity =
        std::min(model_.config().n_positions, longest + options_.max_new_tokens - 1);
    cache_ = model_.make_cache(ctx_, count, capacity);
    result_.cache_bytes = cache_->bytes();
  }
  newest_ = ctx_.arena().allocate(MemoryUse::activations, DType::i32, {count});
  indices_ = ctx_.arena().allocate(MemoryUse::activations, DType::i32, {count});
  clear(ctx_, indices_);
  const int64_t round_bytes = count * static_cast<int64_t>(sizeof(int32_t));
  host_.emplace(ctx_, kRounds * round_bytes);
  for (int64_t i = 0; i < kRounds; ++i) {
    round(i).tokens = host_->tensor(DType::i32, {count}, i * round_bytes);
  }
}

GenerateResult Generation::run() {
  Stopwatch watch;
  do {
    while (can_launch()) launch();
    read();
    (read_ == 1 ? result_.prefill_ms : result_.token_ms.emplace_back()) = watch.ms();
    watch.restart();
    if (events_.should_stop && events_.should_stop()) break;
  } while (can_launch() || read_ < launched_);
  while (!slots_.empty()) retire(slots_.back(), false);
  return std::move(result_);
}

// Where the window has to begin for the token that is drawn next.
int64_t Generation::next_window(const Sequence& sequence) const {
  return window_begin(sequence.prompt_length + launched_, model_.config().n_positions);
}

// Whether the next round cannot be launched but from tokens that the host knows.
bool Generation::needs_read_tokens() const {
  return !cache_ || std::ranges::any_of(slots_, [&](int64_t i) {
    return next_window(sequences_[i]) != sequences_[i].window;
  });
}

bool Generation::can_launch() const {
  if (slots_.empty() || launched_ == options_.max_new_tokens) return false;
  if (read_ == launched_) return true;
  const bool is_asynchronous = ctx_.device().kind != DeviceKind::cpu;
  return is_asynchronous && launched_ - read_ < kRounds && !needs_read_tokens();
}

void Generation::launch() {
  const Arena::Scope scope(ctx_.arena());
  const int64_t count = at_work();
  if (launched_ > 0) slide();
  if (launched_ == 0 || !cache_) {
    draw(read_windows(cache_ ? &*cache_ : nullptr));
  } else {
    cache_->extend(count);
    steps_[count].run(
        ctx_, [&] { draw(model_.decode_extended(ctx_, newest_.slice(0, 0, at_work()), *cache_)); });
  }
  Round& round = this->round(launched_++);
  round.sequences = slots_;
  copy(ctx_, newest_.slice(0, 0, count), round.tokens.slice(0, 0, count));
  round.done.mark(ctx_);
}

void Generation::draw(const Tensor& logits) {
  const int64_t count = at_work();
  sample(ctx_, {.logits = logits,
                .indices = indices_.slice(0, 0, count),
                .tokens = newest_.slice(0, 0, count),
                .options = options_.sampler});
}

// Reads every window from its beginning.
Tensor Generation::read_windows(KvCache* cache) {
  std::vector<std::span<const int32_t>> rows;
  for (const int64_t i : slots_) rows.push_back(sequences_[i].in_window());
  RightPadded padded(rows);
  return cache != nullptr ? model_.prefill(ctx_, padded.batch(), *cache)
                          : model_.next_logits(ctx_, padded.batch());
}

// Moves the windows that are full. The cache then reads the new one again but for its newest token,
// which is decoded with those of the other sequences.
void Generation::slide() {
  for (int64_t slot = 0; slot < at_work(); ++slot) {
    Sequence& sequence = sequences_[slots_[slot]];
    const int64_t window = next_window(sequence);
    if (window == sequence.window) continue;
    sequence.window = window;
    if (!cache_) continue;
    const std::span<const int32_t> tokens = sequence.in_window();
    if (tokens.size() == 1) {
      cache_->clear(ctx_, slot);
      continue;
    }
    const Arena::Scope scope(ctx_.arena());
    const std::span<const int32_t> rows[] = {tokens.first(tokens.size() - 1)};
    model_.prefill(ctx_, RightPadded(rows).batch(), *cache_, slot);
  }
}

void Generation::read() {
  Round& round = this->round(read_++);
  round.done.wait();
  // From the last to the first: one that ends gives its place to the last one, which is done.
  for (size_t slot = round.sequences.size(); slot-- > 0;) {
    const int64_t number = round.sequences[slot];
    Sequence& sequence = sequences_[number];
    if (sequence.is_done) continue;
    const int32_t token = round.tokens.as<int32_t>()[slot];
    check(token >= 0, "the model's logits are not finite numbers");
    ++result_.tokens;
    if (events_.token) events_.token(number, token);
    if (token == options_.end_of_text) {
      retire(number, true);
      continue;
    }
    sequence.tokens.push_back(token);
    if (sequence.drawn() == options_.max_new_tokens) retire(number, false);
  }
}

void Generation::retire(int64_t number, bool is_ended) {
  Sequence& sequence = sequences_[number];
  sequence.is_done = true;
  GeneratedSequence& generated = result_.sequences[number];
  generated.tokens.assign(sequence.tokens.begin() + sequence.prompt_length, sequence.tokens.end());
  generated.is_ended = is_ended;
  const int64_t slot = std::ranges::find(slots_, number) - slots_.begin();
  const int64_t last = at_work() - 1;
  if (slot != last) {
    if (cache_) cache_->move(ctx_, last, slot);
    for (const Tensor& x : {newest_, indices_}) {
      copy(ctx_, x.slice(0, last, last + 1), x.slice(0, slot, slot + 1));
    }
    slots_[slot] = slots_[last];
  }
  slots_.pop_back();
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
