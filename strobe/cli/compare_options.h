#pragma once

#include <string>
#include <string_view>

#include "strobe/cli/options.h"
#include "strobe/report/html_messages.h"
#include "strobe/train/train_options.h"

namespace strobe {

// What is compared: training steps, or the continuation of a text.
enum class CompareTask : unsigned char { train, generate };

constexpr std::string_view to_text(CompareTask task) {
  constexpr std::string_view names[] = {"train", "generate"};
  return names[static_cast<int>(task)];
}

struct CompareOptions {
  TrainOptions train;  // of both tasks: the model, dtype, batch, threads and seed
  CompareTask task = CompareTask::train;
  std::string attention = "standard,flash";
  std::string out = "out/compare";
  std::string sweep;
  double budget = 60;
  int64_t memory_limit = 0;
  Language lang = Language::english;
  std::string prompt = "The quick brown fox jumps over the lazy dog.";
  int64_t prompt_tokens = 0;
  int64_t new_tokens = 32;
  int64_t runs = 5;

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit.group("Comparison");
    visit(task,
          {.name = "task",
           .help = "train: steps of training; generate: a text continued, the most probable token "
                   "each time"},
          {CompareTask::train, CompareTask::generate});
    visit(attention,
          {.name = "attention",
           .unit = "NAMES",
           .help = "separated by commas, the first is the baseline: standard, flash, any, "
                   "or implementations that `strobe info` lists"});
    visit(out, {.name = "out",
                .unit = "DIR",
                .help = "folder of results.jsonl, compare.png, compare.svg and report.html, made "
                        "where missing"});
    visit(memory_limit, {.name = "memory_limit",
                         .unit = "MiB",
                         .help = "that the tensors of a run may take; 0: the device's memory, in "
                                 "a sweep what is free of it",
                         .min = 0});
    visit(lang, {.name = "lang", .help = "language of the report and of training's pictures"},
          {Language::english, Language::traditional_chinese});
    visit.group("Sweep: the same for several sizes");
    visit(sweep, {.name = "sweep",
                  .unit = "AXIS=…",
                  .help = "AXIS is seq (tokens of a sequence, of the prompt in generation), batch "
                          "or layers; FROM..TO doubles, N,N,… lists: seq=512..8192"});
    visit(budget, {.name = "budget",
                   .unit = "seconds",
                   .help = "for one point; what does not get there is too slow",
                   .min = 0.1});
    visit.group("Generation");
    visit(prompt, {.name = "prompt", .unit = "TEXT", .help = "to continue"});
    visit(prompt_tokens, {.name = "prompt_tokens",
                          .unit = "tokens",
                          .help = "repeat or cut the prompt to this length; 0: as it is",
                          .min = 0});
    visit(new_tokens, {.name = "new_tokens",
                       .unit = "tokens",
                       .help = "that it is continued by, the first one counts as prefill",
                       .min = 2});
    visit(runs, {.name = "runs", .help = "timed, after one that is not", .min = 1});
    train.visit_shared(visit);
  }
};

// The options of a command line; false when --help was asked for, and printed.
bool parse_compare_options(CompareOptions& options, const Arguments& arguments);

// What was compared, and where: the two lines above table and picture. `axis` is what a sweep
// changes, and is not given a value; empty without one.
std::string compare_title(const CompareOptions& options, std::string_view axis);
std::string compare_subtitle(const CompareOptions& options, std::string_view axis,
                             const Device& device);

}  // namespace strobe
