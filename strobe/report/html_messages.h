#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "strobe/core/text.h"
#include "strobe/report/html_translations.h"

namespace strobe {

enum class Language : unsigned char { english, traditional_chinese };

// The tags that HTML and the command line use (BCP 47).
constexpr std::string_view to_text(Language language) {
  constexpr std::string_view tags[] = {"en", "zh-TW"};
  return tags[static_cast<int>(language)];
}

// Where an English text is in the table of translations; its length if it is not there.
constexpr size_t find_translation(std::string_view english) {
  size_t i = 0;
  while (i < std::size(kTranslations) && kTranslations[i].english != english) ++i;
  return i;
}

// A text of the report. It does not compile unless the table has a translation.
class Message {
 public:
  consteval Message(const char* english)  // NOLINT(google-explicit-constructor)
      : index_(find_translation(english)) {
    if (index_ == std::size(kTranslations)) throw "add this text to html_translations.h";
  }
  constexpr std::string_view in(Language language) const {
    const Translation& t = kTranslations[index_];
    return language == Language::english ? t.english : t.traditional_chinese;
  }

 private:
  size_t index_;
};

// Says a message in one language:
//   const Words say(Language::traditional_chinese);
//   say("{0} steps", 40)  →  "40 步"
class Words {
 public:
  explicit Words(Language language) : language_(language) {}

  template <class... Arguments>
  std::string operator()(Message message, const Arguments&... arguments) const {
    return fmt::format(fmt::runtime(message.in(language_)), arguments...);
  }
  // A word that comes from a results file ("activations"), translated if the table knows it.
  std::string word(std::string_view english) const {
    const size_t index = find_translation(english);
    if (index == std::size(kTranslations)) return std::string(english);
    const Translation& t = kTranslations[index];
    return std::string(language_ == Language::english ? t.english : t.traditional_chinese);
  }
  Language language() const { return language_; }

 private:
  Language language_;
};

}  // namespace strobe
