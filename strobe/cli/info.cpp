#include <unistd.h>

#include <CLI/Version.hpp>
#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "strobe/cli/commands.h"
#include "strobe/cli/model_info.h"
#include "strobe/core/context.h"
#include "strobe/core/parallel.h"
#include "strobe/ops/attention/attention.h"
#include "strobe/report/units.h"
#include "strobe/train/provenance.h"

namespace strobe {
namespace {

struct InfoOptions {
  std::string model;
  std::string device = "auto";
  bool json = false;

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit(model,
          {.name = "model",
           .unit = "NAME",
           .help = "what this model is instead: a folder in the Hugging Face layout, or what "
                   "`strobe fetch` has loaded"});
    visit(device, kDeviceOption);
    visit(json, {.name = "json", .help = "print one JSON object"});
  }
};

struct TypicalProblem {
  std::string what;
  AttentionProblem problem;
};

AttentionProblem with_width(AttentionProblem problem, int64_t heads_kv, int64_t head_dim) {
  problem.heads_kv = heads_kv;
  problem.head_dim = head_dim;
  return problem;
}

AttentionProblem training(int64_t batch, int64_t seq, int64_t heads, DType dtype) {
  return {.batch = batch,
          .seq_q = seq,
          .seq_k = seq,
          .heads_q = heads,
          .heads_kv = heads,
          .head_dim = 64,
          .dtype = dtype,
          .mask = causal(),
          .needs_backward = true};
}

// What people run, in the types in which they do so on that device: for these `strobe info` says
// which implementation would.
std::vector<TypicalProblem> typical_problems(const Device& device) {
  const bool is_gpu = device.kind == DeviceKind::cuda;
  const DType dtype = is_gpu ? DType::f16 : DType::f32;
  const int64_t batch = is_gpu ? 32 : 1;
  AttentionProblem lab = training(4, 512, 12, dtype);
  lab.has_dropout = lab.has_padding = true;
  AttentionProblem long_window = training(1, 8192, 12, dtype);
  long_window.mask = window(1024, 0);
  AttentionProblem token = training(1, 1024, 12, dtype);
  token.seq_q = 1;
  token.is_decode = true;
  token.needs_backward = false;
  return {{fmt::format("tiny, D=128, {}", dtype), with_width(training(1, 16, 12, dtype), 12, 128)},
          {fmt::format("short, {}", dtype), training(4, 64, 12, dtype)},
          {fmt::format("the lab's, {}, dropout, padding", dtype), lab},
          {"GPT-2, f32", training(batch, 1024, 12, DType::f32)},
          {"GPT-2, bf16", training(batch, 1024, 12, DType::bf16)},
          {fmt::format("long, window of 1024, {}", dtype), long_window},
          {"grouped heads, D=128, bf16", with_width(training(1, 4096, 32, DType::bf16), 8, 128)},
          {fmt::format("generation, a token, {}", dtype), token}};
}

std::string shape_text(const AttentionProblem& p) {
  return fmt::format("B={} T={} H={}/{} D={} {}", p.batch, p.seq_q, p.heads_q, p.heads_kv,
                     p.head_dim, p.mask.kind);
}

// Every implementation with its reason.
Json attention_json(const Context& ctx, const TypicalProblem& typical) {
  Json rows = Json::array(), chosen = nullptr;
  for (const AttentionVerdict& row : explain_attention(ctx, typical.problem)) {
    if (row.is_chosen) chosen = row.impl->name;
    rows.push_back({{"name", row.impl->name},
                    {"algorithm", to_text(row.impl->algorithm)},
                    {"verdict", row.is_chosen ? "chosen"
                                : row.can_run ? "can run"
                                              : "cannot run"},
                    {"reason", row.reason}});
  }
  return {{"problem", typical.what},
          {"shape", shape_text(typical.problem)},
          {"chosen", chosen},
          {"implementations", rows}};
}

std::string cuda_text() {
  if (cuda_architectures().empty()) return "not compiled in";
  const int count = cuda_device_count();
  const std::string built = fmt::format("for compute capability {}", cuda_architectures());
  if (count == 0) return fmt::format("{}; none can run: {}", built, why_no_cuda());
  return fmt::format("{}; {} GPU{}", built, count, count == 1 ? "" : "s");
}

Json gpus_json() {
  Json gpus = Json::array();
  for (int index = 0; index < cuda_device_count(); ++index) {
    Json gpu = {{"device", to_text(Device{DeviceKind::cuda, index})}};
    gpu.update(gpu_json(cuda_info(index)));
    gpu["why_not"] = why_no_cuda(index);
    gpus.push_back(gpu);
  }
  return gpus;
}

// Where the shell would find a program; empty if nowhere.
std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string file = folder + "/" + name;
    if (access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

Json info_json(const Device& device) {
  Json info = provenance(device);
  info["libraries"] = {
      {"oneDNN", info["onednn"]},
      {"OpenMP", fmt::format("{}", _OPENMP)},
      {"fmt",
       fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100)},
      {"nlohmann-json", fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR,
                                    NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH)},
      {"CLI11", CLI11_VERSION}};
  info.erase("onednn");
  const std::string gnuplot = find_program("gnuplot");
  info["features"] = {
      {"kernels", fmt::format("scalar, avx2, avx512, avx512_bf16; {} runs here", cpu_info().isa)},
      {"cuda", cuda_text()},
      {"pictures", gnuplot.empty() ? "no: gnuplot is not installed" : "yes: " + gnuplot}};
  info["gpus"] = gpus_json();
  const Context ctx(device);
  info["attention"] = Json::array();
  for (const TypicalProblem& typical : typical_problems(device)) {
    info["attention"].push_back(attention_json(ctx, typical));
  }
  return info;
}

