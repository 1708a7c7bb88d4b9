// Checkpoints of the built program: a run that goes on is the run that never stopped, whatever ends
// it, at any moment; and what cannot be gone on from is said in one line.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "strobe/core/check.h"
#include "strobe/core/clock.h"
#include "strobe/core/random.h"
#include "strobe/train/checkpoint.h"
#include "tests/end_to_end/program.h"
#include "tests/testkit/errors.h"

namespace strobe::testing {
namespace {

namespace fs = std::filesystem;

std::string some_text() {
  std::string text;
  for (int line = 0; line < 300; ++line) {
    text += fmt::format("Line {} of a text that a small model can learn quickly.\n", line);
  }
  return text;
}

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

bool is_partial(const fs::directory_entry& entry) { return entry.path().extension() == ".partial"; }

class CheckpointTest : public ::testing::Test {
 protected:
  // A model of which a step takes a millisecond; a checkpoint of it has 1.1 MB.
  std::vector<std::string> command(const std::string& run,
                                   const std::vector<std::string>& options) const {
    std::vector<std::string> all = {
        "train", "--n-layer", "1",      "--n-embd",   "32",       "--n-head",
        "2",     "--batch",   "2",      "--seq",      "32",       "--data",
        text_,   "--warmup",  "0",      "--schedule", "constant", "--validation-batches",
        "0",     "--out",     path(run)};
    all.insert(all.end(), options.begin(), options.end());
    return all;
  }

  ProgramResult train(const std::string& run, const std::vector<std::string>& options,
                      const ProgramSetting& setting = {}) const {
    return run_strobe(command(run, options), setting);
  }

  ProgramResult resume(const std::string& what, const std::vector<std::string>& options = {},
                       const ProgramSetting& setting = {}) const {
    std::vector<std::string> all = {"train", "--resume", path(what)};
    all.insert(all.end(), options.begin(), options.end());
    return run_strobe(all, setting);
  }

  // The command failed, and says why in one line with this text.
  static void expect_failure(const ProgramResult& result, int exit_code, const std::string& text) {
    EXPECT_EQ(result.exit_code, exit_code);
    const std::string message =
        result.error.substr(std::min(result.error.find("strobe: "), result.error.size()));
    EXPECT_EQ(std::ranges::count(message, '\n'), 1) << result.error;
    EXPECT_NE(message.find(text), std::string::npos) << result.error << "lacks: " << text;
  }

  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }
  std::string metrics(const std::string& run) const { return path(run) + "/metrics.jsonl"; }

  // Exactly as written: equal numbers are equal bits.
  std::vector<double> losses(const std::string& run) const {
    std::vector<double> values;
    for (const Json& row : rows_of(metrics(run), "step")) {
      EXPECT_EQ(row.at("step"), values.size() + 1);
      values.push_back(row.at("loss"));
    }
    return values;
  }

  // The names in a run's folder of what is, or was to become, a checkpoint.
  std::vector<std::string> checkpoints(const std::string& run) const {
    std::vector<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(path(run))) {
      if (entry.is_directory()) names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
  }

