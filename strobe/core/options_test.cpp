#include "strobe/core/options.h"

#include <gtest/gtest.h>

#include "strobe/core/dtype.h"
#include "tests/testkit/errors.h"

namespace strobe::testing {
namespace {

struct SomeOptions {
  int64_t steps = 100;
  uint64_t seed = 1;
  double rate = 0.1;
  bool is_loud = false;
  std::string text = "here";
  DType dtype = DType::f32;
  std::string device = "auto";

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit.group("Some");
    visit(steps, {.name = "steps", .min = 1});
    visit(seed, {.name = "seed"});
    visit(rate, {.name = "rate", .min = 0, .max = 1, .below_max = true});
    visit(is_loud, {.name = "is_loud"});
    visit(text, {.name = "text"});
    visit(dtype, {.name = "dtype"}, {DType::f32, DType::bf16});
    visit(device, kDeviceOption);
  }
  bool operator==(const SomeOptions&) const = default;
};

std::string error_for(const char* json) {
  SomeOptions options;
  return error_of([&] { set_options(options, parse_json(json, "it")); });
}

TEST(OptionsTest, GoToJsonAndBack) {
  const SomeOptions before = {.steps = int64_t{1} << 40,
                              .seed = UINT64_MAX,
                              .rate = 1.0 / 3,
                              .is_loud = true,
                              .text = "",
                              .dtype = DType::bf16};
  SomeOptions after;
  set_options(after, parse_json(options_json(before).dump(), "it"));
  EXPECT_EQ(after, before);
}

TEST(OptionsTest, AnEntryThatIsMissingKeepsTheValue) {
  SomeOptions options = {.steps = 7};
  set_options(options, parse_json(R"({"seed": 3, "another": {}})", "it"));
  EXPECT_EQ(options, (SomeOptions{.steps = 7, .seed = 3}));
}

TEST(OptionsTest, WrongValuesAreNamed) {
  EXPECT_EQ(error_for(R"({"steps": "many"})"), "steps is \"many\", which has the wrong type");
  EXPECT_EQ(error_for(R"({"steps": 1.5})"), "steps is 1.5, which has the wrong type");
  EXPECT_EQ(error_for(R"({"seed": -1})"), "seed is -1, which has the wrong type");
  EXPECT_EQ(error_for(R"({"text": null})"), "text is null, which has the wrong type");
  EXPECT_EQ(error_for(R"({"steps": 0})"), "steps is 0, allowed is 1 to inf");
  EXPECT_EQ(error_for(R"({"rate": 1})"), "rate is 1, allowed is 0 to 1");
  EXPECT_EQ(error_for(R"({"device": "tpu"})"), "device is 'tpu', allowed are auto|cpu|cuda|cuda:N");
  EXPECT_EQ(error_for(R"({"dtype": "f64"})"), "dtype is 'f64', which is not one of its values");
}

}  // namespace
}  // namespace strobe::testing
