// Vocabularies from the files of Hugging Face's libraries. Whatever describes something other than
// GPT-2's tokenizer is refused: taken for it, it would give wrong tokens without a word.
#include <algorithm>
#include <unordered_map>

#include "strobe/core/check.h"
#include "strobe/core/json.h"
#include "strobe/data/bpe_vocabulary.h"

namespace strobe {
namespace {

constexpr int64_t kLargestId = (1 << 24) - 1;

using Ids = std::unordered_map<std::string_view, int32_t>;

// The value of a key that has to be there.
const SortedJson& member(const SortedJson& object, const char* key, const char* what) {
  check(object.is_object(), what, " is ", short_text(object), ", not an object");
  const auto found = object.find(key);
  check(found != object.end(), what, " has no '", key, "'");
  return *found;
}

// Whether a flag is set; `fallback` where it is absent.
bool flag(const SortedJson& object, const char* key, bool fallback) {
  const auto found = object.find(key);
  if (found == object.end()) return fallback;
  check(found->is_boolean(), "'", key, "' is ", short_text(*found), ", not true or false");
  return found->get<bool>();
}

// Absent, null, false, or nothing in it.
bool is_unset(const SortedJson& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return true;
  if (found->is_number()) return found->get<double>() == 0;
  return *found == "" || *found == false;
}

int32_t id_of(const SortedJson& value, std::string_view name) {
  check(value.is_number_unsigned() && value.get<uint64_t>() <= kLargestId, "the id of token ",
        in_quotes(name), " is ", short_text(value), ", allowed is a whole number from 0 to ",
        kLargestId);
  return value.get<int32_t>();
}

std::vector<BpeVocabulary::Token> parse_tokens(const SortedJson& vocab) {
  check(vocab.is_object(), "the vocabulary is ", short_text(vocab),
        ", not an object of tokens and their ids");
  std::vector<BpeVocabulary::Token> tokens;
  tokens.reserve(vocab.size());
  for (const auto& [name, id] : vocab.items()) tokens.push_back({name, id_of(id, name)});
  return tokens;
}

void sort_tokens(std::vector<BpeVocabulary::Token>& tokens) {
  using Token = BpeVocabulary::Token;
  std::ranges::stable_sort(tokens, {}, &Token::id);
  const auto twice = std::ranges::adjacent_find(tokens, {}, &Token::id);
  if (twice != tokens.end()) {
    throw_error(fmt::format("the tokens {} and {} have the same id, {}", in_quotes(twice->name),
                            in_quotes(std::next(twice)->name), twice->id));
  }
}

Ids ids_by_name(const std::vector<BpeVocabulary::Token>& tokens) {
  Ids ids;
  ids.reserve(tokens.size());
  for (const BpeVocabulary::Token& token : tokens) ids.emplace(token.name, token.id);
  return ids;
}

// The ids of a merge; `number` counts them from 1.
BpeVocabulary::Merge merge_of(const Ids& ids, std::string_view left, std::string_view right,
                              size_t number) {
  const auto id = [&](std::string_view name) {
    const auto found = ids.find(name);
    check(found != ids.end(), "merge ", number, " is of ", in_quotes(left), " and ",
          in_quotes(right), "; ", in_quotes(name), " is not in the vocabulary");
    return found->second;
  };
  return {id(left), id(right)};
}

// "left right", as a line of merges.txt has it.
BpeVocabulary::Merge merge_of_line(const Ids& ids, std::string_view line, size_t number) {
  const size_t space = line.find(' ');
  check(space != line.npos && line.find(' ', space + 1) == line.npos, "merge ", number, " is ",
        in_quotes(line), ", not two tokens and a space between them");
  return merge_of(ids, line.substr(0, space), line.substr(space + 1), number);
}

std::vector<BpeVocabulary::Merge> parse_merges(const SortedJson& list, const Ids& ids) {
  check(list.is_array(), "'merges' is ", short_text(list), ", not a list");
  std::vector<BpeVocabulary::Merge> merges;
  merges.reserve(list.size());
  for (const SortedJson& merge : list) {
    const size_t number = merges.size() + 1;
    if (merge.is_string()) {
      merges.push_back(merge_of_line(ids, merge.get_ref<const std::string&>(), number));
      continue;
    }
    check(merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string(),
          "merge ", number, " is ", short_text(merge), ", not two tokens");
    merges.push_back(merge_of(ids, merge[0].get_ref<const std::string&>(),
                              merge[1].get_ref<const std::string&>(), number));
  }
  return merges;
}

AddedToken parse_added_token(const SortedJson& json) {
  const SortedJson& content = member(json, "content", "an added token");
  check(content.is_string() && content != "", "the content of an added token is ",
        short_text(content), ", not a text");
  AddedToken token = {.content = content.get<std::string>(),
                      .id = id_of(member(json, "id", "an added token"), content.get<std::string>()),
                      .is_special = flag(json, "special", false),
                      .strips_left = flag(json, "lstrip", false),
                      .strips_right = flag(json, "rstrip", false),
                      .is_normalized = flag(json, "normalized", true)};
  check(!flag(json, "single_word", false), "the added token ", in_quotes(token.content),
        " is a single_word, which is not supported");
  return token;
}

// Added tokens are tokens of the vocabulary too, whether or not the file has them there.
void parse_added_tokens(const SortedJson& list, BpeVocabulary& vocabulary) {
  check(list.is_array(), "'added_tokens' is ", short_text(list), ", not a list");
  std::unordered_map<std::string, int32_t> ids;
  for (const auto& [name, id] : vocabulary.tokens) ids.emplace(name, id);
  for (const SortedJson& json : list) {
    AddedToken token = parse_added_token(json);
    const auto [place, is_new] = ids.emplace(token.content, token.id);
    check(place->second == token.id, "the added token ", in_quotes(token.content), " has the id ",
          token.id, ", in the vocabulary it is ", place->second);
    if (is_new) vocabulary.tokens.push_back({token.content, token.id});
    vocabulary.added.push_back(std::move(token));
  }
}

// Only ByteLevel with its own pattern; returns whether it adds a space before a text.
bool parse_pre_tokenizer(const SortedJson& json) {
  const SortedJson& type = member(json, "type", "'pre_tokenizer'");
  check(type == "ByteLevel" && flag(json, "use_regex", true), "'pre_tokenizer' is ",
        short_text(json), "; supported is ByteLevel with use_regex, which is GPT-2's");
  return flag(json, "add_prefix_space", true);
}

// Nothing, ByteLevel, or a template that is the text alone: no token is added to a text's own.
bool adds_no_tokens(const SortedJson& post_processor) {
  if (post_processor.is_null()) return true;
  const SortedJson& type = member(post_processor, "type", "'post_processor'");
  if (type == "ByteLevel") return true;
  if (type != "TemplateProcessing") return false;
  const SortedJson& parts = member(post_processor, "single", "'post_processor'");
  return parts.is_array() && parts.size() == 1 && parts[0].is_object() &&
         parts[0].contains("Sequence");
}

void check_model(const SortedJson& model) {
  const auto type = model.find("type");
  check(type == model.end() || *type == "BPE", "the model's type is ",
        type == model.end() ? "" : short_text(*type), ", supported is BPE");
  for (const char* key :
       {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"}) {
    check(is_unset(model, key), "the model's '", key, "' is set, GPT-2's tokenizer has none");
  }
}

}  // namespace

BpeVocabulary parse_tokenizer_json(std::string_view text) {
  const SortedJson json = parse_json(text, "the tokenizer");
  const SortedJson& model = member(json, "model", "the tokenizer");
  const SortedJson& vocab = member(model, "vocab", "'model'");
  check_model(model);
  check(is_unset(json, "normalizer"), "'normalizer' is set, GPT-2's tokenizer has none");
  const SortedJson& decoder = member(json, "decoder", "the tokenizer");
  check(decoder.is_object() && decoder.contains("type") && decoder["type"] == "ByteLevel",
        "'decoder' is ", short_text(decoder), ", supported is ByteLevel");
  const auto post_processor = json.find("post_processor");
  check(post_processor == json.end() || adds_no_tokens(*post_processor),
        "'post_processor' adds tokens to a text, GPT-2's does not");

  BpeVocabulary vocabulary;
  vocabulary.adds_prefix_space =
      parse_pre_tokenizer(member(json, "pre_tokenizer", "the tokenizer"));
  vocabulary.tokens = parse_tokens(vocab);
  vocabulary.merges =
      parse_merges(member(model, "merges", "'model'"), ids_by_name(vocabulary.tokens));
  if (json.contains("added_tokens")) parse_added_tokens(json["added_tokens"], vocabulary);
  sort_tokens(vocabulary.tokens);
  return vocabulary;
}

BpeVocabulary parse_vocab_and_merges(std::string_view vocab_json, std::string_view merges_txt) {
  BpeVocabulary vocabulary;
  vocabulary.tokens = parse_tokens(parse_json(vocab_json, "vocab.json"));
  sort_tokens(vocabulary.tokens);
  const Ids ids = ids_by_name(vocabulary.tokens);
  while (!merges_txt.empty()) {
    const size_t end = std::min(merges_txt.find('\n'), merges_txt.size());
    std::string_view line = merges_txt.substr(0, end);
    merges_txt.remove_prefix(std::min(end + 1, merges_txt.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("#version")) continue;
    vocabulary.merges.push_back(merge_of_line(ids, line, vocabulary.merges.size() + 1));
  }
  const auto end_of_text = ids.find(kEndOfTextName);
  if (end_of_text != ids.end()) {
    vocabulary.added.push_back({.content = std::string(kEndOfTextName), .id = end_of_text->second});
  }
  return vocabulary;
}

}  // namespace strobe
