#include "strobe/report/html_report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "strobe/core/check.h"
#include "strobe/core/jsonl.h"
#include "strobe/report/jsonl_reader.h"
#include "tests/testkit/errors.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

using testing::error_of;

// A results file in the making.
class ReportPage : public ::testing::Test {
 protected:
  ReportPage() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(::testing::TempDir()) / (std::string("strobe_page_") + info->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~ReportPage() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string write(const std::string& name, const JsonRows& rows) const {
    JsonlWriter writer(path(name));
    for (const Json& row : rows) writer.write(row);
    return path(name);
  }
  std::string page(const JsonRows& rows, Language language = Language::english) const {
    return html_report({.paths = {write("results.jsonl", rows)}, .out = "", .language = language});
  }
  static void expect(const std::string& page, const std::vector<std::string>& texts) {
    for (const std::string& text : texts) {
      EXPECT_NE(page.find(text), std::string::npos) << text << "\nis not in\n" << page;
    }
  }

 private:
  fs::path folder_;
};

Json provenance_row() {
  return {{"kind", "provenance"},
          {"command", "compare"},
          {"git", "abc1234+changes"},
          {"cpu", "A & B"},
          {"threads", 4},
          {"title", "GPT-2"},
          {"options",
           {{"attention", "standard,flash"},
            {"dtype", "f32"},
            {"data", "it's"},
            {"out", "/tmp/x"},
            {"n_layer", 2},
            {"tied", false}}}};
}

void add_run(JsonRows& rows, const std::string& name, double ms, double bytes,
             const std::vector<double>& losses, const char* ending = "finished") {
  for (size_t i = 0; i < losses.size(); ++i) {
    rows.push_back({{"kind", "step"},
                    {"attention", name},
                    {"step", i + 1},
                    {"loss", losses[i]},
                    {"step_ms", ms},
                    {"attention_ms", ms / 2},
                    {"tokens", 100}});
  }
  if (ending == nullptr) return;
  const Json parts = {{"weights", bytes / 2}, {"attention", bytes / 2}};
  rows.push_back({{"kind", "summary"},
                  {"attention", name},
                  {"ending", ending},
                  {"reason", "stopped after step 2 of 9"},
                  {"peak_total_bytes", bytes},
                  {"peak_rss_bytes", 2 * bytes},
                  {"peak_bytes", parts},
                  {"at_peak_bytes", parts}});
}

JsonRows comparison(double flash_ms, double flash_bytes, const std::vector<double>& flash_losses) {
  JsonRows rows = {provenance_row()};
  add_run(rows, "standard", 100, 1e6, {4, 3, 2});
  add_run(rows, "flash", flash_ms, flash_bytes, flash_losses);
  return rows;
}

TEST_F(ReportPage, FasterSmallerAndTheSame) {
  const std::string html = page(comparison(50, 250e3, {4, 3, 2.00000004}));
  expect(html, {"flash was 2.00× faster per step than standard: 50.0 ms against 100 ms.",
                "flash needed 75.0% less memory at the peak: 250 kB against 1.00 MB.",
                "differ by at most 4.0×10⁻⁸ (2.0×10⁻⁸ of the loss) over 3 steps, which is rounding "
                "in f32.",
                "The loss of standard fell from 4.000 to 2.000 in 3 steps.", "A &amp; B"});
  EXPECT_EQ(html.find("class=\"bad\""), std::string::npos);
}

TEST_F(ReportPage, SlowerLargerAndWrong) {
  expect(page(comparison(125, 1.2e6, {4.1, 3, 2})),
         {"flash was 1.25× slower per step than standard", "flash needed 20.0% more memory",
          "differ at the first step already, by 0.025 of the loss: more than rounding in f32 "
          "explains.",
          "class=\"bad\""});
  expect(page(comparison(100.5, 1e6, {4, 3, 2})),
         {"took the same time per step", "Both needed the same memory at the peak, 1.00 MB.",
          "are the same numbers at all of 3 steps"});
  expect(page(comparison(100, 1e6, {4, 3, 2.5})), {"agree at the first step and part later"});
}

TEST_F(ReportPage, RunsThatDidNotEndWell) {
  JsonRows rows = {provenance_row()};
  add_run(rows, "standard", 100, 1e6, {4, 3}, "interrupted");
  expect(page(rows), {"standard was interrupted: stopped after step 2 of 9.",
                      "flash was asked for and left no row", "A step of standard took 100 ms"});
  rows.push_back({{"kind", "error"}, {"attention", "flash"}, {"message", "out of memory"}});
  expect(page(rows), {"flash failed after 0 steps: out of memory."});
  JsonRows killed = {provenance_row()};
  add_run(killed, "standard", 100, 1e6, {2, 3}, nullptr);
  expect(page(killed), {"ends after 2 steps without a closing row",
                        "The loss of standard rose from 2.000 to 3.000 in 2 steps."});
  expect(page({provenance_row(), {{"kind", "error"}, {"attention", "flash"}, {"message", "no"}}}),
         {"No run finished a step."});
}

TEST_F(ReportPage, AResumedRunDoesNoStepTwice) {
  JsonRows rows = {provenance_row()};
  add_run(rows, "flash", 100, 1e6, {4, 3, 2.5}, nullptr);
  rows.push_back({{"kind", "provenance"}, {"attention", "flash"}});
  rows.push_back({{"kind", "step"},
                  {"attention", "flash"},
                  {"step", 3},
                  {"loss", 2},
                  {"step_ms", 90},
                  {"attention_ms", 9},
                  {"tokens", 100}});
  expect(page(rows), {"The loss of flash fell from 4.000 to 2.000 in 3 steps."});
}

TEST_F(ReportPage, SaysHowToRepeatIt) {
  expect(page(comparison(50, 1e5, {4, 3, 2})),
         {"git checkout abc1234\n",
          "<span>./run compare</span> <span>--attention standard,flash</span> <span>--dtype f32"
          "</span> <span>--data &#39;it&#39;\\&#39;&#39;s&#39;</span> <span>--n-layer 2</span> "
          "<span>--no-tied</span>\n",
          "The program had changes that are not in that commit."});
}

TEST_F(ReportPage, NothingFromAFileBecomesMarkup) {
  const std::string evil = "<script>alert(1)</script>\" onload='x'<img src=x>";
  JsonRows rows = comparison(50, 1e5, {4, 3, 2});
  rows[0]["title"] = rows[0]["cpu"] = rows[0]["git"] = evil;
  rows[0]["options"]["data"] = evil;
  rows.push_back({{"kind", "error"}, {"attention", evil}, {"message", evil}});
  rows.push_back({{"kind", "generation"}, {"attention", evil}, {"text", evil}, {"prompt", evil}});
  rows.push_back({{"kind", "bench"},
                  {"op", evil},
                  {"impl", evil},
                  {"ms_median", 1},
                  {"seq_q", 9},
                  {"batch", 1},
                  {"gflops", 2},
                  {"mask", evil},
                  {"dtype", evil}});
  rows.push_back({{"kind", "mask_pattern"}, {"name", evil}, {"keys", 2}, {"spans", {{0, 1}}}});
  for (const Language language : {Language::english, Language::traditional_chinese}) {
    const std::string html = page(rows, language);
    EXPECT_EQ(html.find("<script"), std::string::npos);
    EXPECT_EQ(html.find("<img"), std::string::npos);
    EXPECT_EQ(html.find("onload='"), std::string::npos);
    EXPECT_EQ(html.find("\" onload"), std::string::npos);
  }
}

TEST_F(ReportPage, SpeaksTraditionalChinese) {
  const std::string html = page(comparison(50, 250e3, {4, 3, 2}), Language::traditional_chinese);
  expect(html, {"<html lang=\"zh-TW\">", "flash 每步的速度是 standard 的 2.00 倍",
                "flash 的峰值記憶體少 75.0%", "數值完全相同", "訓練損失"});
  EXPECT_EQ(html.find("peak memory"), std::string::npos);
}

TEST_F(ReportPage, PeersStandBesideStrobe) {
  JsonRows rows;
  for (const auto& [impl, ms] : {std::pair{"cpu_flash_avx2", 10.0}, {"torch_sdpa", 30.0}}) {
    for (double length : {512, 1024}) {
      rows.push_back({{"kind", "bench"},
                      {"op", "attention"},
                      {"pass", "forward"},
                      {"impl", impl},
                      {"batch", 1},
                      {"seq_q", length},
                      {"seq_k", length},
                      {"dtype", "f32"},
                      {"mask", "causal"},
                      {"ms_median", ms},
                      {"gflops", 1000 / ms}});
    }
  }
  rows.back()["ms_median"] = 20;
  expect(page(rows), {"attention, forward: cpu_flash_avx2 was 2.45× faster than torch_sdpa (2 "
                      "problems, from 2.00× to 3.00×).",
                      "attention · forward · f32 · causal"});
}

TEST_F(ReportPage, RowsOfAGpuAreNotMixedWithThoseOfACpu) {
  JsonRows rows;
  const auto add = [&](const char* device, const char* impl, double gflops) -> Json& {
    rows.push_back({{"kind", "bench"},
                    {"op", "attention"},
                    {"pass", "forward"},
                    {"device", device},
                    {"cpu", "Zen"},
                    {"impl", impl},
                    {"batch", 16},
                    {"seq_q", 1024},
                    {"seq_k", 1024},
                    {"mask", "full"},
                    {"ms_median", 1},
                    {"gflops", gflops},
                    {"matmul_gflops", 690e3},
                    {"rms_err", 2e-3}});
    if (std::string_view(device) == "cuda") rows.back()["gpu"] = "H100";
    return rows.back();
  };
  add("cpu", "cpu_flash_avx2", 500);
  add("cuda", "cuda_flash_portable", 300e3);
  add("cuda", "torch_sdpa_cudnn", 250e3)["peer"] = "PyTorch";
  add("cuda", "cuda_flash_portable", 200e3)["padded_keys"] = 256;
  add("cuda", "cuda_flash_portable", 280e3)["deterministic"] = true;
  const std::string html = page(rows);
  expect(html, {"attention · forward · full · Zen", "attention · forward · full · H100",
                "attention · forward · full · 25.0% of the keys are padding · H100",
                "cuda_flash_portable, deterministic: up to 280 TFLOP/s.", "up to 500 GFLOP/s.",
                "matrix product (cuBLASLt)", "<data value=\"300000\">300</data>",
                "error, root mean square", "gpu_peers.py FILE"});
}

TEST_F(ReportPage, TrainingStepsOfPeersAreBars) {
  JsonRows rows;
  for (const auto& [impl, ms, bytes] :
       {std::tuple{"cuda_flash_portable", 4.5, 1.9e9}, {"hf_gpt2_eager", 24.9, 3.81e9}}) {
    rows.push_back({{"kind", "bench"},
                    {"op", "train"},
                    {"pass", "step"},
                    {"device", "cuda"},
                    {"gpu", "H100"},
                    {"impl", impl},
                    {"batch", 4},
                    {"seq_q", 512},
                    {"n_layer", 6},
                    {"n_embd", 768},
                    {"dtype", "f16"},
                    {"ms_median", ms},
                    {"gflops", 1e3},
                    {"peak_total_bytes", bytes}});
  }
  expect(page(rows),
         {"train · step · f16 · 6 layers, width 768",
          "train · step · f16 · 6 layers, width 768 · peak memory",
          "B=4 T=512  cuda_flash_portable: 4.50 ms.", "B=4 T=512  hf_gpt2_eager: 3.81 GB."});
}

TEST_F(ReportPage, GeneratedTextIsComparedAndShown) {
  const auto row = [](const char* name, double tokens_per_s, const char* text) {
    return Json{{"kind", "generation"},
                {"attention", name},
                {"dtype", "f32"},
                {"batch", 1},
                {"tokens_per_s", tokens_per_s},
                {"tokens_per_s_std", 2},
                {"token_ms", 1000 / tokens_per_s},
                {"prompt", "Once"},
                {"text", text}};
  };
  expect(page({row("standard", 100, " upon"), row("flash", 101, " upon")}),
         {"flash and standard generated equally fast, to within the spread: 101 ± 2 and 100 ± 2 "
          "tokens per second (f32, B=1).",
          "flash and standard wrote the same text.", "<blockquote> upon</blockquote>"});
  expect(page({row("standard", 100, " upon"), row("flash", 50, " up the")}),
         {"flash generated 2.00× slower than standard", "differ from byte 4 on."});
  expect(page({{{"kind", "continuation"}, {"prompt", "Once"}, {"text", " upon a time"}},
               {{"kind", "continuation_summary"},
                {"attention", "any"},
                {"token_ms", {1, 3}},
                {"tokens_per_s", 500}}}),
         {"any generated 500 tokens per second", "<blockquote>Once upon a time</blockquote>",
          "2.00 ± 1.41"});
}

TEST_F(ReportPage, AnAttentionMapIsDrawn) {
  const Json map = {{"kind", "attention_map"},
                    {"layer", 1},
                    {"head", 2},
                    {"tokens", {"<a>", " b"}},
                    {"probabilities", {{1, 0}, {0.75, 0.25}}}};
  expect(page({map}), {"Layer 1, head 2", "75.0%, of the token “ b” to “&lt;a&gt;”", ">·b</text>",
                       "fill-opacity=\"0.25\""});
  Json broken = map;
  broken["probabilities"] = {{1, "x"}, 3};
  page({broken});
  broken["probabilities"] = {{1, 0, 0, 0}, {1}};
  page({broken});
}

TEST_F(ReportPage, ASweepShowsGrowthAndWhatDidNotFit) {
  JsonRows rows;
  for (double length : {512, 1024, 2048}) {
    for (const auto& [name, power] : {std::pair{"standard", 2}, {"flash", 1}}) {
      const bool fits = length < 2048 || power == 1;
      rows.push_back({{"kind", "sweep"},
                      {"parameter", "seq"},
                      {"value", length},
                      {"attention", name},
                      {"ending", fits ? "finished" : "out_of_memory"}});
      if (!fits) continue;
      rows.back()["step_ms_median"] = length / 10 * power;
      rows.back()["attention_bytes"] = std::pow(length, power);
      rows.back()["peak_total_bytes"] = 1e6 + std::pow(length, power);
    }
  }
  const std::string html = page(rows);
  expect(
      html,
      {"At seq = 1024, flash was 2.00× faster than standard and needed 51.1% less memory.",
       "standard: from seq = 512 to seq = 1024 a step took 2.00× the time, and attention 4.00× "
       "the memory.",
       "flash: from seq = 1024 to seq = 2048 a step took 2.00× the time, and attention 2.00× the "
       "memory.",
       "standard did not fit into memory at seq = 2048.", "standard: out of memory"});
}

TEST_F(ReportPage, FilesThatCannotBeShownAreNamed) {
  const auto message = [&](const std::string& text) {
    std::ofstream(path("bad.jsonl")) << text;
    const std::string error =
        error_of([&] { html_report({.paths = {path("bad.jsonl")}, .out = ""}); });
    EXPECT_EQ(error.rfind(path("bad.jsonl"), 0), 0u) << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    return error.substr(std::min(error.size(), path("bad.jsonl").size()));
  };
  EXPECT_EQ(message(""), " is empty: it has no row");
  EXPECT_EQ(message("\n \n"), " is empty: it has no row");
  EXPECT_EQ(message("\x89PNG\r\n\x1a"), ":1 is not JSON: ?PNG?");
  EXPECT_EQ(message("{\"kind\":\"step\"}\n{\"kind\":"), ":2 is not JSON: {\"kind\":");
  EXPECT_EQ(message("{\"kind\":\"epoch\"}\n{\"kind\":\"log\"}\n"),
            " holds no results of Strobe: its rows are of kind \"epoch\", \"log\"");
  EXPECT_EQ(message("{\"text\":\"a data set\"}\n"),
            ":1 is not an object with a text \"kind\": {\"text\":\"a data set\"}");
  EXPECT_EQ(message("{\"kind\":\"step\",\"attention\":\"flash\",\"step\":1}\n"),
            ":1: a row of kind \"step\" has no number \"loss\"");
  EXPECT_NE(message("{\"kind\":\"summary\",\"attention\":\"flash\",\"ending\":3}\n").find(":1: "),
            std::string::npos);
  fs::remove(path("bad.jsonl"));
  EXPECT_NE(
      error_of([&] { html_report({.paths = {path("")}, .out = ""}); }).find(" holds no .jsonl"),
      std::string::npos);
  EXPECT_EQ(error_of([&] { html_report({.paths = {"/dev/null"}, .out = ""}); }),
            "'/dev/null' is not a file");
}

TEST_F(ReportPage, AHundredThousandSteps) {
  {
    std::ofstream file(path("long.jsonl"));
    for (int i = 1; i <= 100'000; ++i) {
      file << fmt::format(R"({{"kind":"step","attention":"flash","step":{},"loss":{},"step_ms":2,)"
                          R"("attention_ms":1,"tokens":9}})"
                          "\n",
                          i, 1 + 1.0 / i);
    }
  }
  const std::string html = html_report({.paths = {path("long.jsonl")}, .out = ""});
  expect(html, {"The loss of flash fell from 2.000 to 1.000 in 100000 steps.", "100k"});
  EXPECT_LT(html.size(), 60'000u) << "curves are thinned";
}

TEST_F(ReportPage, AFolderStandsForItsFiles) {
  fs::create_directories(path("a/b"));
  write("a/b/one.jsonl", comparison(50, 1e5, {4, 3, 2}));
  write("a/two.jsonl", comparison(200, 1e5, {4, 3, 2}));
  std::ofstream(path("a/notes.txt")) << "no results";
  write_html_report({.paths = {path("a")}, .out = path("new/folder/page.html")});
  std::stringstream html;
  html << std::ifstream(path("new/folder/page.html")).rdbuf();
  expect(html.str(), {"2.00× faster", "2.00× slower", "From 2 results files."});
}

}  // namespace
}  // namespace strobe
