#pragma once

#include <initializer_list>
#include <limits>
#include <string>
#include <type_traits>

#include "strobe/core/check.h"
#include "strobe/core/device.h"
#include "strobe/core/json.h"

namespace strobe {

// Options of a command are a plain struct with a member function
//
//   template <class Visitor> void visit(Visitor&& visit) {
//     visit.group("Data");   // a heading of --help for those that follow
//     visit(batch, {.name = "batch", .unit = "sequences", .help = "in a batch", .min = 1});
//     visit(dtype, {.name = "dtype", .help = "…"}, {DType::f32, DType::bf16});
//   }
//
// which is the only place that names them: the command line's parser and --help (strobe/cli), and
// the way to JSON and back (below), are visitors. A field is an int64_t, uint64_t, double, bool,
// std::string, a std::vector<std::string> (each use on the command line adds one), or an enum with
// to_text(), whose allowed values are the third argument.
struct OptionInfo {
  const char* name = "";  // "weight_decay": in JSON so, on the command line --weight-decay
  const char* unit = "";  // of a number; of a string: what it is, "FILE"
  const char* help = "";
  double min = -std::numeric_limits<double>::infinity();  // allowed range, ends included
  double max = std::numeric_limits<double>::infinity();
  bool below_max = false;                               // `max` itself is not allowed
  bool (*is_allowed)(std::string_view text) = nullptr;  // of a string; `unit` says which are
};

// Of every command that computes, for device_named().
inline constexpr OptionInfo kDeviceOption = {
    .name = "device",
    .unit = "auto|cpu|cuda|cuda:N",
    .help = "where to compute; auto: on a GPU where one can be used, else on the CPU",
    .is_allowed = is_device_name};

// Sets one JSON entry for each option.
class OptionsToJson {
 public:
  void group(const char* /*heading*/) {}
  template <class T>
  void operator()(const T& value, const OptionInfo& info) {
    json_[info.name] = value;
  }
  template <class E>
  void operator()(const E& value, const OptionInfo& info,
                  std::initializer_list<std::type_identity_t<E>>) {
    json_[info.name] = std::string(to_text(value));
  }
  const Json& json() const { return json_; }

 private:
  Json json_ = Json::object();
};

template <class Options>
Json options_json(Options options) {
  OptionsToJson visitor;
  options.visit(visitor);
  return visitor.json();
}

// Sets each option from its entry of a JSON object; one that has none keeps its value. Throws Error
// for a value that has the wrong type or is not allowed.
class OptionsFromJson {
 public:
  explicit OptionsFromJson(const SortedJson& json) : json_(json) {}

  void group(const char* /*heading*/) {}
  template <class T>
  void operator()(T& value, const OptionInfo& info) {
    const auto entry = json_.find(info.name);
    if (entry == json_.end()) return;
    check(is_a<T>(*entry), info.name, " is ", short_text(*entry), ", which has the wrong type");
    value = entry->template get<T>();
    if constexpr (std::is_same_v<T, std::string>) {
      check(info.is_allowed == nullptr || info.is_allowed(value), info.name, " is '", value,
            "', allowed are ", info.unit);
    }
    if constexpr (std::is_arithmetic_v<T>) {
      const auto number = static_cast<double>(value);
      check(number >= info.min && (info.below_max ? number < info.max : number <= info.max),
            info.name, " is ", number, ", allowed is ", info.min, " to ", info.max);
    }
  }
  template <class E>
  void operator()(E& value, const OptionInfo& info,
                  std::initializer_list<std::type_identity_t<E>> choices) {
    std::string name(to_text(value));
    (*this)(name, info);
    for (const E choice : choices) {
      if (name != to_text(choice)) continue;
      value = choice;
      return;
    }
    throw_error(fmt::format("{} is '{}', which is not one of its values", info.name, name));
  }

 private:
  template <class T>
  static bool is_a(const SortedJson& json) {
    if constexpr (std::is_same_v<T, std::string>) return json.is_string();
    if constexpr (std::is_same_v<T, bool>) return json.is_boolean();
    if constexpr (std::is_same_v<T, double>) return json.is_number();
    if constexpr (std::is_same_v<T, int64_t>) return json.is_number_integer();
    if constexpr (std::is_same_v<T, uint64_t>) return json.is_number_unsigned();
  }

  const SortedJson& json_;
};

// The opposite of options_json().
template <class Options>
void set_options(Options& options, const SortedJson& json) {
  options.visit(OptionsFromJson(json));
}

}  // namespace strobe
