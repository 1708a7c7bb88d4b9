#include "strobe/cli/bench_attention.h"

#include "strobe/cli/attention_names.h"
#include "strobe/cli/bench_kit.h"
#include "strobe/cli/commands.h"
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
  std::string impl = "standard,flash";
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
           .help = "many shapes at once, instead of the options below: cpu (lengths 512 to "
                   "8192, head dims 64 and 128, f32 and bf16, dropout), smoke (two shapes)"});
    visit(impl, {.name = "impl",
                 .unit = "NAMES",
                 .help = "separated by commas: standard, flash, any, or implementations that "
                         "`strobe info` lists"});
    visit_shape(visit);
    visit.group("How");
    visit(threads, {.name = "threads", .help = "0: one for each core", .min = 0, .max = 1024});
    visit(repeats,
          {.name = "repeats", .help = "timed calls; 0: as many as `seconds` allow", .min = 0});
    visit(seconds,
          {.name = "seconds", .help = "of timing for each row, at least 3 calls", .min = 0});
    visit(json, {.name = "json", .unit = "FILE", .help = "add the rows to this file, as JSONL"});
  }

  AttentionCase single() const {
    return {
        .batch = batch,
        .heads = heads,
        .kv_heads = kv_heads > 0 ? kv_heads : heads,
        .seq_q = seq,
        .seq_k = seq_k > 0 ? seq_k : seq,
        .head_dim = head_dim,
        .dtype = dtype,
        .mask = mask == MaskKind::window ? window(window_left, window_right) : Mask{.kind = mask},
        .dropout = dropout};
  }

 private:
  template <class Visitor>
  void visit_shape(Visitor&& visit) {
    visit(batch, {.name = "batch", .unit = "sequences", .help = "B", .min = 1});
    visit(heads, {.name = "heads", .help = "query heads", .min = 1});
    visit(kv_heads, {.name = "kv_heads", .help = "key and value heads; 0: as many", .min = 0});
    visit(seq, {.name = "seq", .unit = "tokens", .help = "queries", .min = 1});
    visit(seq_k, {.name = "seq_k", .unit = "tokens", .help = "keys; 0: as many", .min = 0});
    visit(head_dim, {.name = "head_dim", .help = "D, a multiple of 8", .min = 8, .max = 256});
    visit(dtype, {.name = "dtype", .help = "of all tensors"}, {DType::f32, DType::bf16});
    visit(mask, {.name = "mask", .help = "which keys a query sees"},
          {MaskKind::full, MaskKind::causal, MaskKind::window});
    visit(window_left, {.name = "window_left", .help = "of a window: keys before", .min = 0});
    visit(window_right, {.name = "window_right", .help = "of a window: keys after", .min = 0});
    visit(dropout, {.name = "dropout",
                    .help = "probability, applied in steps of 1/256",
                    .min = 0,
                    .max = 1,
                    .below_max = true});
  }
};

void print_head() {
  fmt::print(
      "{:<25} {:<8} {:<4} {:>2} {:>3} {:>5} {:>3} {:<6} {:>4} {:>9} {:>17} {:>8} {:>7} {:>8} {:>8} "
      "{:>9}\n",
      "implementation", "pass", "type", "B", "H", "T", "D", "mask", "drop", "ms", "p10–p90",
      "GFLOP/s", "matmul", "error", "kept", "workspace");
}

void print_row(const Json& row) {
  const auto number = [&](const char* key) { return row.at(key).get<double>(); };
  fmt::print(
      "{:<25} {:<8} {:<4} {:>2} {:>3} {:>5} {:>3} {:<6} {:>4g} {:>9.3f} {:>17} {:>8.1f} {:>6.1f}% "
      "{:>8.1e} {:>8} {:>9}\n",
      row.at("impl").get<std::string>(), row.at("pass").get<std::string>(),
      row.at("dtype").get<std::string>(), number("batch"), number("heads_q"), number("seq_q"),
      number("head_dim"), row.at("mask").get<std::string>(), number("dropout"), number("ms_median"),
      fmt::format("{:.3f}–{:.3f}", number("ms_p10"), number("ms_p90")), number("gflops"),
      100 * number("ratio"), number("max_err"), bytes_text(number("saved_bytes")),
      bytes_text(number("workspace_bytes")));
  std::fflush(stdout);
}

