#include "strobe/generate/generate.h"

#include <fmt/format.h>

#include <cstdio>

#include "strobe/cli/attention_names.h"
#include "strobe/cli/commands.h"
#include "strobe/cli/loaded_model.h"
#include "strobe/cli/passed_over.h"
#include "strobe/core/check.h"
#include "strobe/core/interrupt.h"
#include "strobe/core/jsonl.h"
#include "strobe/core/mapped_file.h"
#include "strobe/core/parallel.h"
#include "strobe/core/peak_memory.h"
#include "strobe/core/statistics.h"
#include "strobe/generate/utf8_stream.h"
#include "strobe/report/units.h"
#include "strobe/train/provenance.h"

namespace strobe {
namespace {

struct Options {
  std::string model;
  std::vector<std::string> prompts;
  std::string prompts_file;
  GenerateOptions generation;
  DType dtype = DType::f32;
  std::string attention = "any";
  std::string device = "auto";
  int64_t threads = 0;
  std::string json;

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit.group("Model and prompts");
    visit(model,
          {.name = "model",
           .unit = "NAME",
           .help = "a folder in the Hugging Face layout, or what `strobe fetch` has loaded"});
    visit(prompts, {.name = "prompt",
                    .unit = "TEXT",
                    .help = "to continue, '' for a new text; each use adds one to the batch"});
    visit(prompts_file,
          {.name = "prompts", .unit = "FILE", .help = "adds each line of it as a prompt"});
    visit.group("What to write");
    visit(generation.max_new_tokens, {.name = "max_new_tokens",
                                      .unit = "tokens",
                                      .help = "for each prompt",
                                      .min = 1,
                                      .max = INT32_MAX});
    visit(generation.sampler.temperature,
          {.name = "temperature",
           .help = "0: always the most probable token; 1: draw as the model says; more: wilder",
           .min = 0});
    visit(generation.sampler.top_k,
          {.name = "top_k", .help = "draw among so many tokens; 0: among all", .min = 0});
    visit(generation.sampler.top_p, {.name = "top_p",
                                     .help = "draw among the fewest tokens that have this share "
                                             "of the probability",
                                     .min = 0,
                                     .max = 1});
    visit(generation.sampler.seed, {.name = "seed", .help = "of what is drawn"});
    visit(generation.is_sliding,
          {.name = "sliding",
           .help = "where a text passes the model's positions, go on from its newest half"});
    visit.group("How");
    visit(generation.use_cache,
          {.name = "cache",
           .help = "keep keys and values; --no-cache: compute them again for each token"});
    visit(dtype, {.name = "dtype", .help = "type of the weights"},
          {DType::f32, DType::bf16, DType::f16});
    visit(attention,
          {.name = "attention",
           .unit = "NAME",
           .help = "standard, flash, any (whichever is faster here), or an implementation "
                   "that `strobe info` lists"});
    visit(device, kDeviceOption);
    visit(threads, {.name = "threads", .help = "0: one for each core", .min = 0, .max = 1024});
    visit(json, {.name = "json", .unit = "FILE", .help = "add the results to this file, as JSONL"});
  }
};

void add_lines(const std::string& path, std::vector<std::string>& prompts) {
  const MappedFile file(path);
  std::string_view rest = file.text();
  check(!rest.empty(), "'", path, "' is empty, allowed is at least one line");
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    prompts.emplace_back(line);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
}

Options parse(const Arguments& arguments, bool& is_help) {
  Options options;
  OptionParser parser("generate",
                      "Continues texts with a GPT-2. One prompt is continued word by word on the "
                      "terminal, several\nare worked on together and printed at the end.");
  options.visit(parser);
  is_help = !parser.parse(arguments);
  if (is_help) return options;
  if (options.model.empty()) throw UsageError("--model is missing: a folder or a model's name");
  if (options.generation.sampler.top_p == 0) {
    throw UsageError("--top-p is '0', allowed is a number above 0 and up to 1");
  }
  if (attention_names(options.attention).size() != 1) {
    throw UsageError(fmt::format("--attention is '{}', allowed is one name", options.attention));
  }
  if (options.prompts.empty() && options.prompts_file.empty()) {
    throw UsageError("there is no prompt: --prompt TEXT or --prompts FILE is needed");
  }
  return options;
}

// Prints text as it comes, in whole characters.
class Streamer {
 public:
  explicit Streamer(const LoadedModel& model) : model_(model) {}
  void add(int32_t token) { print(stream_.add(model_.bytes_of(token))); }
  void finish() { print(stream_.finish() + "\n"); }
  static void print(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

 private:
  const LoadedModel& model_;
  Utf8Stream stream_;
};

std::string text_of(const LoadedModel& model, const std::vector<int32_t>& tokens) {
  std::string bytes;
  for (const int32_t token : tokens) bytes += model.bytes_of(token);
  return valid_utf8(bytes);
}

void print_all(const Options& options, const LoadedModel& model, const GenerateResult& result) {
  for (size_t i = 0; i < options.prompts.size(); ++i) {
    Streamer::print(fmt::format("{}== {} of {} ==\n{}{}\n", i == 0 ? "" : "\n", i + 1,
                                options.prompts.size(), options.prompts[i],
                                text_of(model, result.sequences[i].tokens)));
  }
}

void print_summary(Context& ctx, const GenerateResult& result) {
  std::string each;
  if (!result.token_ms.empty()) {
    each = fmt::format(", then {:.2f} ± {:.2f} ms a token, {:.1f} tokens/s", mean(result.token_ms),
                       standard_deviation(result.token_ms), result.tokens_per_s());
  }
  const MemoryReport& memory = ctx.arena().report();
  fmt::print(stderr, "{} token{}: the first after {:.1f} ms{}; peak memory {}, of it cache {}\n",
             result.tokens, result.tokens == 1 ? "" : "s", result.prefill_ms, each,
             bytes_text(static_cast<double>(memory.peak_total_bytes)),
             bytes_text(static_cast<double>(result.cache_bytes)));
}

void write_rows(const Options& options, Context& ctx, const LoadedModel& model,
                const std::vector<std::vector<int32_t>>& prompts, const GenerateResult& result) {
  JsonlWriter file(options.json, JsonlMode::append);
  Json first = {{"kind", "provenance"}, {"command", "generate"}};
  first.update(provenance(ctx.device()));
  first["options"] = options_json(options);
  first["parameters"] = parameter_count(model.model.config());
  file.write(first);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const GeneratedSequence& sequence = result.sequences[i];
    file.write({{"kind", "continuation"},
                {"sequence", i},
                {"prompt", options.prompts[i]},
                {"prompt_tokens", prompts[i].size()},
                {"text", text_of(model, sequence.tokens)},
                {"tokens", sequence.tokens},
                {"is_ended", sequence.is_ended}});
  }
  Json summary = {{"kind", "continuation_summary"},        {"attention", options.attention},
                  {"dtype", to_text(options.dtype)},       {"batch", prompts.size()},
                  {"cache", options.generation.use_cache}, {"tokens", result.tokens},
                  {"prefill_ms", result.prefill_ms},       {"token_ms", result.token_ms},
                  {"tokens_per_s", result.tokens_per_s()}, {"cache_bytes", result.cache_bytes}};
  add_peak_memory(summary, ctx.arena().report());
  file.write(summary);
}

}  // namespace

