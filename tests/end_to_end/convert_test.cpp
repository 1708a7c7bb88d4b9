// strobe convert, and what strobe info says of a model.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/end_to_end/program.h"

namespace strobe::testing {
namespace {

namespace fs = std::filesystem;

const std::string kGolden = STROBE_SOURCE_DIR "/tests/golden/";

TEST(Convert, ThereAndBackIsTheSameFile) {
  const TemporaryFolder folder;
  const std::string bare = folder.path() + "/bare", back = folder.path() + "/back";
  const ProgramResult away =
      run_strobe({"convert", kGolden + "weights_f32", bare, "--prefix", "none"});
  EXPECT_EQ(away.exit_code, 0) << away.error;
  EXPECT_EQ(away.out, bare + ": 7824 parameters, f32, 31.3 kB\n");
  const std::string header = R"({"__metadata__":{"format":"pt"},"h.0.attn.c_attn.bias":)";
  EXPECT_NE(content_of(bare + "/model.safetensors").find(header), std::string::npos);
  EXPECT_EQ(run_strobe({"convert", bare, back}).exit_code, 0);
  EXPECT_EQ(content_of(back + "/model.safetensors"),
            content_of(kGolden + "weights_f32/model.safetensors"));
  EXPECT_EQ(content_of(back + "/config.json"), content_of(kGolden + "weights_f32/config.json"));
}

TEST(Convert, ChangesTheTypeAndTakesTheTokenizerAlong) {
  const TemporaryFolder folder;
  const std::string from = folder.path() + "/from", to = folder.path() + "/to";
  fs::copy(kGolden + "weights_sharded_bf16", from);
  folder.file("from/vocab.json", "{}");
  folder.file("from/merges.txt", "#version: 0.2\n");
  folder.file("from/notes.txt", "mine");
  const ProgramResult result = run_strobe({"convert", from, to, "--dtype", "f16"});
  EXPECT_EQ(result.out, to + ": 8784 parameters, f16, 17.6 kB\n") << result.error;
  EXPECT_NE(content_of(to + "/config.json").find("float16"), std::string::npos);
  EXPECT_EQ(content_of(to + "/merges.txt"), "#version: 0.2\n");
  EXPECT_TRUE(fs::exists(to + "/vocab.json"));
  EXPECT_FALSE(fs::exists(to + "/notes.txt"));
}

TEST(InfoOfAModel, NamesSizeTypeAndTokenizer) {
  const std::string golden = kGolden + "weights_sharded_bf16";
  const ProgramResult text = run_strobe({"info", "--model", golden});
  EXPECT_EQ(text.exit_code, 0) << text.error;
  EXPECT_EQ(text.out.find("Model\n  folder        " + golden +
                          "\n  parameters    8784\n  dtype         bf16\n"
                          "  size          17.6 kB\n  tokenizer     none\n"),
            0u)
      << text.out;
  const Json json = Json::parse(run_strobe({"info", "--model", golden, "--json"}).out);
  EXPECT_EQ(json.at("parameters"), 8784);
  EXPECT_EQ(json.at("config").at("n_embd"), 24);
  EXPECT_EQ(run_strobe({"info", "--model", kGolden}).exit_code, 1);
}

TEST(Convert, ErrorsAreOneLine) {
  const TemporaryFolder folder;
  const std::string golden = kGolden + "weights_f32", to = folder.path() + "/to";
  const auto expect_error = [](const std::vector<std::string>& arguments, int code,
                               const std::string& message) {
    const ProgramResult result = run_strobe(arguments);
    EXPECT_EQ(result.exit_code, code);
    EXPECT_EQ(result.error, "strobe: " + message + "\n");
  };
  expect_error({"convert", golden}, 2, "TO is required");
  expect_error({"convert", golden, to, "--dtype", "f8"}, 2,
               "--dtype is 'f8', allowed are same|f32|f16|bf16");
  expect_error({"convert", golden, to, "--max-shard", "0"}, 2,
               "--max-shard is '0', allowed is a whole number from 1 to 1000000000");
  expect_error({"convert", golden, golden}, 1,
               "'" + golden + "' is the folder that is converted; allowed is another one");
  expect_error({"convert", folder.path(), to}, 1,
               "'" + folder.path() + "' has no config.json: it is not the folder of a model");
  EXPECT_FALSE(fs::exists(to));
  const std::string file = folder.file("file", "");
  expect_error({"convert", golden, file}, 1,
               "cannot create the folder '" + file + "': Not a directory");
}

}  // namespace
}  // namespace strobe::testing
