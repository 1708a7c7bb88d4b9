#include "strobe/cli/options.h"

#include <gtest/gtest.h>

#include "strobe/core/dtype.h"
#include "strobe/models/gpt2.h"
#include "strobe/train/train_options.h"

namespace strobe {
namespace {

struct SomeOptions {
  int64_t steps = 3;
  uint64_t seed = 1;
  double rate = 0.5;
  double share = 0.25;
  bool is_quiet = false;
  std::string data = "lab";
  std::vector<std::string> words;
  DType dtype = DType::bf16;
  std::string device = "auto";

  template <class Visitor>
  void visit(Visitor&& visit) {
    visit(steps, {.name = "max_steps", .help = "how many", .min = 1, .max = 100});
    visit(seed, {.name = "seed", .help = "of all"});
    visit(rate, {.name = "rate", .unit = "1/s", .help = "how fast", .min = 0});
    visit(share, {.name = "share", .help = "of all", .min = 0, .max = 1, .below_max = true});
    visit(is_quiet, {.name = "quiet", .help = "say nothing"});
    visit(data, {.name = "data", .unit = "FILE", .help = "text"});
    visit(words, {.name = "word", .help = "one of them"});
    visit(dtype, {.name = "dtype", .help = "type"}, {DType::f32, DType::bf16});
    visit(device, kDeviceOption);
  }
};

SomeOptions parse(const Arguments& arguments) {
  SomeOptions options;
  OptionParser parser("some", "does something");
  options.visit(parser);
  EXPECT_TRUE(parser.parse(arguments));
  return options;
}

std::string usage_error(const Arguments& arguments) {
  try {
    parse(arguments);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(OptionParserTest, KeepsDefaults) {
  const SomeOptions options = parse({});
  EXPECT_EQ(options_json(options), options_json(SomeOptions()));
}

TEST(OptionParserTest, AListGrowsByEachUse) {
  EXPECT_EQ(parse({"--word", "a", "--word=b c", "--quiet", "--word", "", "--word", "-d"}).words,
            (std::vector<std::string>{"a", "b c", "", "-d"}));
  EXPECT_EQ(options_json(parse({"--word", "a"}))["word"], Json::array({"a"}));
  EXPECT_EQ(usage_error({"--word"}), "--word needs a value");
  EXPECT_EQ(usage_error({"--word", "a", "b"}),
            "unknown option 'b'; `strobe some --help` lists all");
}

TEST(OptionParserTest, SetsWhatIsNamed) {
  const SomeOptions options =
      parse({"--max-steps", "7", "--seed=18446744073709551615", "--rate", "1e-3", "--share=0",
             "--quiet", "--data", "a b.txt", "--dtype", "f32"});
  EXPECT_EQ(options.steps, 7);
  EXPECT_EQ(options.seed, UINT64_MAX);
  EXPECT_EQ(options.rate, 1e-3);
  EXPECT_EQ(options.share, 0);
  EXPECT_TRUE(options.is_quiet);
  EXPECT_EQ(options.data, "a b.txt");
  EXPECT_EQ(options.dtype, DType::f32);
}

TEST(OptionParserTest, TheLastOneWins) {
  const SomeOptions options = parse({"--max-steps", "7", "--quiet", "--max-steps=8", "--no-quiet"});
  EXPECT_EQ(options.steps, 8);
  EXPECT_FALSE(options.is_quiet);
}

TEST(OptionParserTest, EveryMistakeIsNamedWithWhatIsAllowed) {
  const std::string whole = "allowed is a whole number from 1 to 100";
  for (const char* text : {"0", "-1", "101", "2.5", "1e2", "x", "7x", "", "99999999999999999999"}) {
    EXPECT_EQ(usage_error({"--max-steps", text}),
              fmt::format("--max-steps is '{}', {}", text, whole));
  }
  EXPECT_EQ(usage_error({"--seed", "-1"}),
            "--seed is '-1', allowed is a whole number of at least 0");
  EXPECT_EQ(usage_error({"--share", "1"}), "--share is '1', allowed is a number from 0 to below 1");
  for (const char* text : {"nan", "inf", "-0.1", "1,5", "one"}) {
    EXPECT_EQ(usage_error({"--rate", text}),
              fmt::format("--rate is '{}', allowed is a number of at least 0", text));
  }
  EXPECT_EQ(usage_error({"--dtype", "f16"}), "--dtype is 'f16', allowed are f32|bf16");
  EXPECT_EQ(parse({"--device", "cuda:12"}).device, "cuda:12");
  for (const char* text : {"gpu", "cuda:", "cuda:x", "cuda:1x", "cuda1", "Auto"}) {
    EXPECT_EQ(usage_error({"--device", text}),
              fmt::format("--device is '{}', allowed are auto|cpu|cuda|cuda:N", text));
  }
  EXPECT_EQ(usage_error({"--data", ""}), "--data is empty");
  EXPECT_EQ(usage_error({"--data"}), "--data needs a value");
  EXPECT_EQ(usage_error({"--stepps", "3"}),
            "unknown option '--stepps'; `strobe some --help` lists all");
  EXPECT_EQ(usage_error({"word"}), "unknown option 'word'; `strobe some --help` lists all");
}

TEST(OptionParserTest, HelpShowsDefaultsAndUnits) {
  SomeOptions options;
  OptionParser parser("some", "does something");
  options.visit(parser);
  ::testing::internal::CaptureStdout();
  EXPECT_FALSE(parser.parse({"--max-steps", "7", "--help"}));
  const std::string help = ::testing::internal::GetCapturedStdout();
  for (const char* text : {"does something", "--max-steps N=3", "--rate 1/s=0.5", "--data FILE=lab",
                           "--dtype f32|bf16=bf16", "--quiet", "how many"}) {
    EXPECT_NE(help.find(text), std::string::npos) << text << "\n" << help;
  }
}

TEST(OptionParserTest, WordsWithoutAName) {
  const auto parse_words = [](const Arguments& arguments) {
    SomeOptions options;
    std::string subject;
    OptionParser parser("some", "does something");
    parser.positional(subject, "SUBJECT", "of it all");
    options.visit(parser);
    EXPECT_TRUE(parser.parse(arguments));
    return fmt::format("{} {}", subject, options.seed);
  };
  EXPECT_EQ(parse_words({"life"}), "life 1");
  EXPECT_EQ(parse_words({"--seed", "3", "life"}), "life 3");
  EXPECT_EQ(parse_words({"life", "--seed", "3"}), "life 3");
  EXPECT_THROW(parse_words({"--seed", "3"}), UsageError);
  EXPECT_THROW(parse_words({"life", "death"}), UsageError);
}

TEST(FindOptionTest, FindsTheLastValue) {
  EXPECT_EQ(find_option({}, "preset", "quick"), "quick");
  EXPECT_EQ(find_option({"--preset"}, "preset", "quick"), "quick");
  EXPECT_EQ(find_option({"--a", "1", "--preset", "lab"}, "preset", "quick"), "lab");
  EXPECT_EQ(find_option({"--preset=lab", "--preset=gpt2"}, "preset", "quick"), "gpt2");
}

// What is written to a results file, read back as a command line, gives the same options.
TEST(TrainOptionsTest, EveryOptionIsReachable) {
  for (const char* preset : {"quick", "lab", "gpt2"}) {
    const Json written = options_json(train_preset(preset));
    Arguments arguments;
    for (const auto& [key, value] : written.items()) {
      if (value == "") continue;  // not given: nothing to say
      std::string name = key;
      std::replace(name.begin(), name.end(), '_', '-');
      if (value.is_boolean()) {
        arguments.push_back((value.get<bool>() ? "--" : "--no-") + name);
        continue;
      }
      arguments.push_back("--" + name);
      arguments.push_back(value.is_string() ? value.get<std::string>() : value.dump());
    }
    TrainOptions options;
    options.n_layer = options.batch = options.steps = 77;
    OptionParser parser("train", "");
    options.visit(parser);
    ASSERT_TRUE(parser.parse(arguments));
    EXPECT_EQ(options_json(options), written);
    EXPECT_EQ(written.at("preset"), preset);
  }
}

TEST(TrainOptionsTest, PresetsAreModelsThatCanBeMade) {
  for (const char* preset : {"quick", "lab", "gpt2"}) {
    EXPECT_NO_THROW(model_config(train_preset(preset))) << preset;
  }
  const Gpt2Config lab = model_config(train_preset("lab"));
  EXPECT_EQ(lab.eos_token_id, 50256);
  EXPECT_EQ(parameter_count(lab), 81'912'576);
  EXPECT_EQ(parameter_count(model_config(train_preset("gpt2"))), 124'439'808);
}

}  // namespace
}  // namespace strobe
