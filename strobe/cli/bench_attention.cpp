#include "strobe/cli/bench_attention.h"

#include "strobe/cli/attention_names.h"
#include "strobe/cli/bench_kit.h"
#include "strobe/cli/commands.h"
#include "strobe/cli/passed_over.h"
#include "strobe/core/check.h"
#include "strobe/core/parallel.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

struct Options {
  std::string preset = "none";
  int64_t batch = 1;
  int64_t heads = 12;
  int64_t kv_heads = 0;
  int64_t seq = 1024;
  int64_t seq_k = 0;
  int64_t head_dim = 64;
  DType dtype = DType::f32;
  MaskKind mask = MaskKind::causal;
  int64_t window_left = 256;
  int64_t window_right = 0;
  double dropout = 0;
  int64_t padded_keys = 0;
  std::string impl = "standard,flash";
  std::string device = "auto";
  bool deterministic = false;
  int64_t threads = 0;
  int64_t repeats = 0;
  double seconds = 0.5;
  std::string json;

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit.group("What to time");
    visit(preset,
          {.name = "preset",
           .unit = "NAME",
           .help = "many shapes at once, instead of the options below. For a GPU, all of 16384 "
                   "tokens of width 2048, in bf16 or the given dtype: papers (lengths 512 to "
                   "16384, head dims 64 and 128, full and causal), dropout (of 0.1), padding (the "
                   "last quarter of the keys), short (lengths 64 to 512). cpu (lengths 512 to "
                   "8192 of width 768, f32 and bf16, dropout), smoke (two shapes)"});
    visit(impl, {.name = "impl",
                 .unit = "NAMES",
                 .help = "separated by commas: standard, flash, any, or implementations that "
                         "`strobe info` lists"});
    visit_shape(visit);
    visit.group("How");
    visit(device, kDeviceOption);
    visit(deterministic, {.name = "deterministic",
                          .help = "backward with the same bits each time, where a faster way has "
                                  "not"});
    visit(threads, {.name = "threads", .help = "0: one for each core", .min = 0, .max = 1024});
    visit(repeats,
          {.name = "repeats", .help = "timed calls; 0: as many as `seconds` allow", .min = 0});
    visit(seconds,
          {.name = "seconds", .help = "of timing for each row, at least 3 calls", .min = 0});
    visit(json, {.name = "json", .unit = "FILE", .help = "add the rows to this file, as JSONL"});
  }

  AttentionCase single() const {
    const int64_t keys = seq_k > 0 ? seq_k : seq;
    check_shape(keys);
    return {
        .batch = batch,
        .heads = heads,
        .kv_heads = kv_heads > 0 ? kv_heads : heads,
        .seq_q = seq,
        .seq_k = keys,
        .head_dim = head_dim,
        .dtype = dtype,
        .mask = mask == MaskKind::window ? window(window_left, window_right) : Mask{.kind = mask},
        .padded_keys = padded_keys,
        .dropout = dropout};
  }

 private:
  void check_shape(int64_t keys) const {
    if (padded_keys >= keys) {
      throw UsageError(fmt::format("--padded-keys is {}, there are {} keys: one must be left",
                                   padded_keys, keys));
    }
    if (head_dim % 8 != 0) {
      throw UsageError(fmt::format("--head-dim is {}, allowed is a multiple of 8", head_dim));
    }
    if (kv_heads > 0 && heads % kv_heads != 0) {
      throw UsageError(fmt::format("--kv-heads is {}, allowed is what divides the {} query heads",
                                   kv_heads, heads));
    }
    try {
      Dropout::with(dropout, {});
    } catch (const Error& error) {
      throw UsageError(fmt::format("--{}", error.what()));
    }
  }

  template <class Visitor>
  void visit_shape(Visitor&& visit) {
    visit(batch, {.name = "batch", .unit = "sequences", .help = "B", .min = 1});
    visit(heads, {.name = "heads", .help = "query heads", .min = 1});
    visit(kv_heads, {.name = "kv_heads", .help = "key and value heads; 0: as many", .min = 0});
    visit(seq, {.name = "seq", .unit = "tokens", .help = "queries", .min = 1});
    visit(seq_k, {.name = "seq_k", .unit = "tokens", .help = "keys; 0: as many", .min = 0});
    visit(head_dim, {.name = "head_dim", .help = "D, a multiple of 8", .min = 8, .max = 256});
    visit(dtype, {.name = "dtype", .help = "of all tensors"},
          {DType::f32, DType::f16, DType::bf16});
    visit(mask, {.name = "mask", .help = "which keys a query sees"},
          {MaskKind::full, MaskKind::causal, MaskKind::window});
    visit(window_left, {.name = "window_left", .help = "of a window: keys before", .min = 0});
    visit(window_right, {.name = "window_right", .help = "of a window: keys after", .min = 0});
    visit(padded_keys, {.name = "padded_keys",
                        .unit = "tokens",
                        .help = "at the end of each sequence, that no query sees",
                        .min = 0});
    visit(dropout, {.name = "dropout",
                    .help = "probability, applied in steps of 1/256",
                    .min = 0,
                    .max = 1,
                    .below_max = true});
  }
};

