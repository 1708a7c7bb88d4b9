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
#include "strobe/train/provenance.h"

namespace strobe {
namespace {

struct InfoOptions {
  std::string model;
  bool json = false;

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit(model,
          {.name = "model",
           .unit = "NAME",
           .help = "what this model is instead: a folder in the Hugging Face layout, or what "
                   "`strobe fetch` has loaded"});
    visit(json, {.name = "json", .help = "print one JSON object"});
  }
};

struct TypicalProblem {
  const char* what;
  AttentionProblem problem;
};

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

// What people run: for these `strobe info` says which implementation would.
std::vector<TypicalProblem> typical_problems() {
  AttentionProblem lab = training(4, 512, 12, DType::f32);
  lab.has_dropout = lab.has_padding = true;
  AttentionProblem grouped = training(1, 4096, 32, DType::bf16);
  grouped.heads_kv = 8;
  grouped.head_dim = 128;
  AttentionProblem long_window = training(1, 8192, 12, DType::f32);
  long_window.mask = window(1024, 0);
  AttentionProblem tiny = training(1, 16, 12, DType::f32);
  tiny.head_dim = 128;
  return {{"tiny, D=128, f32", tiny},
          {"short, f32", training(4, 64, 12, DType::f32)},
          {"the lab's, f32, dropout, padding", lab},
          {"GPT-2, f32", training(1, 1024, 12, DType::f32)},
          {"GPT-2, bf16", training(1, 1024, 12, DType::bf16)},
          {"long, window of 1024, f32", long_window},
          {"grouped heads, D=128, bf16", grouped}};
}

std::string shape_text(const AttentionProblem& p) {
  return fmt::format("B={} T={} H={}/{} D={} {}", p.batch, p.seq_q, p.heads_q, p.heads_kv,
                     p.head_dim, p.mask.kind);
}

// Every implementation with its reason.
Json attention_json(const Context& ctx, const TypicalProblem& typical) {
  Json rows = Json::array();
  for (const AttentionVerdict& row : explain_attention(ctx, typical.problem)) {
    rows.push_back({{"name", row.impl->name},
                    {"algorithm", to_text(row.impl->algorithm)},
                    {"verdict", row.is_chosen ? "chosen"
                                : row.can_run ? "can run"
                                              : "cannot run"},
                    {"reason", row.reason}});
  }
  return {{"problem", typical.what},
          {"shape", shape_text(typical.problem)},
          {"chosen", select_attention(ctx, typical.problem).name},
          {"implementations", rows}};
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

Json info_json() {
  Json info = provenance();
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
      {"cuda", "not compiled in"},
      {"pictures", gnuplot.empty() ? "no: gnuplot is not installed" : "yes: " + gnuplot}};
  const Context ctx;
  info["attention"] = Json::array();
  for (const TypicalProblem& typical : typical_problems()) {
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

void print_info(const Json& info) {
  fmt::print("Strobe\n");
  print_object(info);
  fmt::print("\nLibraries\n");
  print_object(info.at("libraries"));
  fmt::print("\nFeatures\n");
  print_object(info.at("features"));
  fmt::print("\nAttention (without a wish such as --attention standard)\n");
  for (const Json& problem : info.at("attention")) {
    fmt::print("  {}: {}\n", problem.at("problem").get<std::string>(),
               problem.at("shape").get<std::string>());
    std::string able;
    for (const Json& row : problem.at("implementations")) {
      const auto name = row.at("name").get<std::string>();
      if (row.at("verdict") == "can run") {
        able += (able.empty() ? "" : ", ") + name;
      } else {
        fmt::print("    {:<12}{}: {}\n", row.at("verdict").get<std::string>(), name,
                   row.at("reason").get<std::string>());
      }
    }
    if (!able.empty()) fmt::print("    {:<12}{}\n", "can run too", able);
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
  const Json info = is_model ? model_info(options.model) : info_json();
  if (options.json) {
    fmt::print("{}\n", info.dump(2));
  } else {
    (is_model ? print_model : print_info)(info);
  }
  return 0;
}

}  // namespace strobe
