#include <charconv>

#include "strobe/cli/attention_names.h"
#include "strobe/cli/bench_kit.h"
#include "strobe/cli/commands.h"
#include "strobe/cli/passed_over.h"
#include "strobe/cli/presets.h"
#include "strobe/core/check.h"
#include "strobe/core/parallel.h"
#include "strobe/core/progress.h"
#include "strobe/report/units.h"
#include "strobe/train/trainer.h"

namespace strobe {
namespace {

struct Options {
  TrainOptions train;
  std::string shapes;
  int64_t batch = 0, seq = 0;
  std::string dtypes;
  std::string attention = "any";
  int64_t threads = 0;
  int64_t repeats = 0;
  double seconds = 10;
  std::string json;

  template <class Visitor>
  void visit(Visitor&& visit) {
    train.visit_model(visit);
    visit.group("What to time");
    visit(shapes, {.name = "shapes",
                   .unit = "BxT,…",
                   .help = "sequences in a batch and tokens in a sequence; empty: 4x64,1x1024 on a "
                           "CPU, 32x1024 on a GPU"});
    visit(batch, {.name = "batch", .help = "with seq, one shape in place of `shapes`", .min = 0});
    visit(seq, {.name = "seq", .help = "likewise", .min = 0});
    visit(dtypes, {.name = "dtypes",
                   .unit = "NAMES",
                   .help = "of weights and activations; empty: f32,bf16 on a CPU, bf16 on a GPU"});
    visit(attention,
          {.name = "attention",
           .unit = "NAMES",
           .help = "separated by commas: standard, flash, any (whichever is faster here), "
                   "or implementations that `strobe info` lists"});
    visit.group("How");
    visit(train.device, kDeviceOption);
    visit(train.tf32, kTf32Option);
    visit(train.deterministic, kDeterministicOption);
    visit(threads, {.name = "threads", .help = "0: one for each core", .min = 0, .max = 1024});
    visit(repeats,
          {.name = "repeats", .help = "timed steps; 0: as many as `seconds` allow", .min = 0});
    visit(seconds,
          {.name = "seconds", .help = "of timing for each row, at least 3 steps", .min = 0});
    visit(json, {.name = "json", .unit = "FILE", .help = "add the rows to this file, as JSONL"});
  }
};

// "4x64"
void parse_shape(const std::string& text, TrainOptions& train) {
  const char* end = text.data() + text.size();
  const auto [x, batch_error] = std::from_chars(text.data(), end, train.batch);
  if (batch_error == std::errc() && x != end && *x == 'x') {
    const auto [stop, error] = std::from_chars(x + 1, end, train.seq);
    if (error == std::errc() && stop == end && train.batch >= 1 && train.seq >= 2) return;
  }
  throw UsageError(fmt::format(
      "--shapes has '{}', allowed is BxT such as 4x64, B at least 1 and T at least 2", text));
}

DType parse_dtype(const std::string& text) {
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    if (text == to_text(dtype)) return dtype;
  }
  throw UsageError(fmt::format("--dtypes has '{}', allowed are f32, f16 and bf16", text));
}

// Fills in what is left to the device, and takes batch and seq as a shape.
void complete(Options& options, const Device& device) {
  const bool is_on_gpu = device.kind == DeviceKind::cuda;
  if ((options.batch == 0) != (options.seq == 0)) {
    throw UsageError(fmt::format("--{} needs --{} beside it", options.seq == 0 ? "batch" : "seq",
                                 options.seq == 0 ? "seq" : "batch"));
  }
  if (options.batch > 0) {
    if (!options.shapes.empty()) throw UsageError("--shapes does not go with --batch and --seq");
    options.shapes = fmt::format("{}x{}", options.batch, options.seq);
  }
  if (options.shapes.empty()) options.shapes = is_on_gpu ? "32x1024" : "4x64,1x1024";
  if (options.dtypes.empty()) options.dtypes = is_on_gpu ? "bf16" : "f32,bf16";
}

// Every combination, shapes slowest.
std::vector<TrainOptions> runs_of(const Options& options) {
  std::vector<TrainOptions> runs;
  TrainOptions run = options.train;
  // The text matters little for speed: what is built in is there on every machine.
  run.data = "lab";
  run.tokenizer.clear();
  run.batching = Batching::packed;
  run.accumulation = 1;
  run.validation_fraction = 0;
  for (const std::string& shape : split_at_commas(options.shapes)) {
    parse_shape(shape, run);
    for (const std::string& dtype : split_at_commas(options.dtypes)) {
      run.dtype = parse_dtype(dtype);
      for (const std::string& name : attention_names(options.attention)) {
        run.attention = name;
        runs.push_back(run);
      }
    }
  }
  return runs;
}

// Of one training step: 6 for each parameter and token, and attention's two products with causal
// scores counted half, 6·L·C·T a token.
double step_flop(const TrainOptions& o, int64_t parameters) {
  const double per_token = 6.0 * static_cast<double>(parameters) +
                           6.0 * static_cast<double>(o.n_layer * o.n_embd * o.seq);
  return per_token * static_cast<double>(o.batch * o.seq);
}

Json time_training(const TrainOptions& options, const Device& device, const TimingPlan& plan) {
  // In memory of its own, given back: the training's is planned, and may be nearly all there is.
  const auto measure_matmul = [&] {
    Context ctx(device);
    return measure_matmul_gflops(ctx, options.dtype);
  };
  const double matmul_before = measure_matmul();
  Trainer trainer(options);
  // The first steps measure, and record what the others replay.
  if (device.kind == DeviceKind::cuda) {
    for (int i = 0; i < 3; ++i) trainer.step();
  }
  double attention_ms = 0, step_ms = 0;
  const std::vector<double> ms = time_calls(plan, [&] {
    const StepMetrics metrics = trainer.step();
    attention_ms += metrics.attention_ms;
    step_ms += metrics.step_ms;
  });
  const double matmul_after = measure_matmul();
  const int64_t parameters = parameter_count(trainer.model().config());
  const double flop = step_flop(options, parameters);
  Json row = {{"op", "train"},
              {"pass", "step"},
              {"impl", trainer.attention_implementation()},
              {"batch", options.batch},
              {"seq_q", options.seq},
              {"n_layer", options.n_layer},
              {"n_head", options.n_head},
              {"n_embd", options.n_embd},
              {"n_positions", options.n_positions},
              {"vocab_size", options.vocab_size},
              {"dropout", options.dropout},
              {"device", to_text(device)},
              {"dtype", to_text(options.dtype)},
              {"tf32", options.tf32},
              {"parameters", parameters},
              {"flop", flop}};
  add_speed(row, ms, flop, (matmul_before + matmul_after) / 2);
  row["tokens_per_s"] =
      1e3 * static_cast<double>(options.batch * options.seq) / row["ms_median"].get<double>();
  row["attention_share"] = attention_ms / step_ms;
  row["peak_total_bytes"] = trainer.context().arena().report().peak_total_bytes;
  return row;
}

void print_head() {
  fmt::print("{:<25} {:<4} {:>3} {:>5} {:>9} {:>17} {:>8} {:>8} {:>7} {:>9} {:>8}\n", "attention",
             "type", "B", "T", "ms", "p10–p90", "tokens/s", "GFLOP/s", "matmul", "attention",
             "memory");
}

void print_row(const Json& row) {
  const auto number = [&](const char* key) { return row.at(key).get<double>(); };
  fmt::print("{:<25} {:<4} {:>3} {:>5} {:>9.1f} {:>17} {:>8} {:>8.1f} {:>6.1f}% {:>9} {:>8}\n",
             row.at("impl").get<std::string>(), row.at("dtype").get<std::string>(), number("batch"),
             number("seq_q"), number("ms_median"),
             fmt::format("{:.1f}–{:.1f}", number("ms_p10"), number("ms_p90")),
             short_number(number("tokens_per_s")), number("gflops"), 100 * number("ratio"),
             percent_text(number("attention_share")), bytes_text(number("peak_total_bytes")));
  std::fflush(stdout);
}

}  // namespace

int bench_train_command(const Arguments& arguments) {
  Options options;
  options.train = preset_of(arguments, "gpt2");
  options.train.dropout = 0;
  OptionParser parser(
      "bench train",
      "Times whole training steps: forward, backward, clipping and AdamW.\nA token "
      "counts 6·N + 6·L·C·T FLOP; \"matmul\" is the share of the rate of plain matrix "
      "products in the same type (docs/bench.md), measured before and after.");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;
  say_if_gpu_is_passed_over(options.train.device);
  const Device device = device_named(options.train.device);
  complete(options, device);
  const std::vector<TrainOptions> runs = runs_of(options);
  for (const TrainOptions& run : runs) check_can_train(device, run);
  if (options.threads > 0) set_thread_count(static_cast<int>(options.threads));

  BenchRows rows(options.json, device);
  print_head();
  for (const TrainOptions& run : runs) {
    Json row = time_training(run, device, {.repeats = options.repeats, .seconds = options.seconds});
    row["preset"] = options.train.preset;
    rows.write(row);
    print_row(row);
  }
  return 0;
}

}  // namespace strobe