  TemporaryFolder folder_;
  std::string text_ = folder_.file("text", some_text());
};

using Names = std::vector<std::string>;

TEST_F(CheckpointTest, TheLastOnesAreKept) {
  ASSERT_EQ(train("run", {"--steps", "9", "--save-every", "2", "--keep", "3"}).exit_code, 0);
  EXPECT_EQ(checkpoints("run"), (Names{"checkpoint-6", "checkpoint-8", "checkpoint-9"}));
  const std::vector<Json> rows = rows_of(metrics("run"), "checkpoint");
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_EQ(rows[4].at("step"), 9);
  EXPECT_EQ(rows[4].at("path"), path("run") + "/checkpoint-9");
  EXPECT_GT(rows[4].at("bytes"), 1'000'000);
  EXPECT_GT(rows[4].at("save_ms"), 0);
}

// In f32 and bf16, whole and micro-batches, windows and lines.
TEST_F(CheckpointTest, ARunThatGoesOnIsTheRunThatNeverStopped) {
  const std::vector<std::string> kinds[] = {
      {}, {"--dtype", "bf16", "--accumulation", "3"}, {"--batching", "padded"}};
  int number = 0;
  for (std::vector<std::string> options : kinds) {
    const std::string whole = fmt::format("whole{}", number),
                      parts = fmt::format("parts{}", number);
    ++number;
    options.insert(options.end(), {"--validation-every", "2", "--validation-batches", "2"});
    options.insert(options.end(), {"--schedule", "cosine", "--steps", "7"});
    options.insert(options.end(), {"--save-every", "3", "--keep", "9"});
    ASSERT_EQ(train(whole, options).exit_code, 0);
    ASSERT_EQ(train(parts, options).exit_code, 0);
    // As if it had been killed after step 5: what it measured since step 3 is measured again.
    for (const char* later : {"/checkpoint-6", "/checkpoint-7"})
      fs::remove_all(path(parts) + later);
    const ProgramResult result = resume(parts);
    ASSERT_EQ(result.exit_code, 0) << result.error;
    EXPECT_EQ(losses(parts), losses(whole));
    for (const char* kind : {"validation", "summary"}) {
      const auto a = rows_of(metrics(parts), kind), b = rows_of(metrics(whole), kind);
      ASSERT_EQ(a.size(), b.size()) << kind;
      for (size_t i = 0; i < a.size() && kind[0] == 'v'; ++i) EXPECT_EQ(a[i], b[i]);
    }
    for (const char* file : {"model", "optimizer"}) {
      const std::string name = fmt::format("/checkpoint-7/{}.safetensors", file);
      EXPECT_EQ(content_of(path(parts) + name), content_of(path(whole) + name)) << name;
    }
  }
}

TEST_F(CheckpointTest, CtrlCLeavesACheckpointOfTheLastStep) {
  const auto interrupt_at_work = [&](pid_t program) {
    for (int i = 0; i < 6000 && rows_of(metrics("run"), "step").size() < 3; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    kill(program, SIGINT);
  };
  const ProgramResult result =
      train("run", {"--steps", "1000000", "--save-every", "1000000", "--save-model", path("model")},
            {.while_it_runs = interrupt_at_work});
  EXPECT_EQ(result.exit_code, 128 + SIGINT);
  const size_t steps = losses("run").size();
  EXPECT_EQ(checkpoints("run"), Names{fmt::format("checkpoint-{}", steps)});
  for (const char* file : {"config.json", "model.safetensors", "vocab.json", "merges.txt"}) {
    EXPECT_TRUE(fs::exists(path("model") + "/" + file)) << file;
  }
  const std::vector<double> before = losses("run");
  ASSERT_EQ(resume("run", {"--steps", fmt::format("{}", steps + 4)}).exit_code, 0);
  const std::vector<double> after = losses("run");
  ASSERT_EQ(after.size(), steps + 4);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin()));
  EXPECT_EQ(rows_of(metrics("run"), "summary").size(), 1u);
  EXPECT_EQ(rows_of(metrics("run"), "resume").at(0).at("step"), steps);
}

// SIGKILL at random moments, most of them while a checkpoint is written: every step saves one.
TEST_F(CheckpointTest, KilledAtRandomMomentsThereIsAlwaysAWholeCheckpoint) {
  constexpr int kKills = 50;
  Random random(random_key(7, 0, 0));
  const Stopwatch watch;
  ASSERT_EQ(train("probe", {"--steps", "3", "--save-every", "1"}).exit_code, 0);
  const auto longest_us = static_cast<uint64_t>(1.2e6 * watch.seconds());
  int while_saving = 0;
  bool was_saved = false;
  for (int killed = 0; killed < kKills; ++killed) {
    const auto kill_soon = [&](pid_t program) {
      std::this_thread::sleep_for(std::chrono::microseconds(random.below(longest_us)));
      kill(program, SIGKILL);
    };
    const ProgramSetting setting = {.while_it_runs = kill_soon};
    const ProgramResult result =
        was_saved ? resume("run", {}, setting)
                  : train("run", {"--steps", "1000000", "--save-every", "1"}, setting);
    ASSERT_EQ(result.exit_code, 128 + SIGKILL) << result.error;
    const std::vector<std::string> whole = checkpoints_of(path("run"));
    ASSERT_TRUE(!whole.empty() || !was_saved);
    was_saved = !whole.empty();
    for (const std::string& checkpoint : whole) ASSERT_NO_THROW(check_checkpoint(checkpoint));
    if (!fs::exists(path("run"))) continue;
    while_saving += std::ranges::count_if(fs::directory_iterator(path("run")), is_partial) > 0;
  }
  ASSERT_TRUE(was_saved);
  EXPECT_GE(while_saving, kKills / 10) << "the moments miss what is to be tested";
  const int64_t done = read_training_state(checkpoint_at(path("run"))).step;
  const std::string steps = fmt::format("{}", done + 3);
  ASSERT_EQ(resume("run", {"--steps", steps}).exit_code, 0);
  ASSERT_EQ(train("uninterrupted", {"--steps", steps}).exit_code, 0);
  EXPECT_EQ(losses("run"), losses("uninterrupted"));
  RecordProperty("kills", kKills);
  RecordProperty("kills_while_saving", while_saving);
  RecordProperty("steps", static_cast<int>(done + 3));
}

