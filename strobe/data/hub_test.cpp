#include "strobe/data/hub.h"

#include <gtest/gtest.h>
#include <sys/file.h>

#include <cstdlib>
#include <filesystem>

#include "strobe/data/hub_cache.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/files.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using testing::content_of;
using testing::error_of;
using testing::TemporaryFolder;

constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";

class HubSettingsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name :
         {"HF_ENDPOINT", "HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME",
          "XDG_CACHE_HOME", "HF_HUB_OFFLINE", "HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"}) {
      unsetenv(name);
    }
    set("HOME", "/home/someone");
  }
  static void set(const char* name, const char* value) { setenv(name, value, 1); }
};

TEST_F(HubSettingsTest, TheCacheIsWhereHuggingFaceHubHasIt) {
  EXPECT_EQ(hub_settings().cache, "/home/someone/.cache/huggingface/hub");
  set("XDG_CACHE_HOME", "/caches");
  EXPECT_EQ(hub_settings().cache, "/caches/huggingface/hub");
  set("HF_HOME", "~/hf");
  EXPECT_EQ(hub_settings().cache, "/home/someone/hf/hub");
  set("HUGGINGFACE_HUB_CACHE", "/older");
  EXPECT_EQ(hub_settings().cache, "/older");
  set("HF_HUB_CACHE", "/hub");
  EXPECT_EQ(hub_settings().cache, "/hub");
  set("HF_HUB_CACHE", "");
  EXPECT_EQ(hub_settings().cache, "/older") << "empty is as good as not set";
}

TEST_F(HubSettingsTest, ReadsTheRest) {
  const HubSettings defaults = hub_settings();
  EXPECT_TRUE(defaults.endpoint.starts_with("https://"));
  EXPECT_EQ(defaults.token, "");
  EXPECT_FALSE(defaults.is_offline);
  set("HF_ENDPOINT", "http://127.0.0.1:8080/mirror//");
  set("HF_TOKEN", " hf_abc\n");
  set("HF_HUB_OFFLINE", "yes");
  set("HF_HUB_ETAG_TIMEOUT", "3");
  set("HF_HUB_DOWNLOAD_TIMEOUT", "1.5");
  const HubSettings settings = hub_settings();
  EXPECT_EQ(settings.endpoint, "http://127.0.0.1:8080/mirror");
  EXPECT_EQ(settings.token, "hf_abc");
  EXPECT_TRUE(settings.is_offline);
  EXPECT_EQ(settings.answer_timeout_s, 3);
  EXPECT_EQ(settings.stall_timeout_s, 1.5);
}

TEST_F(HubSettingsTest, WhatCannotBeMeantIsAnError) {
  const auto error = [] { return error_of(hub_settings); };
  set("HF_ENDPOINT", "ftp://hub");
  EXPECT_EQ(error(),
            "HF_ENDPOINT is 'ftp://hub', allowed is an address that begins with https:// or "
            "http://");
  unsetenv("HF_ENDPOINT");
  set("HF_TOKEN", "secret\r\nX-Other: 1");
  EXPECT_NE(error().find("HF_TOKEN has characters"), std::string::npos);
  EXPECT_EQ(error().find("secret"), std::string::npos) << "a token is never shown";
  unsetenv("HF_TOKEN");
  for (const char* value : {"0", "-1", "soon", "1e9", "nan"}) {
    set("HF_HUB_ETAG_TIMEOUT", value);
    EXPECT_NE(error().find(fmt::format("HF_HUB_ETAG_TIMEOUT is '{}'", value)), std::string::npos);
  }
}

TEST(ModelNameTest, IsWhatAHubAllows) {
  for (const char* name : {"gpt2", "openai-community/gpt2", "A_b-c.9/x", "a"}) {
    EXPECT_TRUE(is_model_name(name)) << name;
  }
  for (const char* text :
       {"",   "/",  "a/",   "/a",   "a/b/c", "./gpt2", "../gpt2", "a..b", "a--b", "-a", "a-",
        ".a", "a.", "a/.b", "a./b", "a.git", "a b",    "a\n",     "ä",    "a\\b", "~"}) {
    EXPECT_FALSE(is_model_name(text)) << text;
  }
  EXPECT_TRUE(is_model_name(std::string(96, 'a')));
  EXPECT_FALSE(is_model_name(std::string(97, 'a')));
}

TEST(InnerPathTest, NeverLeadsOut) {
  for (const char* path : {"config.json", "onnx/model.onnx", "a..b", "refs/pr/1", ".hidden"}) {
    EXPECT_TRUE(is_inner_path(path)) << path;
  }
  for (const char* path : {"", ".", "..", "/", "/etc/passwd", "a/../../b", "a//b", "a/", "a/.",
                           "a\\b", "a\nb", "a b", "\x7f"}) {
    EXPECT_FALSE(is_inner_path(path)) << path;
  }
  EXPECT_FALSE(is_inner_path(std::string(300, 'a')));
}