void print_object(const Json& object) {
  size_t width = 14;
  for (const auto& [key, value] : object.items()) width = std::max(width, key.size() + 2);
  for (const auto& [key, value] : object.items()) {
    if (value.is_structured()) continue;
    const std::string text = value.is_null()     ? "none"
                             : value.is_string() ? value.get<std::string>()
                                                 : value.dump();
    fmt::print("  {:<{}}{}\n", key, width, text);
  }
}

void print_gpu(const Json& gpu) {
  const auto text = [&](const char* key) { return gpu.at(key).get<std::string>(); };
  const std::string driver = text("driver").empty() ? "" : fmt::format(" {}", text("driver"));
  fmt::print("  {:<14}{}, compute capability {}, {} multiprocessors, {}, driver{} for CUDA {}\n",
             text("device"), text("gpu"), text("capability"), gpu.at("multiprocessors").get<int>(),
             bytes_text(gpu.at("gpu_memory_bytes")), driver, text("driver_cuda"));
  if (!text("why_not").empty()) fmt::print("  {:<14}cannot be used: {}\n", "", text("why_not"));
}

// What would run, what could and what could not: one line for all that have the same said of them.
void print_verdicts(const Json& implementations) {
  struct Line {
    std::string verdict, reason, names;
  };
  std::vector<Line> lines;
  for (const Json& row : implementations) {
    Line line = {row.at("verdict"), row.at("reason"), row.at("name")};
    if (line.verdict == "can run") line = {"can run too", "", line.names};
    const auto same = std::ranges::find_if(lines, [&](const Line& other) {
      return other.verdict == line.verdict && other.reason == line.reason;
    });
    if (same == lines.end()) {
      lines.push_back(line);
    } else {
      same->names += ", " + line.names;
    }
  }
  constexpr std::string_view kOrder[] = {"chosen", "can run too", "cannot run"};
  std::ranges::stable_sort(lines, {}, [&](const Line& line) {
    return std::ranges::find(kOrder, line.verdict) - std::begin(kOrder);
  });
  for (const Line& line : lines) {
    fmt::print("    {:<12}{}{}\n", line.verdict, line.names,
               line.reason.empty() ? "" : ": " + line.reason);
  }
}

void print_info(const Json& info) {
  fmt::print("Strobe\n");
  print_object(info);
  fmt::print("\nLibraries\n");
  print_object(info.at("libraries"));
  fmt::print("\nFeatures\n");
  print_object(info.at("features"));
  if (!info.at("gpus").empty()) fmt::print("\nGPUs\n");
  for (const Json& gpu : info.at("gpus")) print_gpu(gpu);
  fmt::print("\nAttention on {} (without a wish such as --attention standard)\n",
             info.at("device").get<std::string>());
  for (const Json& problem : info.at("attention")) {
    fmt::print("  {}: {}\n", problem.at("problem").get<std::string>(),
               problem.at("shape").get<std::string>());
    print_verdicts(problem.at("implementations"));
  }
}

void print_model(const Json& info) {
  fmt::print("Model\n");
  print_object(info);
  fmt::print("\nConfiguration\n");
  print_object(info.at("config"));
}

}  // namespace

int info_command(const Arguments& arguments) {
  InfoOptions options;
  OptionParser parser(
      "info",
      "Prints what this program was built with, what this machine offers, and which "
      "implementation of attention\nwould run typical problems, with the reason of "
      "every one that would not.");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;
  const bool is_model = !options.model.empty();
  const Json info = is_model ? model_info(options.model) : info_json(device_named(options.device));
  if (options.json) {
    fmt::print("{}\n", info.dump(2));
  } else {
    (is_model ? print_model : print_info)(info);
  }
  return 0;
}

}  // namespace strobe
