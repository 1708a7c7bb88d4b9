// What checkpoints are made of; tests/end_to_end/checkpoint_test.cpp runs the program.
#include "strobe/train/checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "strobe/core/parallel.h"
#include "strobe/models/gpt2_weights.h"
#include "strobe/train/checksum.h"
#include "strobe/train/metrics_file.h"
#include "strobe/train/trainer.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/files.h"

namespace strobe::testing {
namespace {

namespace fs = std::filesystem;

uint64_t checksum_of_text(std::string_view text) {
  return checksum(std::as_bytes(std::span(text)));
}

// Values of the published XXH64, and of the xxhsum program for the longer ones.
TEST(Checksum, IsXxh64) {
  EXPECT_EQ(checksum_of_text(""), 0xef46db3751d8e999);
  EXPECT_EQ(checksum_of_text("a"), 0xd24ec4f1a98c6e5b);
  EXPECT_EQ(checksum_of_text("abc"), 0x44bc2cf5ad770999);
  std::string bytes;
  for (int i = 0; i < 1003; ++i) bytes += static_cast<char>(i * 37 + 11);
  EXPECT_EQ(checksum_of_text(bytes.substr(0, 33)), 0x35ec49850475a832);
  EXPECT_EQ(checksum_of_text(bytes.substr(0, 100)), 0x4826e367566ea023);
  EXPECT_EQ(checksum_of_text(bytes), 0x14a8d9427f0822bc);
}

TEST(Checksum, OfAFileIsThatOfItsBytes) {
  const TemporaryFolder folder;
  for (const size_t size : {0, 5, 4096, (16 << 20) - 1, 16 << 20, (16 << 20) + 77}) {
    std::string content(size, 'x');
    if (size > 0) content[size / 2] = 'y';
    EXPECT_EQ(checksum_of_file(folder.file("content", content)), checksum_of_text(content)) << size;
  }
}

TEST(RewindMetrics, KeepsWhatTheCheckpointHadSeen) {
  const TemporaryFolder folder;
  const std::string kept =
      "{\"kind\":\"provenance\",\"options\":{\"steps\":9}}\n"
      "{\"kind\":\"step\",\"step\":1,\"loss\":5.25}\n"
      "{\"kind\":\"step\",\"step\":2,\"loss\":null}\n"
      "{\"kind\":\"validation\",\"step\":2}\n";
  const std::string path = folder.file("metrics.jsonl", kept +
                                                            "{\"kind\":\"checkpoint\",\"step\":3}\n"
                                                            "{\"kind\":\"step\",\"step\":3}\n"
                                                            "{\"kind\":\"summary\"}\n"
                                                            "{\"kind\":\"step\",\"st");
  rewind_metrics(path, 2);
  EXPECT_EQ(content_of(path), kept);
  rewind_metrics(path, 2);
  EXPECT_EQ(content_of(path), kept);
  rewind_metrics(folder.path() + "/missing", 2);
  EXPECT_FALSE(fs::exists(folder.path() + "/missing"));
}

class CheckpointFolderTest : public ::testing::Test {
 protected:
  CheckpointFolderTest() {
    set_thread_count(2);
    std::string text;
    for (int line = 0; line < 200; ++line) text += fmt::format("line {} of the text\n", line);
    options_.data = folder_.file("text", text);
    options_.n_layer = 1;
    options_.n_head = 2;
    options_.n_embd = 32;
    options_.n_positions = options_.seq = 24;
    options_.steps = 20;
    options_.warmup = 3;
    options_.out = folder_.path() + "/run";
  }

  // Saved after two steps.
  std::string save() {
    Trainer trainer(options_);
    trainer.step();
    trainer.step();
    return trainer.save().path;
  }

