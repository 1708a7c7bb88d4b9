#include <algorithm>
#include <atomic>
#include <charconv>

#include "strobe/cli/attention_names.h"
#include "strobe/cli/bench_kit.h"
#include "strobe/cli/commands.h"
#include "strobe/cli/passed_over.h"
#include "strobe/cli/presets.h"
#include "strobe/core/check.h"
#include "strobe/core/copy.h"
#include "strobe/core/parallel.h"
#include "strobe/core/peak_memory.h"
#include "strobe/core/progress.h"
#include "strobe/core/random.h"
#include "strobe/data/hub.h"
#include "strobe/generate/generate.h"
#include "strobe/models/gpt2_files.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

struct Options {
  TrainOptions shape;  // of a model with random weights
  std::string batches = "1";
  int64_t prompt_tokens = 64;
  int64_t new_tokens = 64;
  bool cache = true;
  std::string dtypes;
  std::string attention = "any";
  int64_t threads = 0;
  int64_t runs = 5;
  std::string json;

  template <class Visitor>
  void visit(Visitor&& visit) {
    shape.visit_model(visit);
    visit.group("What to time");
    visit(batches,
          {.name = "batches", .unit = "N,…", .help = "how many sequences go on at the same time"});
    visit(prompt_tokens,
          {.name = "prompt_tokens", .unit = "tokens", .help = "of each prompt", .min = 1});
    visit(new_tokens, {.name = "new_tokens",
                       .unit = "tokens",
                       .help = "that each prompt is continued by, the first one counts as prefill",
                       .min = 2});
    visit(cache, {.name = "cache",
                  .help = "keep keys and values; --no-cache: compute them again for each token"});
    visit(dtypes, {.name = "dtypes",
                   .unit = "NAMES",
                   .help = "of the weights; empty: f32,bf16,f16 on a CPU, bf16,f16 on a GPU"});
    visit(attention,
          {.name = "attention",
           .unit = "NAMES",
           .help = "separated by commas: standard, flash, any (whichever is faster here), "
                   "or implementations that `strobe info` lists"});
    visit.group("How");
    visit(shape.device, kDeviceOption);
    visit(threads, {.name = "threads", .help = "0: one for each core", .min = 0, .max = 1024});
    visit(runs, {.name = "runs", .help = "timed, after one that is not", .min = 1});
    visit(json, {.name = "json", .unit = "FILE", .help = "add the rows to this file, as JSONL"});
  }
};

DType parse_dtype(const std::string& text) {
  for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    if (text == to_text(dtype)) return dtype;
  }
  throw UsageError(fmt::format("--dtypes has '{}', allowed are f32, bf16 and f16", text));
}

int64_t parse_batch(const std::string& text) {
  int64_t batch = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, batch);
  if (error == std::errc() && stop == end && batch >= 1 && batch <= 4096) return batch;
  throw UsageError(
      fmt::format("--batches has '{}', allowed is a whole number from 1 to 4096", text));
}

struct Case {
  int64_t batch;
  DType dtype;
  std::string attention;
};

// Every combination, types slowest: each needs a model of its own.
std::vector<Case> cases_of(const Options& options) {
  std::vector<Case> cases;
  for (const std::string& dtype : split_at_commas(options.dtypes)) {
    for (const std::string& name : attention_names(options.attention)) {
      for (const std::string& batch : split_at_commas(options.batches)) {
        cases.push_back({parse_batch(batch), parse_dtype(dtype), name});
      }
    }
  }
  return cases;
}

// What each token has to read at least: all weights but the tables' rows of other tokens and
// positions; the head reads the token table as a whole.
int64_t weight_bytes(Gpt2& model) {
  int64_t bytes = 0;
  model.for_each_parameter([&](const Parameter& p) {
    if (!p.hf_name.ends_with("wpe.weight")) bytes += static_cast<int64_t>(p.value.bytes());
  });
  return bytes;
}

