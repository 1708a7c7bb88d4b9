#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "strobe/data/hub_cache.h"
#include "strobe/data/hub_fetch.h"
#include "strobe/data/hub_testing.h"
#include "tests/testkit/errors.h"
#include "tests/testkit/files.h"

namespace strobe::testing {

// A hub with a small GPT-2, a cache that is empty, and fetch_model() between them.
class FetchTest : public ::testing::Test {
 protected:
  FetchTest() {
    settings_.endpoint = hub_.endpoint();
    settings_.cache = folder_.path() + "/cache";
    settings_.answer_timeout_s = settings_.stall_timeout_s = 5;
    settings_.first_retry_pause_s = 0.001;
    hub_.small_files = {{"config.json", "{\"model_type\": \"gpt2\"}"},
                        {"vocab.json", "{\"a\": 0}"},
                        {"merges.txt", "#version: 0.2\n"},
                        {"README.md", "not wanted"}};
    hub_.large_files = {{"model.safetensors", weights_}};
    hub_.storage = hub_.other_host();
  }

  std::string fetch(const std::vector<std::string>& files = {},
                    const std::string& revision = "main") {
    const auto folder =
        fetch_model(settings_, {.model = hub_.model, .revision = revision, .files = files},
                    {.note = [&](const std::string& line) { notes_ += line + "\n"; },
                     .should_stop = should_stop_});
    return folder.value_or("stopped");
  }
  std::string error_of_fetch(const std::vector<std::string>& files = {},
                             const std::string& revision = "main") {
    return error_of([&] { fetch(files, revision); });
  }
  std::string snapshot() const { return cached().snapshot_folder(hub_.commit); }
  CachedModel cached() const { return CachedModel(settings_.cache, hub_.model); }
  std::string incomplete_weights() const { return cached().incomplete_path(sha256_of(weights_)); }
  // GET requests for the weights' content.
  std::vector<HubRequest> weight_requests() const {
    std::vector<HubRequest> some = hub_.requests("GET");
    std::erase_if(some, [](const HubRequest& request) {
      return !request.path.starts_with("/storage/model.safetensors");
    });
    return some;
  }
  // Changes the answers that carry the weights.
  void tamper_with_weights(const std::function<void(const HubRequest&, HubReply&)>& tamper) {
    hub_.tamper = [tamper](const HubRequest& request, HubReply& reply) {
      if (request.path.starts_with("/storage/")) tamper(request, reply);
    };
  }
  void expect_weights_are_there() const {
    EXPECT_EQ(content_of(snapshot() + "/model.safetensors"), weights_);
    EXPECT_FALSE(std::filesystem::exists(incomplete_weights()));
  }

  const std::string weights_ = noise(300'000);
  TemporaryFolder folder_;
  HubSettings settings_;
  std::string notes_;
  std::function<bool()> should_stop_;
  TestHub hub_;
};

}  // namespace strobe::testing
