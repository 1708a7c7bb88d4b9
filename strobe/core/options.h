#pragma once

#include <initializer_list>
#include <limits>
#include <string>
#include <type_traits>

#include "strobe/core/check.h"
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
// the JSON of a results file (below), are visitors. A field is an int64_t, uint64_t, double, bool,
// std::string, or an enum with to_text(), whose allowed values are the third argument.
struct OptionInfo {
  const char* name = "";  // "weight_decay": in JSON so, on the command line --weight-decay
  const char* unit = "";  // of a number; of a string: what it is, "FILE"
  const char* help = "";
  double min = -std::numeric_limits<double>::infinity();  // allowed range, ends included
  double max = std::numeric_limits<double>::infinity();
  bool below_max = false;  // `max` itself is not allowed
};

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

}  // namespace strobe