  TemporaryFolder folder_;
  TrainOptions options_;
};

TEST_F(CheckpointFolderTest, ATrainerGoesOnToTheBit) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    options_.dtype = dtype;
    options_.accumulation = dtype == DType::f32 ? 1 : 2;
    options_.out = folder_.path() + "/" + std::string(to_text(dtype));
    Trainer whole(options_);
    whole.step();
    whole.step();
    const std::string path = whole.save().path;
    const TrainOptions options = options_to_resume(path);
    Trainer resumed(options);
    EXPECT_EQ(resumed.steps_done(), 2);
    for (int i = 0; i < 5; ++i) {
      const StepMetrics a = whole.step(), b = resumed.step();
      EXPECT_EQ(a.loss, b.loss);
      EXPECT_EQ(a.grad_norm, b.grad_norm);
      EXPECT_EQ(a.learning_rate, b.learning_rate);
    }
    std::vector<Tensor> weights;
    whole.model().for_each_parameter([&](Parameter& p) { weights.push_back(p.master); });
    resumed.model().for_each_parameter([&](Parameter& p) {
      const Tensor& other = weights.front();
      EXPECT_EQ(std::memcmp(p.master.data, other.data, other.bytes()), 0) << p.hf_name;
      weights.erase(weights.begin());
    });
  }
}

TEST_F(CheckpointFolderTest, StateComesBackAsItWas) {
  options_.learning_rate = 1.0 / 3;
  options_.seed = UINT64_MAX;
  options_.accumulation = 3;
  const TrainingState state = read_training_state(save());
  EXPECT_EQ(state.step, 2);
  EXPECT_EQ(state.micro_batches, 6);
  EXPECT_EQ(state.loss_scale, 1);
  EXPECT_EQ(state.threads, 2);
  EXPECT_EQ(options_json(state.options), options_json(options_));
}

TEST_F(CheckpointFolderTest, ItGoesOnWhereItLies) {
  const std::string path = save();
  fs::rename(options_.out, folder_.path() + "/moved");
  const std::string moved = folder_.path() + "/moved/" + fs::path(path).filename().string();
  for (const std::string& given : {folder_.path() + "/moved", moved, moved + "/"}) {
    const TrainOptions options = options_to_resume(given);
    EXPECT_EQ(options.out, folder_.path() + "/moved");
    EXPECT_TRUE(fs::equivalent(options.resume, moved));
    EXPECT_EQ(options.tokenizer, "") << "bytes need none";
  }
}

TEST_F(CheckpointFolderTest, ARelativeNameStaysOne) {
  const std::string path = save();
  const fs::path before = fs::current_path();
  fs::current_path(folder_.path());
  EXPECT_EQ(options_to_resume("run").out, "run");
  EXPECT_EQ(options_to_resume("run/checkpoint-2/").out, "run");
  fs::current_path(path);
  EXPECT_EQ(options_to_resume(".").out, "..");
  fs::current_path(before);
}

TEST_F(CheckpointFolderTest, AModelOfAnotherShapeIsRefused) {
  const std::string path = save();
  Context ctx;
  Gpt2Config config = load_gpt2_config(path);
  config.n_layer = 2;
  Gpt2 deeper(ctx, config);
  EXPECT_NE(error_of([&] { load_checkpoint(ctx, deeper, path); }), "no error");
  config.n_layer = 1;
  config.vocab_size = 300;
  Gpt2 larger(ctx, config);
  const std::string error = error_of([&] { load_checkpoint(ctx, larger, path); });
  EXPECT_NE(error.find("[257, 32]"), std::string::npos) << error;
  EXPECT_NE(error.find("[300, 32]"), std::string::npos) << error;
}

TEST_F(CheckpointFolderTest, ALossScaleNeedsAType) {
  TrainingState state = read_training_state(save());
  EXPECT_EQ(error_of([&] { check_resumable(state, state.options); }), "no error");
  state.loss_scale = 2048;
  EXPECT_EQ(error_of([&] { check_resumable(state, state.options); }),
            "the checkpoint has a loss scale of 2048, allowed is 1: f32 needs none");
}

TEST_F(CheckpointFolderTest, OnlyWholeNamesAreCheckpoints) {
  for (const char* name : {"checkpoint-3", "checkpoint-20", "checkpoint-4.partial", "checkpoint-",
                           "checkpoint-5x", "other-6"}) {
    fs::create_directories(options_.out + "/" + name);
  }
  EXPECT_EQ(
      checkpoints_of(options_.out),
      (std::vector<std::string>{options_.out + "/checkpoint-3", options_.out + "/checkpoint-20"}));
  EXPECT_TRUE(checkpoints_of(options_.out + "/missing").empty());
}

}  // namespace
}  // namespace strobe::testing
