#include "strobe/data/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <queue>
#include <span>
#include <utility>
#include <vector>

#include "strobe/core/check.h"
#include "strobe/core/parallel.h"
#include "strobe/data/bpe_tokenizer.h"
#include "strobe/data/pretokenizer.h"

namespace strobe {
namespace {

constexpr int64_t kSmallestVocab = 257;

// The 256 bytes in the order of their names, and the end of text.
BpeVocabulary byte_vocabulary() {
  BpeVocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    vocabulary.tokens.push_back({bpe_name({&c, 1}), 0});
  }
  // UTF-8 sorts as its code points do.
  std::ranges::sort(vocabulary.tokens, {}, &BpeVocabulary::Token::name);
  for (int32_t id = 0; id < 256; ++id) vocabulary.tokens[static_cast<size_t>(id)].id = id;
  vocabulary.tokens.push_back({std::string(kEndOfTextName), 256});
  vocabulary.added.push_back({.content = std::string(kEndOfTextName), .id = 256});
  return vocabulary;
}

void count_words(std::string_view text, WordCounts::Map& counts) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = word_end(text, begin);
    const std::string_view word = text.substr(begin, end - begin);
    begin = end;
    const auto found = counts.find(word);
    if (found != counts.end()) {
      ++found->second;
    } else {
      counts.emplace(word, 1);
    }
  }
}

// A pair of neighbours as one number that sorts by the left one, then the right one.
using Pair = uint64_t;

Pair pair_of(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}
int32_t left_of(Pair pair) { return static_cast<int32_t>(pair >> 32); }
int32_t right_of(Pair pair) { return static_cast<int32_t>(pair & 0xffffffff); }

// The words as tokens, how often each pair of neighbours comes, and in which words.
class Trainer {
 public:
  Trainer(const WordCounts& words, const BpeVocabulary& bytes);

  // The pair that comes most often, and how often; 0 when there is none.
  std::pair<Pair, int64_t> most_frequent();
  // Makes the pair the token `result`, wherever it is.
  void merge(Pair pair, int32_t result);

 private:
  struct Word {
    size_t begin, size;  // in symbols_
    int64_t count;
  };
  struct PairData {
    int64_t count = 0;
    std::vector<uint32_t> words;  // which have it, or had it
  };
  struct Candidate {
    int64_t count;
    Pair pair;
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };

  void add(Pair pair, int64_t count, uint32_t word);
  void merge_in_word(Pair pair, int32_t result, uint32_t word);

  std::vector<int32_t> symbols_;
  std::vector<Word> words_;
  std::unordered_map<Pair, PairData> pairs_;
  std::priority_queue<Candidate> candidates_;  // counts may be out of date
  std::vector<Pair> changed_;                  // pairs that came to be, or came more often
};

Trainer::Trainer(const WordCounts& words, const BpeVocabulary& bytes) {
  std::array<int32_t, 256> ids{};
  for (const BpeVocabulary::Token& token : std::span(bytes.tokens).first(256)) {
    const auto byte = static_cast<unsigned char>((*bytes_of_bpe_name(token.name))[0]);
    ids[byte] = token.id;
  }
  for (const auto& [word, count] : words.counts()) {
    words_.push_back({symbols_.size(), word.size(), count});
    for (const char byte : word) symbols_.push_back(ids[static_cast<unsigned char>(byte)]);
  }
  for (uint32_t i = 0; i < words_.size(); ++i) {
    const Word& word = words_[i];
    for (size_t at = word.begin; at + 1 < word.begin + word.size; ++at) {
      add(pair_of(symbols_[at], symbols_[at + 1]), word.count, i);
    }
  }
  changed_.clear();
  for (const auto& [pair, data] : pairs_) candidates_.push({data.count, pair});
}

void Trainer::add(Pair pair, int64_t count, uint32_t word) {
  PairData& data = pairs_[pair];
  data.count += count;
  if (data.words.empty() || data.words.back() != word) data.words.push_back(word);
  changed_.push_back(pair);
}

std::pair<Pair, int64_t> Trainer::most_frequent() {
  while (!candidates_.empty()) {
    const Candidate top = candidates_.top();
    const int64_t count = pairs_.at(top.pair).count;
    if (count == top.count) return {top.pair, count};
    candidates_.pop();
    if (count > 0) candidates_.push({count, top.pair});
  }
  return {0, 0};
}

