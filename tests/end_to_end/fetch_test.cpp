// `strobe fetch` as a user meets it, against a hub on this machine. What else can go wrong on the
// way is in strobe/data/hub_failure_test.cpp.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <thread>

#include "strobe/core/clock.h"
#include "strobe/data/hub_cache.h"
#include "strobe/data/hub_testing.h"
#include "tests/end_to_end/program.h"
#include "tests/testkit/files.h"

namespace strobe::testing {
namespace {

namespace fs = std::filesystem;

// Waits until that is so, but not forever.
void wait_until(const std::function<bool()>& is_so) {
  const Stopwatch watch;
  while (!is_so() && watch.seconds() < 20) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

class FetchProgramTest : public ::testing::Test {
 protected:
  FetchProgramTest() {
    hub_.small_files = {{"config.json", "{\"model_type\": \"gpt2\"}"}};
    hub_.large_files = {{"model.safetensors", weights_}};
    hub_.storage = hub_.other_host();
  }

  ProgramResult fetch(const std::vector<std::string>& options = {},
                      const std::function<void(pid_t)>& while_it_runs = {}) const {
    std::vector<std::string> words = {"fetch", hub_.model};
    words.insert(words.end(), options.begin(), options.end());
    return run_strobe(words, {.environment = environment_, .while_it_runs = while_it_runs});
  }

  // A fetch that gets this signal once a third of the weights are there.
  ProgramResult fetch_until(int signal) {
    hub_.tamper = [](const HubRequest&, HubReply& reply) { reply.bytes_per_s = 1'000'000; };
    return fetch({}, [&](pid_t program) {
      wait_until([&] { return hub_.body_bytes() >= weights_.size() / 3; });
      kill(program, signal);
    });
  }

  // The next fetch loads the rest and no more.
  void expect_fetch_goes_on() {
    const std::string beginning = content_of(incomplete_);
    EXPECT_GT(beginning.size(), weights_.size() / 4);
    EXPECT_EQ(beginning, weights_.substr(0, beginning.size()));
    hub_.tamper = nullptr;
    const ProgramResult result = fetch();
    EXPECT_EQ(result.exit_code, 0) << result.error;
    EXPECT_EQ(hub_.requests("GET").back().header("range"),
              fmt::format("bytes={}-", beginning.size()));
    EXPECT_EQ(content_of(snapshot_ + "/model.safetensors"), weights_);
    EXPECT_FALSE(fs::exists(incomplete_));
  }

  const std::string weights_ = noise(600'000);
  TemporaryFolder folder_;
  TestHub hub_;
  const std::vector<std::string> environment_ = {
      "HF_ENDPOINT=" + hub_.endpoint(), "HF_HOME=" + folder_.path(), "HF_HUB_CACHE=",
      "HUGGINGFACE_HUB_CACHE=",         "HF_TOKEN=hf_abc",           "HF_HUB_OFFLINE=",
      "HF_HUB_ETAG_TIMEOUT=",           "HF_HUB_DOWNLOAD_TIMEOUT=",  "http_proxy=",
  };
  const CachedModel cached_ = CachedModel(folder_.path() + "/hub", hub_.model);
  const std::string snapshot_ = cached_.snapshot_folder(hub_.commit);
  const std::string incomplete_ = cached_.incomplete_path(sha256_of(weights_));
};

TEST_F(FetchProgramTest, PrintsTheFolder) {
  const ProgramResult result = fetch();
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(result.out, snapshot_ + "\n");
  EXPECT_NE(result.error.find("config.json [####"), std::string::npos) << result.error;
  EXPECT_NE(result.error.find("model.safetensors [####"), std::string::npos) << result.error;
  EXPECT_EQ(content_of(snapshot_ + "/model.safetensors"), weights_);

  const ProgramResult again = fetch();
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_EQ(again.out, snapshot_ + "\n");
  EXPECT_EQ(again.error, "") << "nothing to load";
}

TEST_F(FetchProgramTest, LoadsOtherFilesAndRevisions) {
  hub_.small_files["README.md"] = "read me";
  const ProgramResult result =
      fetch({"--revision", "refs/pr/1", "--files", "README.md,config.json"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(content_of(snapshot_ + "/README.md"), "read me");
  EXPECT_FALSE(fs::exists(snapshot_ + "/model.safetensors"));
  EXPECT_EQ(cached_.commit_of("refs/pr/1"), hub_.commit);
}

TEST_F(FetchProgramTest, CtrlCKeepsWhatCame) {
  const ProgramResult result = fetch_until(SIGINT);
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.error.find("stopped; what was loaded is kept"), std::string::npos);
  expect_fetch_goes_on();
}

TEST_F(FetchProgramTest, AKilledFetchGoesOnToo) {
  EXPECT_EQ(fetch_until(SIGKILL).exit_code, 128 + SIGKILL);
  expect_fetch_goes_on();
}

TEST_F(FetchProgramTest, TwoAtOnceLoadEachFileOnce) {
  const auto both_asked_for_the_weights = [&] {
    return std::ranges::any_of(hub_.requests("HEAD"), [](const HubRequest& request) {
      return request.path.ends_with("/model.safetensors") && request.earlier > 0;
    });
  };
  hub_.tamper = [&](const HubRequest& request, HubReply& reply) {
    if (!request.path.starts_with("/storage/")) return;
    wait_until(both_asked_for_the_weights);
    reply.bytes_per_s = 500'000;
  };
  ProgramResult other;
  const ProgramResult one = fetch({}, [&](pid_t) { other = fetch(); });
  for (const ProgramResult& result : {one, other}) {
    EXPECT_EQ(result.exit_code, 0) << result.error;
    EXPECT_EQ(result.out, snapshot_ + "\n");
  }
  EXPECT_EQ(content_of(snapshot_ + "/model.safetensors"), weights_);
  EXPECT_EQ(hub_.body_bytes(), weights_.size() + hub_.small_files["config.json"].size() +
                                   std::string("Found. Redirecting").size())
      << "no byte twice";
  EXPECT_NE((one.error + other.error).find("another process loads it; waiting"), std::string::npos);
}

TEST_F(FetchProgramTest, ErrorsAreOneLine) {
  const auto expect_failure = [](const ProgramResult& result, int exit_code,
                                 const std::string& text) {
    EXPECT_EQ(result.exit_code, exit_code);
    EXPECT_EQ(result.out, "");
    EXPECT_TRUE(result.error.starts_with("strobe: ")) << result.error;
    EXPECT_EQ(std::ranges::count(result.error, '\n'), 1) << result.error;
    EXPECT_NE(result.error.find(text), std::string::npos) << result.error << "lacks: " << text;
  };
  const auto run = [&](const std::vector<std::string>& words) {
    return run_strobe(words, {.environment = environment_});
  };
  expect_failure(run({"fetch"}), 2, "NAME");
  expect_failure(run({"fetch", "a", "b"}), 2, "'b'");
  expect_failure(run({"fetch", "owner/tiny", "--revison", "v1"}), 2, "'--revison'");
  expect_failure(run({"fetch", "../tiny"}), 1, "'../tiny' is no model's name");
  expect_failure(run({"fetch", "owner/huge"}), 1, "there is no model 'owner/huge'");
  expect_failure(fetch({"--revision", "v7"}), 1, "there is no revision 'v7' of 'owner/tiny'");
  expect_failure(fetch({"--files", "nothing.bin"}), 1, "has no file 'nothing.bin'");
  hub_.token = "hf_other";
  const ProgramResult refused = fetch();
  expect_failure(refused, 1, "the token in HF_TOKEN may not read it");
  EXPECT_EQ(refused.error.find("hf_abc"), std::string::npos) << "a token is never shown";
}

}  // namespace
}  // namespace strobe::testing