// Runs a shell command in which $0 is the program and $@ its arguments, by `runner`. False where it
// cannot be.
bool shell(const std::string& runner, const std::string& script,
           const std::vector<std::string>& arguments, const std::string& error_file) {
  std::string line = runner + " sh -c '" + script + "' '" STROBE_PROGRAM "'";
  for (const std::string& argument : arguments) line += " '" + argument + "'";
  return std::system((line + " >/dev/null 2>" + error_file).c_str()) == 0;
}

// A file system of 2.5 MB, which holds two checkpoints; in which file of the third it is full
// differs from run to run, as tmpfs counts. It vanishes with the shell, so the run's folder is
// copied out of it.
TEST_F(CheckpointTest, AFullDiskLeavesTheCheckpointsBefore) {
  if (std::system("unshare -rm sh -c 'mount -t tmpfs none /mnt' >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "a tmpfs cannot be mounted here (unshare -rm)";
  }
  fs::create_directories(path("small"));
  fs::create_directories(path("run"));
  const std::string script =
      "mount -t tmpfs -o size=2500k none \"$SMALL\" && \"$0\" \"$@\"; echo $? > \"$SMALL/code\";"
      " cp -r \"$SMALL/.\" \"$COPY\"";
  setenv("SMALL", path("small").c_str(), 1);
  setenv("COPY", path("run").c_str(), 1);
  ASSERT_TRUE(shell("unshare -rm", script, command("small", {"--steps", "9", "--save-every", "2"}),
                    path("error")));
  EXPECT_EQ(content_of(path("run/code")), "1\n");
  const std::string error = content_of(path("error"));
  for (const char* part :
       {"strobe: cannot write '", "/checkpoint-6.partial/", "': No space left on device\n"}) {
    EXPECT_NE(error.find(part), std::string::npos) << error << "lacks: " << part;
  }
  EXPECT_EQ(checkpoints("run"), (Names{"checkpoint-2", "checkpoint-4"}));
  ASSERT_EQ(resume("run").exit_code, 0) << "where there is room";
  ASSERT_EQ(train("whole", {"--steps", "9"}).exit_code, 0);
  EXPECT_EQ(losses("run"), losses("whole"));
}

// The same where nothing can be mounted: no file may be longer than 400 kB.
TEST_F(CheckpointTest, AFileThatCannotBeWrittenLeavesTheCheckpointsBefore) {
  ASSERT_EQ(train("run", {"--steps", "2", "--save-every", "2"}).exit_code, 0);
  const std::string script = "trap \"\" XFSZ; ulimit -f 800; exec \"$0\" \"$@\"";  // of 512 bytes
  EXPECT_FALSE(
      shell("", script, {"train", "--resume", path("run"), "--steps", "6"}, path("error")));
  const std::string error = content_of(path("error"));
  EXPECT_NE(error.find("optimizer.safetensors': File too large"), std::string::npos) << error;
  EXPECT_EQ(checkpoints("run"), Names{"checkpoint-2"});
  EXPECT_EQ(resume("run", {"--steps", "6"}).exit_code, 0);
}

TEST_F(CheckpointTest, WhatIsDamagedIsNamed) {
  ASSERT_EQ(train("run", {"--steps", "2", "--save-every", "2"}).exit_code, 0);
  const std::string checkpoint = path("run/checkpoint-2");
  const auto expect_damage = [&](const std::string& file, const std::string& content,
                                 const std::string& message) {
    const std::string before = content_of(checkpoint + "/" + file);
    write(checkpoint + "/" + file, content);
    expect_failure(resume("run", {"--steps", "3"}), 1, message);
    write(checkpoint + "/" + file, before);
  };
  const auto changed = [&](const std::string& file, size_t at) {
    std::string content = content_of(checkpoint + "/" + file);
    content[at] ^= 1;
    return content;
  };
  for (const char* file : {"model.safetensors", "optimizer.safetensors", "vocab.json"}) {
    const std::string content = content_of(checkpoint + "/" + file);
    expect_damage(file, content.substr(0, content.size() / 2), "bytes, it was saved with");
    expect_damage(file, "", "has 0 bytes");
    expect_damage(file, changed(file, content.size() / 2), "is damaged or was changed");
  }
  const std::string state = content_of(checkpoint + "/training.json");
  expect_damage("training.json", state.substr(0, state.size() / 2), "is not JSON");
  expect_damage("training.json", "", "is not JSON");
  expect_damage("training.json", "[1, 2]", "is not of a checkpoint");
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = state;
    return text.replace(text.find(from), from.size(), to);
  };
  expect_damage("training.json", replaced("\"step\": 2", "\"step\": 1"),
                "is damaged or was changed");
  expect_damage("training.json", replaced("\"format_version\": 1", "\"format_version\": 2"),
                "is of format 2, this program reads up to 1");
  fs::remove(checkpoint + "/optimizer.safetensors");
  expect_failure(resume("run", {"--steps", "3"}), 1, "optimizer.safetensors': No such file");
  fs::remove(checkpoint + "/training.json");
  expect_failure(resume("run"), 1, "training.json': No such file");
  expect_failure(resume("nowhere"), 1, "nowhere': no such folder");
  fs::remove_all(checkpoint);
  expect_failure(resume("run"), 1, "is no checkpoint (it has no training.json) and holds none");
}