int generate_command(const Arguments& arguments) {
  bool is_help = false;
  Options options = parse(arguments, is_help);
  if (is_help) return 0;
  if (!options.prompts_file.empty()) add_lines(options.prompts_file, options.prompts);
  if (options.threads > 0) set_thread_count(static_cast<int>(options.threads));

  say_if_gpu_is_passed_over(options.device);
  Context ctx(device_named(options.device));
  LoadedModel model = load_model(ctx, options.model, options.dtype);
  if (options.attention != "any") model.model.set_attention(options.attention);
  options.generation.end_of_text = model.end_of_text();
  std::vector<std::vector<int32_t>> prompts;
  for (const std::string& prompt : options.prompts) {
    prompts.push_back(model.tokenizer->encode(prompt));
  }

  const InterruptGuard interrupt;
  GenerateEvents events = {.token = {}, .should_stop = [&] { return interrupt.requested(); }};
  const bool is_streaming = prompts.size() == 1;
  Streamer streamer(model);
  bool has_begun = false;
  if (is_streaming) {
    events.token = [&](int64_t, int32_t token) {
      // Not before the first token: an error must not come after half a line.
      if (!has_begun) Streamer::print(options.prompts[0]);
      has_begun = true;
      if (token != options.generation.end_of_text) streamer.add(token);
    };
  }
  const GenerateResult result = generate(ctx, model.model, prompts, options.generation, events);
  if (is_streaming) {
    streamer.finish();
  } else {
    print_all(options, model, result);
  }
  print_summary(ctx, result);
  if (!options.json.empty()) write_rows(options, ctx, model, prompts, result);
  return interrupt.requested() ? 128 + interrupt.signal() : 0;
}

}  // namespace strobe
