// Compared generation: its table and its picture.
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>

#include "strobe/report/inference_plot.h"
#include "strobe/report/inference_table.h"
#include "strobe/report/units.h"
#include "tests/testkit/files.h"

namespace strobe {
namespace {

Json generation(const std::string& attention, double ms, double bytes,
                const std::vector<int32_t>& tokens, const std::string& text) {
  return {{"kind", "generation"},
          {"attention", attention},
          {"attention_impl", "cpu_" + attention},
          {"runs", 3},
          {"prompt_tokens", 7},
          {"prefill_ms", 2 * ms},
          {"prefill_ms_std", 0.5},
          {"token_ms", ms},
          {"token_ms_std", 0.25},
          {"tokens_per_s", 1000 / ms},
          {"tokens_per_s_std", 3},
          {"cache_bytes", 5e3},
          {"peak_total_bytes", bytes},
          {"peak_bytes", {{"attention", bytes / 4}}},
          {"peak_rss_bytes", 9e6},
          {"tokens", tokens},
          {"text", text}};
}

JsonRows rows() {
  return {{{"kind", "provenance"}},
          generation("standard", 8, 4e6, {1, 2, 3}, "a \"b\""),
          generation("flash", 4, 1e6, {1, 2, 9}, "a c")};
}

TEST(InferenceTable, GainsAndTexts) {
  const std::string table =
      std::regex_replace(inference_table(rows()), std::regex(" +"), " ");  // whatever the widths
  for (const char* line :
       {"mean ± deviation of 3 runs standard flash\n", "implementation cpu_standard cpu_flash\n",
        "first token (prompt of 7) 16.0 ± 0.5 ms 8.00 ± 0.50 ms\n",
        "each further token 8.00 ± 0.25 ms 4.00 ± 0.25 ms\n", "tokens/s 125 ± 3 250 ± 3\n",
        "peak memory 4.00 MB 1.00 MB\n", "against standard flash\n",
        "speed-up of the first token 2.00×\n", "memory saved 75.0%\n",
        "same text for 2 of 3 tokens\n", "standard: \"a \\\"b\\\"\"\n", "flash: \"a c\"\n"}) {
    EXPECT_NE(table.find(line), std::string::npos) << line << table;
  }
  JsonRows same = rows();
  same[2]["tokens"] = same[1]["tokens"];
  same[2]["text"] = same[1]["text"];
  EXPECT_NE(inference_table(same).find("same text"), std::string::npos);
  EXPECT_EQ(inference_table(same).find("flash: \""), std::string::npos) << "said once";
  EXPECT_EQ(inference_table({rows()[0]}), "no run finished\n");
}

TEST(InferencePlot, ABarForEach) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.path() + "/bars";
  const std::string problem = draw_inference(rows(), "A title", path);
  if (problem.find("not installed") != std::string::npos) GTEST_SKIP() << problem;
  ASSERT_EQ(problem, "");
  EXPECT_GT(std::filesystem::file_size(path + ".png"), 20'000u);
  const std::string svg = testing::content_of(path + ".svg");
  for (const char* text : {"Time to the first token", "8.00 ± 0.25 ms", "flash"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
  EXPECT_EQ(draw_inference({rows()[0]}, "A title", path), "no pictures: no run finished");
}

TEST(Units, MeansHaveTheDeviationsDecimals) {
  EXPECT_EQ(mean_text(0.5284, 0.0151), "0.53 ± 0.02");
  EXPECT_EQ(mean_text(85.23, 2.341), "85.2 ± 2.3");
  EXPECT_EQ(mean_text(3350.9, 2698.4), "3351 ± 2698");
}

}  // namespace
}  // namespace strobe