// How fast the threads together read memory, in GB/s: the largest tensor, the best of a few times.
double measure_cpu_read_gb_per_s(Gpt2& model) {
  Tensor largest;
  model.for_each_parameter([&](const Parameter& p) {
    if (!largest.has_data() || p.value.bytes() > largest.bytes()) largest = p.value;
  });
  const auto* words = static_cast<const uint64_t*>(largest.data);
  const auto count = static_cast<int64_t>(largest.bytes() / sizeof(uint64_t));
  std::atomic<uint64_t> sum = 0;
  const auto read = [&](int64_t begin, int64_t end) {
    uint64_t parts[8] = {};
    for (int64_t i = begin; i + 8 <= end; i += 8) {
      for (int64_t k = 0; k < 8; ++k) parts[k] += words[i + k];
    }
    for (const uint64_t part : parts) sum += part;
  };
  const std::vector<double> ms =
      time_calls({.repeats = 9}, [&] { parallel_ranges(count, 1024, read); });
  return 1e-6 * static_cast<double>(largest.bytes()) / *std::ranges::min_element(ms);
}

// What a GPU moves in GB/s: bytes read and bytes written of a copy.
double measure_gpu_copy_gb_per_s(const Device& device) {
  constexpr int64_t kBytes = int64_t{256} << 20;
  Context ctx(device);
  const auto make = [&] {
    return ctx.arena().allocate(MemoryUse::workspace, DType::i32, {kBytes / 4});
  };
  const Tensor from = make(), to = make();
  clear(ctx, from);
  const std::vector<double> ms = time_calls(ctx, {.repeats = 9}, [&] { copy(ctx, from, to); });
  return 2e-6 * kBytes / median(ms);
}

double measure_read_gb_per_s(const Context& ctx, Gpt2& model) {
  return ctx.device().kind == DeviceKind::cuda ? measure_gpu_copy_gb_per_s(ctx.device())
                                               : measure_cpu_read_gb_per_s(model);
}

void add_mean(Json& row, const std::string& name, const std::vector<double>& values) {
  row[name] = mean(values);
  row[name + "_std"] = standard_deviation(values);
}

Json time_generation(Context& ctx, Gpt2& model, const Options& options, const Case& c) {
  model.set_attention(c.attention);
  Random random(random_key(1, 0, 0));
  std::vector<std::vector<int32_t>> prompts(c.batch);
  for (auto& prompt : prompts) {
    for (int64_t i = 0; i < options.prompt_tokens; ++i) {
      prompt.push_back(static_cast<int32_t>(random.below(model.config().vocab_size)));
    }
  }
  const GenerateOptions how = {.max_new_tokens = options.new_tokens, .use_cache = options.cache};
  generate(ctx, model, prompts, how);
  ctx.arena().reset_peaks();
  std::vector<double> prefill_ms, token_ms, tokens_per_s, tokens_per_s_with_prompt;
  int64_t cache_bytes = 0;
  const double read_before = measure_read_gb_per_s(ctx, model);
  for (int64_t run = 0; run < options.runs; ++run) {
    const GenerateResult result = generate(ctx, model, prompts, how);
    prefill_ms.push_back(result.prefill_ms);
    token_ms.push_back(mean(result.token_ms));
    tokens_per_s.push_back(result.tokens_per_s());
    tokens_per_s_with_prompt.push_back(1e3 * static_cast<double>(result.tokens) /
                                       (result.prefill_ms + result.decode_ms()));
    cache_bytes = result.cache_bytes;
  }
  const double read_after = measure_read_gb_per_s(ctx, model);
  Json row = {{"op", "generate"},
              {"attention", c.attention},
              {"device", to_text(ctx.device())},
              {"batch", c.batch},
              {"prompt_tokens", options.prompt_tokens},
              {"new_tokens", options.new_tokens},
              {"cache", options.cache},
              {"dtype", to_text(c.dtype)},
              {"n_layer", model.config().n_layer},
              {"n_head", model.config().n_head},
              {"n_embd", model.config().n_embd},
              {"n_positions", model.config().n_positions},
              {"vocab_size", model.config().vocab_size},
              {"parameters", parameter_count(model.config())},
              {"runs", options.runs}};
  add_mean(row, "prefill_ms", prefill_ms);
  add_mean(row, "token_ms", token_ms);
  add_mean(row, "tokens_per_s", tokens_per_s);
  add_mean(row, "tokens_per_s_with_prompt", tokens_per_s_with_prompt);
  row["weight_bytes"] = weight_bytes(model);
  row["weight_gb_per_s"] = 1e-6 * static_cast<double>(weight_bytes(model)) / mean(token_ms);
  row["read_gb_per_s"] = (read_before + read_after) / 2;
  row["cache_bytes"] = cache_bytes;
  add_peak_memory(row, ctx.arena().report());
  return row;
}