// Speeds in GFLOP/s on a CPU, in TFLOP/s on a GPU.
class Table {
 public:
  explicit Table(const Device& device) : is_gpu_(device.kind == DeviceKind::cuda) {}

  void print_head() const {
    fmt::print(kLine, "implementation", "pass", "type", "B", "H", "T", "D", "mask", "drop", "ms",
               "p10–p90", is_gpu_ ? "TFLOP/s" : "GFLOP/s", "matmul", "error", "rms", "kept",
               "workspace");
  }

  void print_row(const Json& row) const {
    const auto number = [&](const char* key) { return row.at(key).get<double>(); };
    const auto whole = [&](const char* key) { return fmt::format("{}", number(key)); };
    const auto text = [&](const char* key) { return row.at(key).get<std::string>(); };
    fmt::print(kLine, text("impl"), text("pass"), text("dtype"), whole("batch"), whole("heads_q"),
               whole("seq_q"), whole("head_dim"),
               text("mask") + (row.contains("padded_keys") ? "+pad" : ""),
               fmt::format("{:g}", number("dropout")), fmt::format("{:.3f}", number("ms_median")),
               fmt::format("{:.3f}–{:.3f}", number("ms_p10"), number("ms_p90")),
               fmt::format("{:.1f}", number("gflops") / (is_gpu_ ? 1000 : 1)),
               fmt::format("{:.1f}%", 100 * number("ratio")),
               fmt::format("{:.1e}", number("max_err")), fmt::format("{:.1e}", number("rms_err")),
               bytes_text(number("saved_bytes")), bytes_text(number("workspace_bytes")));
    std::fflush(stdout);
  }

 private:
  static constexpr const char* kLine =
      "{:<25} {:<8} {:<4} {:>3} {:>3} {:>5} {:>3} {:<8} {:>4} {:>8} {:>15} {:>7} {:>6} {:>7} "
      "{:>7} {:>8} {:>9}\n";
  bool is_gpu_;
};

// The most that rounding may cost, as a share of the largest value: what is faster than this is
// wrong. (attention_test holds every implementation to a far tighter rule.)
double allowed_error(DType dtype) { return dtype == DType::f32 ? 2e-5 : 4e-2; }

// One implementation on one problem: checked, then timed, forward and backward.
class CaseBench {
 public:
  CaseBench(Context& ctx, MatmulRate& matmul, const AttentionCase& problem, const TimingPlan& plan)
      : ctx_(ctx), matmul_(matmul), case_(problem), plan_(plan) {}

  template <class Report>
  void run(const Report& report) {
    const AttentionErrors e = measure_errors(ctx_, case_);
    queries_ = e.queries;
    const Arena::Scope scope(ctx_.arena());
    const AttentionTensors tensors = make_tensors(ctx_, case_);
    const double flop = forward_flop(case_);
    report(time_pass(tensors, "forward", e.forward_max, e.forward_rms, flop,
                     [&] { attention_forward(ctx_, tensors.forward); }));
    report(time_pass(tensors, "backward", e.backward_max, e.backward_rms, 2.5 * flop,
                     [&] { attention_backward(ctx_, tensors.backward); }));
  }

