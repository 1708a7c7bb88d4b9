#pragma once

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/core/options.h"

// CLI11 takes four seconds to compile: in options.cpp alone.
namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace strobe {

// The words after `strobe <command>`.
using Arguments = std::vector<std::string>;

// What the user typed cannot be meant; main() prints it and exits 2. Everything else that goes
// wrong is an Error, exit 1.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The command line of one command, a visitor of its options (strobe/core/options.h):
//
//   OptionParser parser("train", "trains a model");
//   options.visit(parser);
//   if (!parser.parse(arguments)) return 0;   // --help was printed
//
// "--name value" and "--name=value" set an option, the last one wins; what is not named keeps the
// value that it had when visited, which --help shows as the default. A bool is a flag.
class OptionParser {
 public:
  OptionParser(std::string_view command, std::string_view summary);
  ~OptionParser();

  void group(const char* heading) { heading_ = heading; }
  void operator()(int64_t& value, const OptionInfo& info);
  void operator()(uint64_t& value, const OptionInfo& info);
  void operator()(double& value, const OptionInfo& info);
  void operator()(std::string& value, const OptionInfo& info);
  void operator()(std::vector<std::string>& value, const OptionInfo& info);
  void operator()(bool& value, const OptionInfo& info);
  template <class E>
  void operator()(E& value, const OptionInfo& info,
                  std::initializer_list<std::type_identity_t<E>> choices);

  // A word without a name, which has to be there: the NAME of `strobe fetch NAME`.
  void positional(std::string& value, const char* name, const char* help);
  // One or more of them.
  void positional(std::vector<std::string>& values, const char* name, const char* help);

  // Sets the options. False when --help was asked for, and printed. Throws UsageError for a word
  // that is no option, a value that cannot be read or is not allowed, and a value that is missing.
  bool parse(const Arguments& arguments);

 private:
  // Called with the option's name, "--batch", and its text.
  using Set = std::function<void(const std::string& flag, const std::string& text)>;
  // `set` is called for the last use of the option; the result is CLI11's, to change that.
  CLI::Option& add(const OptionInfo& info, const std::string& type, const std::string& current,
                   const Set& set);

  std::unique_ptr<CLI::App> app_;
  std::string heading_ = "Options";
};

// The value of an option that decides the defaults of others (--preset), or `fallback`.
std::string find_option(const Arguments& arguments, std::string_view name,
                        std::string_view fallback);

template <class E>
void OptionParser::operator()(E& value, const OptionInfo& info,
                              std::initializer_list<std::type_identity_t<E>> choices) {
  std::string names;
  for (E choice : choices) {
    if (!names.empty()) names += '|';
    names += to_text(choice);
  }
  add(info, names, std::string(to_text(value)),
      [&value, names, allowed = std::vector<E>(choices)](const std::string& flag,
                                                         const std::string& text) {
        for (E choice : allowed) {
          if (text == to_text(choice)) {
            value = choice;
            return;
          }
        }
        throw UsageError(fmt::format("{} is '{}', allowed are {}", flag, text, names));
      });
}

}  // namespace strobe