class CachedModelTest : public HubSettingsTest {
 protected:
  void SetUp() override {
    HubSettingsTest::SetUp();
    set("HF_HUB_CACHE", folder_.path().c_str());
  }
  // A blob and the link to it.
  void add_file(const std::string& name, const std::string& etag) const {
    model_.make_folders(etag);
    folder_.file("models--owner--tiny/blobs/" + etag, "content of " + name);
    model_.link_file(kCommit, name, etag);
  }

  TemporaryFolder folder_;
  CachedModel model_ = CachedModel(folder_.path(), "owner/tiny");
};

TEST_F(CachedModelTest, HasHuggingFaceHubsLayout) {
  add_file("config.json", "abc");
  add_file("onnx/model.onnx", "def");
  model_.set_commit("main", kCommit);
  model_.set_commit("refs/pr/1", kCommit);
  model_.set_commit(kCommit, kCommit);  // a commit needs no ref
  model_.note_absent(kCommit, "tokenizer.json");

  const fs::path root = folder_.path() + "/models--owner--tiny";
  const fs::path snapshot = root / "snapshots" / kCommit;
  EXPECT_EQ(fs::read_symlink(snapshot / "config.json"), "../../blobs/abc");
  EXPECT_EQ(fs::read_symlink(snapshot / "onnx/model.onnx"), "../../../blobs/def");
  EXPECT_EQ(content_of(snapshot / "onnx/model.onnx"), "content of onnx/model.onnx");
  EXPECT_EQ(content_of(root / "refs/main"), kCommit) << "and no line break after it";
  EXPECT_EQ(content_of(root / "refs/refs/pr/1"), kCommit);
  EXPECT_FALSE(fs::exists(root / "refs" / kCommit));
  EXPECT_TRUE(fs::is_empty(root / ".no_exist" / kCommit / "tokenizer.json"));
  EXPECT_TRUE(content_of(folder_.path() + "/CACHEDIR.TAG")
                  .starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"));
  EXPECT_EQ(model_.lock_path("abc"), folder_.path() + "/.locks/models--owner--tiny/abc.lock");

  EXPECT_EQ(model_.commit_of("main"), kCommit);
  EXPECT_EQ(model_.commit_of("v1"), "");
  EXPECT_TRUE(model_.has_file(kCommit, "config.json"));
  EXPECT_FALSE(model_.has_file(kCommit, "vocab.json"));
  EXPECT_TRUE(model_.is_known_absent(kCommit, "tokenizer.json"));
  EXPECT_FALSE(model_.is_known_absent(kCommit, "config.json"));
}

TEST_F(CachedModelTest, ALinkIsReplaced) {
  add_file("config.json", "abc");
  add_file("config.json", "def");
  EXPECT_EQ(fs::read_symlink(model_.snapshot_folder(kCommit) + "/config.json"), "../../blobs/def");
}

TEST_F(CachedModelTest, ResolvesFoldersAndNames) {
  EXPECT_EQ(resolve_model(folder_.path()), folder_.path());
  EXPECT_EQ(error_of([] { resolve_model("owner/tiny"); }),
            fmt::format("there is no folder 'owner/tiny', and no model of that name in {}: `strobe "
                        "fetch owner/tiny` loads it",
                        folder_.path()));
  add_file("config.json", "abc");
  EXPECT_NE(error_of([] { resolve_model("owner/tiny"); }), "no error") << "no branch leads there";
  model_.set_commit("main", kCommit);
  EXPECT_EQ(resolve_model("owner/tiny"), model_.snapshot_folder(kCommit));
  EXPECT_EQ(error_of([] { resolve_model("./tiny"); }),
            "'./tiny' is neither a folder nor a model's name (NAME or OWNER/NAME)");
  const std::string file = folder_.file("file", "");
  EXPECT_NE(error_of([&] { resolve_model(file); }), "no error");
}

TEST_F(CachedModelTest, ARefThatIsNoCommitLeadsNowhere) {
  fs::create_directories(folder_.path() + "/models--owner--tiny/refs");
  folder_.file("models--owner--tiny/refs/main", "../../../../etc");
  EXPECT_EQ(model_.commit_of("main"), "");
  EXPECT_NE(error_of([] { resolve_model("owner/tiny"); }), "no error");
}

TEST(FileLockTest, OneAtATime) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/a.lock";
  int asked = 0;
  {
    const FileLock first(path, [] { return false; });
    EXPECT_TRUE(first.is_held());
    const FileLock second(path, [&] { return ++asked < 3; });
    EXPECT_FALSE(second.is_held());
    EXPECT_EQ(asked, 3);
  }
  EXPECT_TRUE(FileLock(path, [] { return false; }).is_held()) << "and it is let go";
  EXPECT_TRUE(fs::exists(path));
}

}  // namespace
}  // namespace strobe
