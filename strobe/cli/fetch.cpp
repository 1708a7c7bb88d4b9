#include <algorithm>
#include <optional>

#include "strobe/cli/attention_names.h"
#include "strobe/cli/commands.h"
#include "strobe/core/clock.h"
#include "strobe/core/interrupt.h"
#include "strobe/core/progress.h"
#include "strobe/data/hub_fetch.h"

namespace strobe {
namespace {

struct FetchOptions {
  std::string model;
  std::string revision = "main";
  std::string files;

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit(revision, {.name = "revision", .unit = "NAME", .help = "a branch, a tag or a commit"});
    visit(files,
          {.name = "files",
           .unit = "NAMES",
           .help = "separated by commas; without it config.json, the weights and the tokenizer"});
  }
};

std::string bytes_text(int64_t bytes) {
  return bytes < 1000 ? fmt::format("{} B", bytes)
                      : fmt::format("{}B", short_number(static_cast<double>(bytes)));
}

// "model.safetensors [####....]  123MB of 548MB  45.6MB/s  9s left"
std::string line_of(const FetchProgress& progress, double seconds, int width) {
  const auto loaded = static_cast<double>(progress.bytes - progress.first_bytes);
  const auto left = static_cast<double>(progress.total_bytes - progress.bytes);
  const double rate = seconds > 0 ? loaded / seconds : 0;
  std::string numbers = bytes_text(progress.bytes);
  if (left > 0) numbers += " of " + bytes_text(progress.total_bytes);
  if (seconds >= 1) numbers += fmt::format("  {}/s", bytes_text(static_cast<int64_t>(rate)));
  if (seconds >= 1 && left == 0) numbers += "  in " + short_duration(seconds);
  if (left > 0 && rate > 0) numbers += fmt::format("  {} left", short_duration(left / rate));
  const auto total = static_cast<double>(std::max<int64_t>(progress.total_bytes, 1));
  return bar_line(progress.file, static_cast<double>(progress.bytes) / total, numbers, width);
}

// One line for each file, one below the other.
class FetchLines {
 public:
  void show(const FetchProgress& progress) {
    if (progress.file != file_) {
      line_.reset();  // ends its line before the next begins
      file_ = progress.file;
      watch_.restart();
    }
    constexpr double kBrief = 0.2;  // a small file needs no line but its last
    const bool is_last = progress.bytes == progress.total_bytes;
    const double seconds = watch_.seconds();
    if (seconds < kBrief && !is_last) return;
    if (!line_) line_.emplace();
    line_->update([progress, seconds](int width) { return line_of(progress, seconds, width); },
                  is_last);
  }
  void note(const std::string& text) {
    if (line_) {
      line_->note(text);
    } else {
      fmt::print(stderr, "{}\n", text);
    }
  }

 private:
  std::string file_;
  Stopwatch watch_;
  std::optional<ProgressLine> line_;
};

}  // namespace

int fetch_command(const Arguments& arguments) {
  FetchOptions options;
  OptionParser parser(
      "fetch",
      "Loads a model from a hub into the cache that Hugging Face's Python tools use "
      "too, and prints the\nfolder with its files. What a broken or stopped fetch "
      "loaded is kept; the next one goes on from there.\n\n"
      "Environment: HF_ENDPOINT (the hub), HF_TOKEN, HF_HUB_CACHE or HF_HOME (the "
      "cache).");
  parser.positional(options.model, "NAME", "the model's: gpt2, or OWNER/NAME");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;
  FetchRequest request = {.model = options.model, .revision = options.revision};
  if (!options.files.empty()) request.files = split_at_commas(options.files);

  const InterruptGuard interrupt;
  std::optional<std::string> folder;
  {
    FetchLines lines;
    folder = fetch_model(hub_settings(), request,
                         {.progress = [&](const FetchProgress& progress) { lines.show(progress); },
                          .note = [&](const std::string& text) { lines.note(text); },
                          .should_stop = [&] { return interrupt.requested(); }});
  }
  if (!folder) {
    fmt::print(stderr, "stopped; what was loaded is kept, the same command goes on from there\n");
    return 128 + interrupt.signal();
  }
  fmt::print("{}\n", *folder);
  return 0;
}

}  // namespace strobe
