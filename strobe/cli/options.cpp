#include "strobe/cli/options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>

namespace strobe {
namespace {

std::string allowed_text(const char* what, const OptionInfo& info) {
  std::string text = what;
  const bool has_min = std::isfinite(info.min), has_max = std::isfinite(info.max);
  if (has_min && has_max) {
    text += fmt::format(" from {} {} {}", info.min, info.below_max ? "to below" : "to", info.max);
  } else if (has_min) {
    text += fmt::format(" of at least {}", info.min);
  } else if (has_max) {
    text += fmt::format(" of at most {}", info.max);
  }
  return text;
}

// Reads a whole number or a decimal one in the allowed range; the message says what that is.
template <class T>
T parse_number(const std::string& flag, const std::string& text, const OptionInfo& info,
               const char* what) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const auto number = static_cast<double>(value);
  const bool is_read = error == std::errc() && stop == end && std::isfinite(number);
  const bool is_allowed =
      number >= info.min && (info.below_max ? number < info.max : number <= info.max);
  if (!is_read || !is_allowed) {
    throw UsageError(
        fmt::format("{} is '{}', allowed is {}", flag, text, allowed_text(what, info)));
  }
  return value;
}

}  // namespace

OptionParser::OptionParser(std::string_view command, std::string_view summary)
    : app_(std::make_unique<CLI::App>(std::string(summary), fmt::format("strobe {}", command))) {
  app_->get_formatter()->column_width(42);
  app_->set_help_flag("-h,--help", "print this and exit");
  app_->footer("--verbose, with any command, also says where in the source an error was raised.");
}

OptionParser::~OptionParser() = default;

CLI::Option& OptionParser::add(const OptionInfo& info, const std::string& type,
                               const std::string& current, const Set& set) {
  std::string flag = fmt::format("--{}", info.name);
  std::replace(flag.begin(), flag.end(), '_', '-');
  const std::function<void(const std::string&)> parse_value = [flag, set](const std::string& text) {
    set(flag, text);
  };
  return *app_->add_option_function<std::string>(flag, parse_value, info.help)
              ->option_text(current.empty() ? type : type + "=" + current)
              ->group(heading_)
              ->take_last();
}

void OptionParser::operator()(int64_t& value, const OptionInfo& info) {
  add(info, *info.unit != '\0' ? info.unit : "N", fmt::format("{}", value),
      [&value, info](const std::string& flag, const std::string& text) {
        value = parse_number<int64_t>(flag, text, info, "a whole number");
      });
}

void OptionParser::operator()(uint64_t& value, const OptionInfo& info) {
  add(info, *info.unit != '\0' ? info.unit : "N", fmt::format("{}", value),
      [&value, info](const std::string& flag, const std::string& text) {
        value = parse_number<uint64_t>(flag, text, info, "a whole number of at least 0");
      });
}

void OptionParser::operator()(double& value, const OptionInfo& info) {
  add(info, *info.unit != '\0' ? info.unit : "X", fmt::format("{:g}", value),
      [&value, info](const std::string& flag, const std::string& text) {
        value = parse_number<double>(flag, text, info, "a number");
      });
}

void OptionParser::operator()(std::string& value, const OptionInfo& info) {
  add(info, *info.unit != '\0' ? info.unit : "TEXT", value,
      [&value, info](const std::string& flag, const std::string& text) {
        if (text.empty()) throw UsageError(fmt::format("{} is empty", flag));
        if (info.is_allowed != nullptr && !info.is_allowed(text)) {
          throw UsageError(fmt::format("{} is '{}', allowed are {}", flag, text, info.unit));
        }
        value = text;
      });
}

void OptionParser::operator()(std::vector<std::string>& value, const OptionInfo& info) {
  add(info, *info.unit != '\0' ? info.unit : "TEXT", "",
      [&value](const std::string&, const std::string& text) { value.push_back(text); })
      .trigger_on_parse();
}

void OptionParser::operator()(bool& value, const OptionInfo& info) {
  std::string name = info.name;
  std::replace(name.begin(), name.end(), '_', '-');
  app_->add_flag(fmt::format("--{0},!--no-{0}", name), value, info.help)->group(heading_);
}

void OptionParser::positional(std::string& value, const char* name, const char* help) {
  app_->add_option(name, value, help)->required()->option_text(" ");
}

void OptionParser::positional(std::vector<std::string>& values, const char* name,
                              const char* help) {
  app_->add_option(name, values, help)->required()->option_text("...");
}

bool OptionParser::parse(const Arguments& arguments) {
  try {
    app_->parse(Arguments(arguments.rbegin(), arguments.rend()));  // CLI11 takes them last first
    return true;
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app_->help());
    return false;
  } catch (const CLI::ExtrasError&) {
    const std::vector<std::string> unknown = app_->remaining();
    throw UsageError(fmt::format("unknown option '{}'; `{} --help` lists all",
                                 unknown.empty() ? "" : unknown.front(), app_->get_name()));
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string message = error.what();  // "--batch: …"
    throw UsageError(fmt::format("{} needs a value", message.substr(0, message.find(':'))));
  } catch (const CLI::ParseError& error) {
    throw UsageError(error.what());
  }
}

std::string find_option(const Arguments& arguments, std::string_view name,
                        std::string_view fallback) {
  const std::string flag = fmt::format("--{}", name);
  std::string value(fallback);
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == flag && i + 1 < arguments.size()) value = arguments[++i];
    if (arguments[i].starts_with(flag + "=")) value = arguments[i].substr(flag.size() + 1);
  }
  return value;
}

}  // namespace strobe