void Trainer::merge(Pair pair, int32_t result) {
  const PairData data = std::exchange(pairs_.at(pair), {});
  changed_.clear();
  for (const uint32_t word : data.words) merge_in_word(pair, result, word);
  pairs_.at(pair) = {};  // of "aaa" with the pair "aa", one is left in the count
  std::ranges::sort(changed_);
  changed_.erase(std::unique(changed_.begin(), changed_.end()), changed_.end());
  for (const Pair changed : changed_) {
    const int64_t count = pairs_.at(changed).count;
    if (count > 0) candidates_.push({count, changed});
  }
}

void Trainer::merge_in_word(Pair pair, int32_t result, uint32_t index) {
  Word& word = words_[index];
  const std::span symbols = std::span(symbols_).subspan(word.begin, word.size);
  const int32_t left = left_of(pair), right = right_of(pair);
  size_t size = 0;  // of the word as it becomes, in place
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (i + 1 == symbols.size() || symbols[i] != left || symbols[i + 1] != right) {
      symbols[size++] = symbols[i];
      continue;
    }
    if (size > 0) {
      pairs_.at(pair_of(symbols[size - 1], left)).count -= word.count;
      add(pair_of(symbols[size - 1], result), word.count, index);
    }
    if (i + 2 < symbols.size()) {
      pairs_.at(pair_of(right, symbols[i + 2])).count -= word.count;
      add(pair_of(result, symbols[i + 2]), word.count, index);
    }
    symbols[size++] = result;
    ++i;
  }
  word.size = size;
}

}  // namespace

bool WordCounts::add(const LongText& text, const LongText::Progress& progress) {
  const BpeTokenizer bytes(byte_vocabulary());
  const AddedTokenFinder end_of_text(bytes.vocabulary().added);
  std::vector<Map> maps(static_cast<size_t>(thread_count()));
  const bool is_whole = text.for_each_part(
      bytes,
      [&](std::string_view part, size_t /*index*/, int thread) {
        Map& map = maps[static_cast<size_t>(thread)];
        size_t from = 0;
        while (const auto match = end_of_text.find(part, from, SpecialNames::tokens)) {
          count_words(part.substr(from, match->begin - from), map);
          from = match->end;
        }
        count_words(part.substr(from), map);
      },
      [&](size_t /*parts*/, int64_t done) { return !progress || progress(done); });
  for (const Map& map : maps) {
    for (const auto& [word, count] : map) counts_[word] += count;
  }
  return is_whole;
}

BpeVocabulary train_bpe(const WordCounts& words, const BpeTrainingOptions& options) {
  check(options.vocab_size >= kSmallestVocab, "vocab_size is ", options.vocab_size,
        ", allowed is at least ", kSmallestVocab, ": the bytes and the end of text");
  BpeVocabulary vocabulary = byte_vocabulary();
  vocabulary.tokens.pop_back();  // the end of text comes last
  std::unordered_map<std::string, int32_t> ids;
  for (const auto& [name, id] : vocabulary.tokens) ids.emplace(name, id);
  std::unordered_map<Pair, int32_t> learned;

  Trainer trainer(words, byte_vocabulary());
  while (static_cast<int64_t>(vocabulary.tokens.size()) + 1 < options.vocab_size) {
    const auto [pair, count] = trainer.most_frequent();
    if (count < std::max<int64_t>(options.min_count, 1)) break;
    const int32_t left = left_of(pair), right = right_of(pair);
    const std::string name = vocabulary.tokens[static_cast<size_t>(left)].name +
                             vocabulary.tokens[static_cast<size_t>(right)].name;
    const auto next = static_cast<int32_t>(vocabulary.tokens.size());
    const auto [place, is_new] = ids.emplace(name, next);  // another pair may have made it
    if (is_new) vocabulary.tokens.push_back({name, next});
    // A pair may come back once it was merged, by a second way to make one of its tokens.
    if (learned.emplace(pair, place->second).second) vocabulary.merges.push_back({left, right});
    trainer.merge(pair, place->second);
    if (options.progress && !options.progress(next + 2)) return {};
  }
  const auto end_of_text = static_cast<int32_t>(vocabulary.tokens.size());
  vocabulary.tokens.push_back({std::string(kEndOfTextName), end_of_text});
  vocabulary.added.front().id = end_of_text;
  return vocabulary;
}

}  // namespace strobe