// The most that rounding may cost, as a share of the largest value: what is faster than this is
// wrong. (attention_test holds every implementation to a far tighter rule.)
double allowed_error(DType dtype) { return dtype == DType::f32 ? 2e-5 : 4e-2; }

// One implementation on one problem: checked, then timed, forward and backward.
class CaseBench {
 public:
  CaseBench(Context& ctx, const AttentionCase& problem, const TimingPlan& plan)
      : ctx_(ctx), case_(problem), plan_(plan) {}

  template <class Report>
  void run(const Report& report) {
    const AttentionErrors errors = measure_errors(ctx_, case_);
    const Arena::Scope scope(ctx_.arena());
    const AttentionTensors tensors = make_tensors(ctx_, case_);
    const double flop = forward_flop(case_);
    report(time_pass(tensors, "forward", errors.forward, flop,
                     [&] { attention_forward(ctx_, tensors.forward); }));
    report(time_pass(tensors, "backward", errors.backward, 2.5 * flop,
                     [&] { attention_backward(ctx_, tensors.backward); }));
  }

 private:
  template <class Call>
  Json time_pass(const AttentionTensors& tensors, const char* pass, double error, double flop,
                 const Call& call) {
    const std::string_view impl = select_attention(ctx_, problem_of(ctx_, tensors.backward)).name;
    check(error <= allowed_error(case_.dtype), impl, " is not timed: the error of its ", pass,
          " pass is ", error, ", allowed is ", allowed_error(case_.dtype));
    const double matmul_before = measure_matmul_gflops(ctx_, case_.dtype);
    ctx_.arena().reset_peaks();
    const int64_t bytes_before = ctx_.arena().report().current_total_bytes;
    const std::vector<double> ms = time_calls(plan_, call);
    const int64_t workspace_bytes = ctx_.arena().report().peak_total_bytes - bytes_before;
    const double matmul_after = measure_matmul_gflops(ctx_, case_.dtype);
    Json row = {{"op", "attention"}, {"pass", pass}, {"impl", impl}};
    row.update(to_json(case_));
    add_speed(row, ms, flop, (matmul_before + matmul_after) / 2);
    row["max_err"] = error;
    row["saved_bytes"] = tensors.forward.saved.bytes();
    row["workspace_bytes"] = workspace_bytes;
    return row;
  }

  Context& ctx_;
  AttentionCase case_;
  TimingPlan plan_;
};

}  // namespace

int bench_attention_command(const Arguments& arguments) {
  Options options;
  OptionParser parser(
      "bench attention",
      "Times attention, forward (keeping what a backward needs) and backward, after "
      "checking it against float64.\nSpeeds count 4·B·H·Tq·Tk·D FLOP forward, half "
      "when causal, and 2.5 times that backward; \"matmul\" is the share of oneDNN's "
      "rate at 2048×3072×768 in the same type, measured before and after.");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;
  if (options.threads > 0) set_thread_count(static_cast<int>(options.threads));
  const std::vector<AttentionCase> cases =
      options.preset == "none" ? std::vector{options.single()} : attention_preset(options.preset);
  const std::vector<std::string> names = attention_names(options.impl);

  Context ctx;
  BenchRows rows(options.json);
  print_head();
  int failures = 0;
  for (const AttentionCase& problem : cases) {
    for (const std::string& name : names) {
      ctx.prefer("attention", attention_wish(name));
      CaseBench bench(ctx, problem, {.repeats = options.repeats, .seconds = options.seconds});
      try {
        bench.run([&](Json row) {
          row["preset"] = options.preset;
          rows.write(row);
          print_row(row);
        });
      } catch (const Error& error) {
        if (cases.size() * names.size() == 1) throw;
        ++failures;  // one that cannot run, or does not fit in memory: the others go on
        fmt::print(stderr, "strobe: {}, T={}: {}\n", name, problem.seq_q, error.what());
      }
    }
  }
  check(failures == 0, failures, " of ", cases.size() * names.size(), " cases were not timed");
  return 0;
}

}  // namespace strobe