TEST_F(CheckpointTest, OptionsThatDoNotGoWithAResumedRunAreRefused) {
  ASSERT_EQ(train("run", {"--steps", "4", "--save-every", "2"}).exit_code, 0);
  expect_failure(resume("run"), 1, "the run is at step 4, steps is 4: nothing is left to do");
  for (const char* option : {"--learning-rate", "--batch", "--seq", "--n-layer", "--seed",
                             "--weight-decay", "--accumulation", "--vocab-size"}) {
    expect_failure(resume("run", {"--steps", "6", option, "9"}), 1, "a run that goes on keeps it");
  }
  expect_failure(resume("run", {"--model", path("run")}), 2, "--model does not go with --resume");
  expect_failure(resume("run", {"--preset", "lab"}), 2, "--preset does not go with --resume");
  expect_failure(
      resume("run", {"--steps", "6", "--data", folder_.file("other", "x" + some_text())}), 1,
      "is not the text that");
  expect_failure(resume("run/checkpoint-2"), 1, "checkpoint-4' is not the checkpoint to resume");
  expect_failure(resume("run", {"--steps", "6", "--attention", "standard"}), 1,
                 "give another folder with --out");
  expect_failure(train("run", {}), 1, "is of an earlier run: go on with --resume");
  expect_failure(train("new", {"--save-every", "-1"}), 2, "--save-every is '-1', allowed is");
  expect_failure(train("new", {"--keep", "0"}), 2, "--keep is '0', allowed is");
  EXPECT_EQ(checkpoints("run"), (Names{"checkpoint-2", "checkpoint-4"}));
  EXPECT_EQ(losses("run").size(), 4u);
}

TEST_F(CheckpointTest, AnotherFolderAttentionAndPlaceOfTheTextMayFollow) {
  ASSERT_EQ(train("run", {"--steps", "4", "--save-every", "2"}).exit_code, 0);
  fs::rename(text_, path("moved"));
  const ProgramResult result =
      resume("run/checkpoint-2", {"--out", path("branch"), "--data", path("moved"), "--attention",
                                  "standard", "--keep", "1", "--save-every", "1"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(checkpoints("branch"), Names{"checkpoint-4"});
  EXPECT_EQ(rows_of(metrics("branch"), "step").size(), 2u);
  EXPECT_EQ(rows_of(metrics("branch"), "resume").at(0).at("from"), path("run/checkpoint-2"));
  EXPECT_EQ(losses("run").size(), 4u) << "the first run's own record stays";
}

TEST_F(CheckpointTest, TrainingOnStartsFromTheWeights) {
  ASSERT_EQ(
      train("run", {"--steps", "60", "--learning-rate", "3e-3", "--save-model", path("model")})
          .exit_code,
      0);
  const ProgramResult result = run_strobe(
      {"train", "--model", path("model"), "--data", text_, "--out", path("on"), "--steps", "2",
       "--seq", "32", "--batch", "2", "--save-every", "1", "--attention", "standard"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const std::vector<double> first = losses("run"), on = losses("on");
  EXPECT_LT(on[0], 0.8 * first[0]);
  EXPECT_NEAR(on[0], first.back(), 0.3);
  const Json options = read_rows(metrics("on")).front().at("options");
  EXPECT_EQ(options.at("n_embd"), 32);
  EXPECT_EQ(options.at("learning_rate"), 5e-5);
  ASSERT_EQ(resume("on", {"--steps", "3"}).exit_code, 0) << "with its copy of the tokenizer";
  expect_failure(train("x", {"--model", path("model"), "--n-layer", "3"}), 1,
                 "n_layer is 3, the model");
  expect_failure(train("x", {"--model", path("missing")}), 1, "missing'");
}

}  // namespace
}  // namespace strobe::testing
