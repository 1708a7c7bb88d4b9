#include "strobe/cli/sweep.h"

#include <gtest/gtest.h>

#include "strobe/cli/options.h"

namespace strobe {
namespace {

using Values = std::vector<int64_t>;

std::string usage_error_of(const std::string& text) {
  try {
    parse_sweep(text);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Sweep, DoublesFromTo) {
  const Sweep sweep = parse_sweep("seq=512..8192");
  EXPECT_EQ(sweep.axis, SweepAxis::seq);
  EXPECT_EQ(sweep.values, (Values{512, 1024, 2048, 4096, 8192}));
  EXPECT_EQ(parse_sweep("batch=3..20").values, (Values{3, 6, 12}));
  EXPECT_EQ(parse_sweep("layers=1..1").values, (Values{1}));
}

TEST(Sweep, ListsAreSorted) {
  const Sweep sweep = parse_sweep("layers=8,1,2");
  EXPECT_EQ(sweep.axis, SweepAxis::layers);
  EXPECT_EQ(sweep.values, (Values{1, 2, 8}));
  EXPECT_EQ(parse_sweep("seq=512,1024,3000").values, (Values{512, 1024, 3000}));
}

TEST(Sweep, MistakesSayWhatIsAllowed) {
  EXPECT_EQ(usage_error_of("512..8192"),
            "--sweep is '512..8192', allowed is AXIS=FROM..TO or AXIS=N,N,… such as "
            "seq=512..8192");
  EXPECT_EQ(usage_error_of("heads=1,2"), "--sweep changes 'heads', allowed are seq, batch, layers");
  EXPECT_EQ(usage_error_of("=1,2"), "--sweep changes '', allowed are seq, batch, layers");
  EXPECT_EQ(usage_error_of("seq="), "--sweep has '', allowed is a whole number from 2 to 1048576");
  EXPECT_EQ(usage_error_of("seq=1..64"),
            "--sweep has '1', allowed is a whole number from 2 to 1048576");
  EXPECT_EQ(usage_error_of("batch=0,1"),
            "--sweep has '0', allowed is a whole number from 1 to 1048576");
  EXPECT_EQ(usage_error_of("batch=1,,2"),
            "--sweep has '', allowed is a whole number from 1 to 1048576");
  EXPECT_EQ(usage_error_of("batch=4x"),
            "--sweep has '4x', allowed is a whole number from 1 to 1048576");
  EXPECT_EQ(usage_error_of("seq=64..99999999999999999999"),
            "--sweep has '99999999999999999999', allowed is a whole number from 2 to 1048576");
  EXPECT_EQ(usage_error_of("seq=64.."),
            "--sweep has '', allowed is a whole number from 2 to 1048576");
  EXPECT_EQ(usage_error_of("seq=64..32"),
            "--sweep has '64..32', allowed is FROM..TO with FROM up to TO");
  EXPECT_EQ(usage_error_of("seq=64,32,64"), "--sweep 'seq=64,32,64' has a value twice");
  std::string many = "batch=1";
  for (int i = 2; i <= 33; ++i) many += fmt::format(",{}", i);
  EXPECT_EQ(usage_error_of(many), "--sweep '" + many + "' has 33 points, allowed are up to 32");
}

}  // namespace
}  // namespace strobe
