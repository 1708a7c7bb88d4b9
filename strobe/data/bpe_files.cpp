// A vocabulary as the files that Hugging Face's libraries read.
#include <algorithm>
#include <array>

#include "strobe/core/json.h"
#include "strobe/data/bpe_vocabulary.h"

namespace strobe {
namespace {

std::string json_string(std::string_view text) { return Json(text).dump(); }

// {"!":0,…}, an entry a line where `separator` says so.
std::string vocab_json(const BpeVocabulary& vocabulary, std::string_view separator) {
  std::string text = "{";
  for (const BpeVocabulary::Token& token : vocabulary.tokens) {
    if (text.size() > 1) text += ',';
    text += separator;
    text += json_string(token.name) + ": " + std::to_string(token.id);
  }
  return text + "}";
}

const std::string& name_of(const BpeVocabulary& vocabulary, int32_t id) {
  return std::ranges::lower_bound(vocabulary.tokens, id, {}, &BpeVocabulary::Token::id)->name;
}

std::string merges_txt(const BpeVocabulary& vocabulary) {
  std::string text = "#version: 0.2\n";
  for (const BpeVocabulary::Merge& merge : vocabulary.merges) {
    text += name_of(vocabulary, merge.left) + ' ' + name_of(vocabulary, merge.right) + '\n';
  }
  return text;
}

std::string merges_json(const BpeVocabulary& vocabulary) {
  std::string text = "[";
  for (const BpeVocabulary::Merge& merge : vocabulary.merges) {
    text += text.size() > 1 ? ",\n      [" : "\n      [";
    text += json_string(name_of(vocabulary, merge.left)) + ", ";
    text += json_string(name_of(vocabulary, merge.right)) + ']';
  }
  return text + "]";
}

Json added_tokens(const BpeVocabulary& vocabulary) {
  Json list = Json::array();
  for (const AddedToken& token : vocabulary.added) {
    list.push_back({{"id", token.id},
                    {"content", token.content},
                    {"single_word", false},
                    {"lstrip", token.strips_left},
                    {"rstrip", token.strips_right},
                    {"normalized", token.is_normalized},
                    {"special", token.is_special}});
  }
  return list;
}

std::string tokenizer_json(const BpeVocabulary& vocabulary) {
  const auto byte_level = [](bool adds_prefix_space) {
    return Json{{"type", "ByteLevel"},
                {"add_prefix_space", adds_prefix_space},
                {"trim_offsets", false},
                {"use_regex", true}}
        .dump();
  };
  std::string text = "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n";
  text += "  \"added_tokens\": " + added_tokens(vocabulary).dump() + ",\n";
  text += "  \"normalizer\": null,\n";
  text += "  \"pre_tokenizer\": " + byte_level(vocabulary.adds_prefix_space) + ",\n";
  text += "  \"post_processor\": " + byte_level(true) + ",\n";
  text += "  \"decoder\": " + byte_level(true) + ",\n";
  text +=
      "  \"model\": {\n    \"type\": \"BPE\", \"dropout\": null, \"unk_token\": null,\n"
      "    \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null,\n"
      "    \"fuse_unk\": false, \"byte_fallback\": false, \"ignore_merges\": false,\n";
  text += "    \"vocab\": " + vocab_json(vocabulary, "\n      ");
  text += ",\n    \"merges\": " + merges_json(vocabulary);
  return text + "\n  }\n}\n";
}

// What makes transformers' AutoTokenizer take the others for a GPT-2 tokenizer's.
std::string tokenizer_config(const BpeVocabulary& vocabulary) {
  Json config = {{"tokenizer_class", "GPT2Tokenizer"},
                 {"add_prefix_space", vocabulary.adds_prefix_space}};
  if (std::ranges::find(vocabulary.added, kEndOfTextName, &AddedToken::content) !=
      vocabulary.added.end()) {
    for (const char* role : {"bos_token", "eos_token", "unk_token"}) config[role] = kEndOfTextName;
  }
  return config.dump(2) + '\n';
}

// The characters that stand for the bytes, as code points.
constexpr auto kByteCharacters = [] {
  std::array<char32_t, 256> characters{};
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool can_be_seen =
        (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte <= 0xff && byte != 0xad);
    characters[byte] = can_be_seen ? byte : next++;
  }
  return characters;
}();

}  // namespace

std::string bpe_name(std::string_view bytes) {
  std::string name;
  for (const char byte : bytes) {
    const char32_t c = kByteCharacters[static_cast<unsigned char>(byte)];
    if (c < 0x80) {
      name += static_cast<char>(c);
    } else {  // below U+0800
      name += static_cast<char>(0xc0 | c >> 6);
      name += static_cast<char>(0x80 | (c & 0x3f));
    }
  }
  return name;
}

std::optional<std::string> bytes_of_bpe_name(std::string_view name) {
  static const auto byte_of = [] {
    std::array<int, 0x144> bytes;
    bytes.fill(-1);
    for (size_t byte = 0; byte < 256; ++byte) bytes[kByteCharacters[byte]] = static_cast<int>(byte);
    return bytes;
  }();
  std::string bytes;
  for (size_t i = 0; i < name.size(); ++i) {
    auto c = static_cast<unsigned char>(name[i]);
    size_t character = c;
    if (c >= 0x80) {
      if (c < 0xc2 || c > 0xc5 || i + 1 == name.size()) return std::nullopt;
      character = (c & 0x1fu) << 6 | (static_cast<unsigned char>(name[++i]) & 0x3fu);
    }
    if (character >= byte_of.size() || byte_of[character] < 0) return std::nullopt;
    bytes += static_cast<char>(byte_of[character]);
  }
  return bytes;
}

std::vector<Tokenizer::File> bpe_files(const BpeVocabulary& vocabulary) {
  return {{"tokenizer.json", tokenizer_json(vocabulary)},
          {"vocab.json", vocab_json(vocabulary, "") + '\n'},
          {"merges.txt", merges_txt(vocabulary)},
          {"tokenizer_config.json", tokenizer_config(vocabulary)}};
}

}  // namespace strobe