 private:
  template <class Call>
  Json time_pass(const AttentionTensors& tensors, const char* pass, double max_error,
                 double rms_error, double flop, const Call& call) {
    const std::string_view impl = select_attention(ctx_, problem_of(ctx_, tensors.backward)).name;
    check(max_error <= allowed_error(case_.dtype), impl, " is not timed: the error of its ", pass,
          " pass is ", max_error, ", allowed is ", allowed_error(case_.dtype));
    const int64_t workspace_bytes = bytes_taken_by(call);
    const double matmul_before = matmul_.gflops(case_.dtype);
    const std::vector<double> ms = time_calls(ctx_, plan_, call);
    const double matmul_after = matmul_.gflops(case_.dtype);
    Json row = {{"op", "attention"}, {"pass", pass}, {"impl", impl}};
    row.update(to_json(case_));
    add_speed(row, ms, flop, (matmul_before + matmul_after) / 2);
    row["max_err"] = max_error;
    row["rms_err"] = rms_error;
    row["checked_queries"] = queries_;
    row["saved_bytes"] = tensors.forward.saved.bytes();
    row["workspace_bytes"] = workspace_bytes;
    row["deterministic"] = ctx_.is_deterministic();
    return row;
  }

  template <class Call>
  int64_t bytes_taken_by(const Call& call) {
    ctx_.arena().reset_peaks();
    const int64_t before = ctx_.arena().report().current_total_bytes;
    call();
    return ctx_.arena().report().peak_total_bytes - before;
  }

  Context& ctx_;
  MatmulRate& matmul_;
  AttentionCase case_;
  TimingPlan plan_;
  int64_t queries_ = 0;
};

// Every case by every implementation, one after another. What cannot run ends the command where it
// is all there is to do; otherwise it is said, and the others go on.
class AttentionBench {
 public:
  AttentionBench(Context& ctx, const Options& options)
      : ctx_(ctx),
        options_(options),
        matmul_(ctx),
        table_(ctx.device()),
        rows_(options.json, ctx.device()) {}

  void run(const std::vector<AttentionCase>& cases, const std::vector<std::string>& names) {
    table_.print_head();
    int64_t failures = 0;
    for (const AttentionCase& problem : cases) {
      for (const std::string& name : names) {
        ctx_.prefer("attention", attention_wish(name));
        try {
          time(problem);
        } catch (const Error& error) {
          if (cases.size() * names.size() == 1) throw;
          // What does not fit in memory is a result, too.
          if (dynamic_cast<const OutOfMemory*>(&error) == nullptr) ++failures;
          fmt::print(stderr, "strobe: {}, T={}: {}\n", name, problem.seq_q, error.what());
        }
      }
    }
    check(failures == 0, failures, " of ", cases.size() * names.size(), " cases were not timed");
  }

 private:
  void time(const AttentionCase& problem) {
    CaseBench bench(ctx_, matmul_, problem,
                    {.repeats = options_.repeats, .seconds = options_.seconds});
    bench.run([&](Json row) {
      row["preset"] = options_.preset;
      rows_.write(row);
      table_.print_row(row);
    });
  }

  Context& ctx_;
  const Options& options_;
  MatmulRate matmul_;
  Table table_;
  BenchRows rows_;
};

}  // namespace

int bench_attention_command(const Arguments& arguments) {
  Options options;
  OptionParser parser(
      "bench attention",
      "Times attention, forward (keeping what a backward needs) and backward, after checking it "
      "against float64.\nSpeeds count 4·B·H·Tq·Tk·D FLOP forward, half when causal, and 2.5 times "
      "that backward; \"matmul\" is the\nshare of a plain matrix product's speed in the same type, "
      "oneDNN's (2048×3072×768, before and after) on a\nCPU, cuBLASLt's (8192×8192×8192) on a GPU. "
      "There each call finds an L2 cache without its data, and events\nbefore and after it count "
      "the time. \"error\" is the largest difference as a share of the largest value,\n\"rms\" "
      "that of root mean squares, of all queries or, of large problems, a few of each head.");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;
  if (options.threads > 0) set_thread_count(static_cast<int>(options.threads));
  std::optional<DType> given_dtype;
  if (!find_option(arguments, "dtype", "").empty()) given_dtype = options.dtype;
  const std::vector<AttentionCase> cases = options.preset == "none"
                                               ? std::vector{options.single()}
                                               : attention_preset(options.preset, given_dtype);
  const std::vector<std::string> names = attention_names(options.impl);

  say_if_gpu_is_passed_over(options.device);
  Context ctx(device_named(options.device));
  ctx.set_deterministic(options.deterministic);
  AttentionBench(ctx, options).run(cases, names);
  return 0;
}

}  // namespace strobe
