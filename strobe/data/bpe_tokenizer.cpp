#include "strobe/data/bpe_tokenizer.h"

#include <algorithm>
#include <utility>

#include "strobe/core/check.h"
#include "strobe/data/bpe_word_cache.h"
#include "strobe/data/pretokenizer.h"

namespace strobe {
namespace {

std::vector<AddedTokenFinder> finders_of(const BpeVocabulary& vocabulary) {
  std::vector<AddedTokenFinder> finders;
  for (const bool is_normalized : {false, true}) {
    std::vector<AddedToken> tokens;
    std::ranges::copy_if(
        vocabulary.added, std::back_inserter(tokens),
        [&](const AddedToken& token) { return token.is_normalized == is_normalized; });
    if (!tokens.empty()) finders.emplace_back(std::move(tokens));
  }
  return finders;
}

// Calls on_text for the text between added tokens, and on_token for these, from left to right.
template <class OnText, class OnToken>
void split(std::span<const AddedTokenFinder> finders, std::string_view text, SpecialNames special,
           const OnText& on_text, const OnToken& on_token) {
  if (finders.empty()) {
    if (!text.empty()) on_text(text);
    return;
  }
  size_t from = 0;
  while (const auto match = finders.front().find(text, from, special)) {
    split(finders.subspan(1), text.substr(from, match->begin - from), special, on_text, on_token);
    on_token(*match->token);
    from = match->end;
  }
  split(finders.subspan(1), text.substr(from), special, on_text, on_token);
}

}  // namespace

struct BpeTokenizer::Worker {
  BpeWordCache cache;
  BpeMerges::Scratch scratch;
};

BpeTokenizer::BpeTokenizer(BpeVocabulary vocabulary)
    : vocabulary_(std::move(vocabulary)), merges_(vocabulary_), finders_(finders_of(vocabulary_)) {
  for (const BpeVocabulary::Token& token : vocabulary_.tokens) {
    tokens_.push_back({.id = token.id,
                       .is_special = false,
                       .bytes = bytes_of_bpe_name(token.name).value_or(token.name)});
  }
  for (const AddedToken& token : vocabulary_.added) {
    const auto place = std::ranges::lower_bound(tokens_, token.id, {}, &Token::id);
    check(place != tokens_.end() && place->id == token.id, "the added token '", token.content,
          "' has the id ", token.id, ", which the vocabulary does not have");
    place->is_special = token.is_special;
    if (token.content == kEndOfTextName) end_of_text_ = token.id;
  }
}

BpeTokenizer::~BpeTokenizer() = default;

std::unique_ptr<BpeTokenizer::Worker> BpeTokenizer::take_worker() const {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<Worker>();
  std::unique_ptr<Worker> worker = std::move(idle_.back());
  idle_.pop_back();
  return worker;
}

void BpeTokenizer::encode_to(std::string_view text, SpecialNames special,
                             std::vector<int32_t>& tokens) const {
  std::unique_ptr<Worker> worker = take_worker();
  const auto on_text = [&](std::string_view plain) {
    if (vocabulary_.adds_prefix_space && plain[0] != ' ') {
      encode_plain(' ' + std::string(plain), *worker, tokens);
    } else {
      encode_plain(plain, *worker, tokens);
    }
  };
  split(std::span(finders_), text, special, on_text,
        [&](const AddedToken& token) { tokens.push_back(token.id); });
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(worker));
}

void BpeTokenizer::encode_plain(std::string_view text, Worker& worker,
                                std::vector<int32_t>& tokens) const {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = word_end(text, begin);
    const std::string_view word = text.substr(begin, end - begin);
    begin = end;
    if (word.size() > BpeWordCache::kLongestWord) {
      merges_.append(word, worker.scratch, tokens);
      continue;
    }
    const BpeWordCache::Key key = BpeWordCache::key_of(word);
    const std::span<const int32_t> known = worker.cache.find(key);
    if (known.empty()) {
      const size_t before = tokens.size();
      merges_.append(word, worker.scratch, tokens);
      worker.cache.keep(key, std::span(tokens).subspan(before));
    } else {
      tokens.insert(tokens.end(), known.begin(), known.end());
    }
  }
}

size_t BpeTokenizer::find_cut(std::string_view text, size_t from) const {
  if (vocabulary_.adds_prefix_space) return text.size();  // a part would get a space of its own
  for (size_t at = from; at < text.size(); ++at) {
    if (!is_word_boundary(text, at)) continue;
    const bool is_in_token = std::ranges::any_of(
        finders_, [&](const AddedTokenFinder& finder) { return finder.reaches(text, at); });
    if (!is_in_token) return at;
  }
  return text.size();
}

const BpeTokenizer::Token* BpeTokenizer::find_token(int32_t id) const {
  const auto index = static_cast<size_t>(id);
  if (index < tokens_.size() && tokens_[index].id == id) return &tokens_[index];  // no id missing
  const auto place = std::ranges::lower_bound(tokens_, id, {}, &Token::id);
  return place != tokens_.end() && place->id == id ? &*place : nullptr;
}

std::string_view BpeTokenizer::bytes_of(int32_t token) const {
  check(token >= 0 && token < vocab_size(), "token ", token, ", allowed is 0 to ",
        vocab_size() - 1);
  const Token* found = find_token(token);
  return found == nullptr ? std::string_view() : found->bytes;
}

bool BpeTokenizer::is_special(int32_t token) const {
  const Token* found = find_token(token);
  return found != nullptr && found->is_special;
}

int32_t BpeTokenizer::vocab_size() const { return tokens_.back().id + 1; }

int32_t BpeTokenizer::end_of_text() const {
  check(end_of_text_ >= 0, "the tokenizer has no token ", kEndOfTextName, " to end a text with");
  return end_of_text_;
}

}  // namespace strobe
