#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "tests/testkit/options.h"

// GoogleTest's main with the flags of tests/testkit/options.h.
int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  strobe::testing::Options& options = strobe::testing::options();
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (i + 1 == argc) {
      std::fprintf(stderr, "unknown flag or missing value: %s\n", argv[i]);
      return 2;
    }
    const char* value = argv[++i];
    if (flag == "--case") {
      options.only_case = value;
    } else if (flag == "--impl") {
      options.only_impl = value;
    } else if (flag == "--seed") {
      options.seed = std::stoull(value);
    } else if (flag == "--cases") {
      options.cases = std::stoll(value);
    } else if (flag == "--seconds") {
      options.seconds = std::stod(value);
    } else if (flag == "--device") {
      const std::string reason = value == std::string_view("cuda") ? strobe::why_no_cuda() : "";
      if (!reason.empty()) {
        std::printf("every test was skipped: %s\n", reason.c_str());
        return 0;
      }
      options.device = strobe::device_named(value);
    } else {
      std::fprintf(stderr, "unknown flag: %s\n", argv[i - 1]);
      return 2;
    }
  }
  const int result = RUN_ALL_TESTS();
  const auto* unit = ::testing::UnitTest::GetInstance();
  if (unit->test_to_run_count() > 0 && unit->skipped_test_count() == unit->test_to_run_count()) {
    std::puts("every test was skipped");
  }
  return result;
}
