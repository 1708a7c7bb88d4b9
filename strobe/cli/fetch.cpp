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
  const double rate = seconds > 0 ? loaded / seconds : 0;
  const std::string speed = fmt::format("{}/s", bytes_text(static_cast<int64_t>(rate)));
  if (progress.total_bytes < 0) {
    return bar_line(progress.file, 0, fmt::format("{}  {}", bytes_text(progress.bytes), speed),
                    width);
  }
  const auto left = static_cast<double>(progress.total_bytes - progress.bytes);
  const std::string time = left == 0  ? "in " + short_duration(seconds)
                           : rate > 0 ? short_duration(left / rate) + " left"
                                      : "";
  return bar_line(progress.file,
                  static_cast<double>(progress.bytes) /
                      static_cast<double>(std::max<int64_t>(progress.total_bytes, 1)),
                  fmt::format("{} of {}  {}  {}", bytes_text(progress.bytes),
                              bytes_text(progress.total_bytes), speed, time),
                  width);
}

// One line for each file, one below the other.
class FetchLines {
 public:
  void show(const FetchProgress& progress) {
    if (!line_ || progress.file != file_) {
      line_.reset();  // ends its line before the next begins
      line_.emplace();
      file_ = progress.file;
      watch_.restart();
    }
    line_->update([progress, seconds = watch_.seconds()](
                      int width) { return line_of(progress, seconds, width); },
                  progress.bytes == progress.total_bytes);
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