void print_head() {
  fmt::print("{:<10} {:<4} {:>3} {:>16} {:>17} {:>17} {:>11} {:>16} {:>8}\n", "attention", "type",
             "B", "prefill ms", "ms a token", "tokens/s", "with prompt", "GB/s of read", "memory");
}

void print_row(const Json& row) {
  const auto number = [&](const char* key) { return row.at(key).get<double>(); };
  const auto spread = [&](const std::string& key, int digits) {
    return fmt::format("{:.{}f} ± {:.{}f}", row.at(key).get<double>(), digits,
                       row.at(key + "_std").get<double>(), digits);
  };
  fmt::print("{:<10} {:<4} {:>3} {:>16} {:>17} {:>17} {:>11.1f} {:>16} {:>8}\n",
             row.at("attention").get<std::string>(), row.at("dtype").get<std::string>(),
             number("batch"), spread("prefill_ms", 2), spread("token_ms", 3),
             spread("tokens_per_s", 1), number("tokens_per_s_with_prompt"),
             fmt::format("{:.1f} of {:.1f}", number("weight_gb_per_s"), number("read_gb_per_s")),
             bytes_text(number("peak_total_bytes")));
  std::fflush(stdout);
}

// With the weights that --model names, or random ones.
Gpt2 make_model(Context& ctx, const TrainOptions& shape, DType dtype) {
  if (!shape.model.empty()) {
    return load_gpt2(ctx, resolve_model(shape.model), dtype, /*is_trainable=*/false);
  }
  Gpt2 model(ctx, model_config(shape), dtype, /*is_trainable=*/false);
  model.initialize(ctx, 1);
  return model;
}

}  // namespace

int bench_generate_command(const Arguments& arguments) {
  Options options;
  options.shape = preset_of(arguments, "gpt2");
  OptionParser parser(
      "bench generate",
      "Times generation: the prompts to their first tokens (prefill), and each token after that.\n"
      "\"with prompt\": all new tokens by all of the time. \"GB/s of read\": the weights' bytes by "
      "the time of a token,\nand how fast this machine reads memory, a GPU copies it.");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;
  say_if_gpu_is_passed_over(options.shape.device);
  const Device device = device_named(options.shape.device);
  if (options.dtypes.empty()) {
    options.dtypes = device.kind == DeviceKind::cuda ? "bf16,f16" : "f32,bf16,f16";
  }
  const std::vector<Case> cases = cases_of(options);
  options.shape.seq = std::min(options.shape.seq, options.shape.n_positions);  // of no use here
  if (options.threads > 0) set_thread_count(static_cast<int>(options.threads));

  BenchRows rows(options.json, device);
  print_head();
  for (size_t i = 0; i < cases.size();) {
    const DType dtype = cases[i].dtype;
    Context ctx(device);
    Gpt2 model = make_model(ctx, options.shape, dtype);
    for (; i < cases.size() && cases[i].dtype == dtype; ++i) {
      Json row = time_generation(ctx, model, options, cases[i]);
      row[options.shape.model.empty() ? "preset" : "model"] =
          options.shape.model.empty() ? options.shape.preset : options.shape.model;
      rows.write(row);
      print_row(row);
    }
  }
  return 0;
}

}  // namespace strobe
