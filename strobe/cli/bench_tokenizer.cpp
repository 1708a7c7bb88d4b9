#include <filesystem>
#include <string>

#include "strobe/cli/bench_kit.h"
#include "strobe/cli/commands.h"
#include "strobe/core/check.h"
#include "strobe/core/parallel.h"
#include "strobe/data/bpe_trainer.h"
#include "strobe/data/encode_text.h"
#include "strobe/report/units.h"

namespace strobe {
namespace {

struct Options {
  std::string tokenizer;
  std::string data = "/usr/share/common-licenses/GPL-3";
  int64_t threads = 0;
  int64_t repeats = 0;
  double seconds = 2;
  std::string json;

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit.group("What to time");
    visit(tokenizer, {.name = "tokenizer",
                      .unit = "DIR",
                      .help = "its folder: tokenizer.json, or vocab.json and merges.txt"});
    visit(data, {.name = "data", .unit = "FILE", .help = "the text"});
    visit.group("How");
    visit(threads, {.name = "threads",
                    .help = "of the rows that are not of one thread; 0: one for each core",
                    .min = 0,
                    .max = 1024});
    visit(repeats,
          {.name = "repeats", .help = "timed calls; 0: as many as `seconds` allow", .min = 0});
    visit(seconds,
          {.name = "seconds", .help = "of timing for each row, at least 3 calls", .min = 0});
    visit(json, {.name = "json", .unit = "FILE", .help = "add the rows to this file, as JSONL"});
  }
};

// What is timed of one tokenizer and text.
class TokenizerBench {
 public:
  TokenizerBench(const Options& options, BenchRows& rows)
      : options_(options),
        rows_(rows),
        file_(options.data),
        tokenizer_(load_tokenizer(options.tokenizer)),
        tokens_(tokenizer_->encode(file_.text())) {
    check(!tokens_.empty(), "'", options.data, "' is empty");
    check(tokenizer_->decode(tokens_) == file_.text(), "decoding '", options.data,
          "' does not give its text");
  }

  void encode(int threads) {
    std::vector<int32_t> tokens;
    // A new tokenizer each time: its cache of words begins empty.
    std::unique_ptr<Tokenizer> fresh;
    add_row(
        "encode", threads, [&] { fresh = load_tokenizer(options_.tokenizer); },
        [&] {
          tokens.clear();
          encode_text(*fresh, file_.text(), SpecialNames::tokens,
                      [&](std::span<const int32_t> part) {
                        tokens.insert(tokens.end(), part.begin(), part.end());
                      });
        });
    check(tokens == tokens_, "the tokens on ", threads, " threads are not those of the whole text");
  }

  void decode() {
    std::string text;
    add_row(
        "decode", 1, [] {}, [&] { text = tokenizer_->decode(tokens_); });
  }

  void train(int threads) {
    BpeVocabulary vocabulary;
    add_row(
        "train", threads, [] {},
        [&] {
          WordCounts words;
          words.add(file_.text());
          vocabulary = train_bpe(words, {.vocab_size = tokenizer_->vocab_size()});
        });
    check(!vocabulary.tokens.empty(), "nothing was learned");
  }

 private:
  template <class Prepare, class Call>
  void add_row(const char* pass, int threads, const Prepare& prepare, const Call& call) {
    set_thread_count(threads);
    const TimingPlan plan = {.repeats = options_.repeats, .seconds = options_.seconds};
    std::vector<double> ms;
    const Stopwatch whole;
    while (!plan.is_done(ms.size(), whole.seconds())) {
      prepare();
      const Stopwatch one;
      call();
      ms.push_back(one.ms());
    }
    const auto bytes = static_cast<double>(file_.bytes().size());
    Json row = {{"op", "tokenizer"},
                {"pass", pass},
                {"impl", "strobe"},
                {"text", std::filesystem::path(options_.data).filename().string()},
                {"text_bytes", file_.bytes().size()},
                {"text_tokens", tokens_.size()},
                {"vocab_size", tokenizer_->vocab_size()},
                {"repeats", ms.size()},
                {"ms_median", median(ms)},
                {"ms_p10", percentile(ms, 10)},
                {"ms_p90", percentile(ms, 90)},
                {"threads", threads}};
    row["mb_per_s"] = bytes / 1e3 / median(ms);
    rows_.write(row);
    fmt::print("{:<7} {:>7} {:>10.1f} {:>17} {:>12}\n", pass, threads, median(ms),
               fmt::format("{:.1f}–{:.1f}", percentile(ms, 10), percentile(ms, 90)),
               bytes_text(1e3 * bytes / median(ms)) + "/s");
    std::fflush(stdout);
  }

  const Options& options_;
  BenchRows& rows_;
  MappedFile file_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<int32_t> tokens_;
};

}  // namespace

int bench_tokenizer_command(const Arguments& arguments) {
  Options options;
  OptionParser parser("bench tokenizer",
                      "Times a text's way to tokens and back, and learning a vocabulary of the "
                      "same size from it.\nEvery call encodes with a new tokenizer, whose cache of "
                      "words is empty.");
  options.visit(parser);
  if (!parser.parse(arguments)) return 0;
  if (options.tokenizer.empty()) throw UsageError("--tokenizer DIR is missing");
  if (options.threads > 0) set_thread_count(static_cast<int>(options.threads));
  const int threads = thread_count();

  BenchRows rows(options.json);
  TokenizerBench bench(options, rows);
  fmt::print("{:<7} {:>7} {:>10} {:>17} {:>12}\n", "", "threads", "ms", "p10–p90", "text");
  bench.encode(1);
  if (threads > 1) bench.encode(threads);
  bench.decode();
  bench.train(1);
  if (threads > 1) bench.train(threads);
  set_thread_count(threads);
  return 0;
}

}  // namespace strobe
