#include "strobe/report/attention_map.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <regex>

#include "tests/testkit/errors.h"
#include "tests/testkit/files.h"

namespace strobe {
namespace {

JsonRows rows(size_t tokens) {
  Json texts = Json::array(), probabilities = Json::array();
  for (size_t i = 0; i < tokens; ++i) {
    texts.push_back(i == 1 ? " the\n" : i == 2 ? "a very long token 100%" : "x");
    Json row = Json::array();
    for (size_t j = 0; j <= i; ++j) row.push_back(1.0 / static_cast<double>(i + 1));
    probabilities.push_back(row);
  }
  probabilities[2] = {0.125, 0.75, 0.125};
  return {{{"kind", "provenance"}, {"title", "A title"}, {"subtitle", "below"}},
          {{"kind", "attention_map"}, {"tokens", texts}, {"probabilities", probabilities}}};
}

TEST(AttentionMap, TableHasTheStrongest) {
  const std::string table =
      std::regex_replace(attention_map_table(rows(3)), std::regex(" +"), " ");  // any widths
  EXPECT_NE(table.find("1 ·the↵"), std::string::npos) << table;
  EXPECT_NE(table.find("2 a·very·long·to… 1 ·the↵ 75.0%"), std::string::npos) << table;
  EXPECT_NE(attention_map_table(rows(50)).find("the last 40 of 50 tokens\n"), std::string::npos);
  EXPECT_EQ(testing::error_of([] { attention_map_table({}); }),
            "there is no row of kind \"attention_map\"");
}

TEST(AttentionMap, PicturesOfFewAndOfManyTokens) {
  const testing::TemporaryFolder folder;
  for (const size_t tokens : {3u, 40u, 300u}) {
    const std::string path = folder.path() + "/map";
    const std::string problem = draw_attention_map(rows(tokens), path);
    if (problem.find("not installed") != std::string::npos) GTEST_SKIP() << problem;
    ASSERT_EQ(problem, "");
    EXPECT_GT(std::filesystem::file_size(path + ".png"), 8'000u);
    const std::string svg = testing::content_of(path + ".svg");
    EXPECT_EQ(svg.find(">0.75<") != std::string::npos, tokens <= 14) << "numbers in large cells";
    EXPECT_EQ(svg.find("long·to… 2") != std::string::npos, tokens < 300) << "many share labels";
  }
}

}  // namespace
}  // namespace strobe
