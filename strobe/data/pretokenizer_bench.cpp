// Cutting a text into words: the scanner, and PCRE2's JIT with GPT-2's pattern.
#include "strobe/data/pretokenizer.h"

#include <benchmark/benchmark.h>

#include <string>

#include "strobe/data/pretokenizer_testing.h"

namespace strobe {
namespace {

std::string repeated(const std::string& passage) {
  std::string text;
  while (text.size() < 1 << 20) text += passage;
  return text;
}

std::string english() {
  return repeated(
      "All human beings are born free and equal in dignity and rights. They're endowed with reason "
      "and conscience (1948), and should act towards one another in a spirit of brotherhood.\n");
}

std::string chinese() {
  return repeated(
      "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神互相對待。\n");
}

template <class WordEnd>
void time_words(benchmark::State& state, const std::string& text, const WordEnd& end_of_word) {
  size_t words = 0;
  for (auto _ : state) {
    for (size_t begin = 0; begin < text.size(); ++words) begin = end_of_word(begin);
  }
  benchmark::DoNotOptimize(words);
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}

void scanner(benchmark::State& state, const std::string& text) {
  time_words(state, text, [&](size_t begin) { return word_end(text, begin); });
}

void pcre2(benchmark::State& state, const std::string& text) {
  const testing::Pattern pattern(kWordPattern);
  time_words(state, text, [&](size_t begin) { return *pattern.match_end(text, begin); });
}

BENCHMARK_CAPTURE(scanner, english, english());
BENCHMARK_CAPTURE(pcre2, english, english());
BENCHMARK_CAPTURE(scanner, chinese, chinese());
BENCHMARK_CAPTURE(pcre2, chinese, chinese());

}  // namespace
}  // namespace strobe
