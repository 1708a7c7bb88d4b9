// fetch_model() where something goes wrong on the way: connections that break, hubs that are busy,
// silent or lie, disks that are full, people who press Ctrl-C.
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "strobe/core/clock.h"
#include "strobe/data/hub_fetch.h"
#include "strobe/data/hub_fetch_testing.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using testing::content_of;
using testing::error_of;
using testing::FetchTest;
using testing::HubReply;
using testing::HubRequest;

TEST_F(FetchTest, ABrokenTransferGoesOnWhereItBroke) {
  tamper_with_weights([](const HubRequest& request, HubReply& reply) {
    if (request.earlier < 8) reply.cut_after = 20'000;  // more breaks than tries: each gains
  });
  fetch();
  expect_weights_are_there();
  const std::vector<HubRequest> requests = weight_requests();
  ASSERT_EQ(requests.size(), 9u);
  EXPECT_FALSE(requests[0].headers.contains("range"));
  EXPECT_EQ(requests[1].header("range"), "bytes=20000-");
  EXPECT_EQ(requests[8].header("range"), "bytes=160000-");
  EXPECT_EQ(hub_.body_bytes(), 300'000u + 22 + 8 + 14 + 18 * 9) << "no byte twice";
}

TEST_F(FetchTest, ALaterFetchGoesOnToo) {
  tamper_with_weights([](const HubRequest& request, HubReply& reply) {
    reply.cut_after = request.earlier == 0 ? 100'000 : 0;
  });
  const std::string error = error_of_fetch();
  EXPECT_TRUE(error.starts_with("cannot load 'model.safetensors' of 'owner/tiny' from ")) << error;
  EXPECT_TRUE(
      error.ends_with("tried 5 times; the first 100000 bytes are kept, the next fetch goes on "
                      "there"))
      << error;
  EXPECT_EQ(content_of(incomplete_weights()), weights_.substr(0, 100'000));
  EXPECT_EQ(cached().commit_of("main"), "") << "what is not whole has no name";
  hub_.tamper = nullptr;
  fetch();
  expect_weights_are_there();
  EXPECT_EQ(weight_requests().back().header("range"), "bytes=100000-");
}

TEST_F(FetchTest, AServerThatDoesNotDoRangesBeginsAnew) {
  tamper_with_weights([&](const HubRequest& request, HubReply& reply) {
    reply = {.body = weights_};
    if (request.earlier == 0) reply.cut_after = 100'000;
  });
  fetch();
  expect_weights_are_there();
  EXPECT_EQ(weight_requests().size(), 2u);
}

TEST_F(FetchTest, AServerThatNeverGetsFurtherIsGivenUp) {
  tamper_with_weights([&](const HubRequest&, HubReply& reply) {
    reply = {.body = weights_, .cut_after = 100'000};
  });
  EXPECT_NE(error_of_fetch().find("tried 5 times"), std::string::npos);
  EXPECT_LE(weight_requests().size(), 6u);
}

TEST_F(FetchTest, AnotherRangeThanAskedIsAnError) {
  tamper_with_weights([&](const HubRequest& request, HubReply& reply) {
    if (request.earlier == 0) reply.cut_after = 100'000;
    if (request.earlier == 1) reply.headers["Content-Range"] = "bytes 50-299999/300000";
  });
  EXPECT_NE(error_of_fetch().find("from byte 100000 on"), std::string::npos);
  hub_.tamper = nullptr;
  fetch();
  expect_weights_are_there();
}

TEST_F(FetchTest, WrongContentIsRemoved) {
  tamper_with_weights([&](const HubRequest&, HubReply& reply) { reply.body[1234] ^= 1; });
  EXPECT_EQ(error_of_fetch(),
            fmt::format("'model.safetensors' of 'owner/tiny' is not what {} says: its hash is not "
                        "{}; it was removed",
                        hub_.endpoint(), testing::sha256_of(weights_)));
  EXPECT_FALSE(fs::exists(incomplete_weights()));
  EXPECT_FALSE(fs::exists(snapshot() + "/model.safetensors"));
  hub_.tamper = [&](const HubRequest& request, HubReply& reply) {  // a small one: git's hash
    if (request.path.ends_with("vocab.json") && request.method == "GET") reply.body[2] ^= 1;
  };
  settings_.cache += "2";
  EXPECT_NE(error_of_fetch().find("'vocab.json' of 'owner/tiny' is not what"), std::string::npos);
}

TEST_F(FetchTest, AWrongBeginningIsReplaced) {
  cached().make_folders("any");
  folder_.file(fs::relative(incomplete_weights(), folder_.path()), std::string(5000, 'x'));
  fetch();
  expect_weights_are_there();
  EXPECT_EQ(weight_requests().size(), 2u);
  EXPECT_NE(notes_.find("loading it anew"), std::string::npos) << notes_;
}

TEST_F(FetchTest, ABeginningThatIsTooLongIsReplaced) {
  cached().make_folders("any");
  folder_.file(fs::relative(incomplete_weights(), folder_.path()), std::string(300'001, 'x'));
  fetch();
  expect_weights_are_there();
}

TEST_F(FetchTest, ABeginningThatIsWholeIsOnlyChecked) {
  cached().make_folders("any");
  folder_.file(fs::relative(incomplete_weights(), folder_.path()), weights_);
  fetch();
  expect_weights_are_there();
  EXPECT_EQ(weight_requests().size(), 0u);
}

TEST_F(FetchTest, MoreThanWasSaidIsAnError) {
  tamper_with_weights([](const HubRequest&, HubReply& reply) { reply.body += "more"; });
  EXPECT_EQ(
      error_of_fetch(),
      fmt::format("'model.safetensors' of 'owner/tiny' has more than the 300000 bytes that {} "
                  "says",
                  hub_.endpoint()));
}

TEST_F(FetchTest, LessThanWasSaidIsAnError) {
  // A whole answer by its own account.
  tamper_with_weights([&](const HubRequest& request, HubReply& reply) {
    if (request.earlier == 0) {
      reply.body.resize(1000);
    } else {
      reply = {.status = 416};
    }
  });
  const std::string error = error_of_fetch();
  EXPECT_NE(error.find("tried 5 times"), std::string::npos) << error;
  EXPECT_NE(notes_.find("it ended after 1000 of 300000 bytes"), std::string::npos) << notes_;
}

TEST_F(FetchTest, AHubThatIsBusyIsAskedAgain) {
  for (const int status : {408, 429, 500, 502, 503, 504}) {
    settings_.cache = folder_.path() + fmt::format("/{}", status);
    hub_.tamper = [&](const HubRequest& request, HubReply& reply) {
      const bool is_new = request.earlier % 3 != 2;
      if (is_new) reply = {.status = status, .headers = {{"Retry-After", "0"}}};
    };
    EXPECT_EQ(fetch({"config.json"}), snapshot()) << status;
  }
  hub_.tamper = [&](const HubRequest&, HubReply& reply) { reply = {.status = 503}; };
  settings_.cache = folder_.path() + "/never";
  EXPECT_EQ(error_of_fetch(),
            fmt::format("cannot load 'config.json' of 'owner/tiny' from {}: status 503; tried 5 "
                        "times",
                        hub_.endpoint()));
}

TEST_F(FetchTest, WaitsAsLongAsTheHubAsks) {
  hub_.tamper = [&](const HubRequest& request, HubReply& reply) {
    if (request.earlier == 0) reply = {.status = 429, .headers = {{"Retry-After", "1"}}};
  };
  const Stopwatch watch;
  fetch({"config.json"});
  EXPECT_GT(watch.seconds(), 2) << "HEAD and GET, one second each";
  EXPECT_NE(notes_.find("config.json: status 429; next try in 1 s"), std::string::npos) << notes_;
}

TEST_F(FetchTest, SilenceIsNotWaitedForForever) {
  settings_.answer_timeout_s = settings_.stall_timeout_s = 0.3;
  hub_.tamper = [](const HubRequest& request, HubReply& reply) {
    if (request.earlier > 0) return;
    reply.is_silent = true;
    reply.cut_after = request.method == "HEAD" ? 0 : 10;
  };
  const Stopwatch watch;
  fetch({"config.json"});
  EXPECT_LT(watch.seconds(), 4);
  EXPECT_NE(notes_.find("nothing came for 0.3 s"), std::string::npos) << notes_;
  EXPECT_EQ(content_of(snapshot() + "/config.json"), hub_.small_files["config.json"]);
}

TEST_F(FetchTest, ASlowServerIsNotASilentOne) {
  settings_.stall_timeout_s = 0.3;
  tamper_with_weights([](const HubRequest&, HubReply& reply) { reply.bytes_per_s = 300'000; });
  fetch();
  expect_weights_are_there();
  EXPECT_EQ(weight_requests().size(), 1u);
}

TEST_F(FetchTest, NobodyThere) {
  settings_.endpoint = "http://127.0.0.1:1";
  const std::string error = error_of_fetch();
  EXPECT_TRUE(
      error.starts_with("cannot load 'config.json' of 'owner/tiny' from "
                        "http://127.0.0.1:1: "))
      << error;
  EXPECT_NE(error.find("connect"), std::string::npos) << error;
}

TEST_F(FetchTest, AFullDiskIsAnErrorThatNamesTheFile) {
  cached().make_folders("any");
  fs::create_symlink("/dev/full", incomplete_weights());
  EXPECT_EQ(error_of_fetch(),
            fmt::format("cannot write '{}': No space left on device", incomplete_weights()));
}

TEST_F(FetchTest, TooLittleSpaceIsSeenBeforehand) {
  hub_.tamper = [](const HubRequest& request, HubReply& reply) {
    if (request.path.ends_with("/model.safetensors")) {
      reply.headers["X-Linked-Size"] = "9000000000000000000";
    }
  };
  const std::string error = error_of_fetch();
  EXPECT_TRUE(
      error.starts_with("no space left for 'model.safetensors': it takes "
                        "9000000000000000000 bytes more"))
      << error;
  EXPECT_EQ(weight_requests().size(), 0u);
}

TEST_F(FetchTest, ACacheThatCannotBeWritten) {
  settings_.cache = folder_.file("file", "") + "/cache";
  EXPECT_NE(error_of_fetch().find("cannot create the folder"), std::string::npos);
}

TEST_F(FetchTest, StoppingKeepsWhatCame) {
  tamper_with_weights([](const HubRequest&, HubReply& reply) { reply.bytes_per_s = 1'000'000; });
  should_stop_ = [&] { return hub_.body_bytes() > 50'000; };
  EXPECT_EQ(fetch(), "stopped");
  const std::string beginning = content_of(incomplete_weights());
  EXPECT_GT(beginning.size(), 0u);
  EXPECT_EQ(beginning, weights_.substr(0, beginning.size()));
  should_stop_ = nullptr;
  fetch();
  expect_weights_are_there();
  EXPECT_EQ(weight_requests().back().header("range"), fmt::format("bytes={}-", beginning.size()));
}

TEST_F(FetchTest, StopsWhileItWaits) {
  hub_.tamper = [](const HubRequest&, HubReply& reply) {
    reply = {.status = 503, .headers = {{"Retry-After", "50"}}};
  };
  const Stopwatch watch;
  should_stop_ = [&] { return watch.seconds() > 0.3; };
  EXPECT_EQ(fetch(), "stopped");
  hub_.tamper = [](const HubRequest&, HubReply& reply) {
    reply.is_silent = true;
    reply.cut_after = 0;
  };
  EXPECT_EQ(fetch(), "stopped");
  EXPECT_LT(watch.seconds(), 5);
}

TEST_F(FetchTest, WhatAnotherProcessLoadsIsWaitedFor) {
  const std::string etag = testing::sha256_of(weights_);
  cached().make_folders(etag);
  std::optional<FileLock> other(std::in_place, cached().lock_path(etag), [] { return false; });
  const auto folder =
      fetch_model(settings_, {.model = hub_.model}, {.note = [&](const std::string& line) {
                    EXPECT_EQ(line, "model.safetensors: another process loads it; waiting");
                    folder_.file(fs::relative(cached().blob_path(etag), folder_.path()), weights_);
                    other.reset();
                  }});
  EXPECT_EQ(folder, snapshot());
  EXPECT_FALSE(other.has_value()) << "it waited";
  expect_weights_are_there();
  EXPECT_EQ(weight_requests().size(), 0u);
}

TEST_F(FetchTest, AnEtagThatIsNoHashIsSaid) {
  hub_.tamper = [](const HubRequest&, HubReply& reply) { reply.headers["ETag"] = "W/\"v7\""; };
  fetch({"vocab.json"});
  EXPECT_EQ(notes_, fmt::format("vocab.json: {} says no hash of it, only its length was checked\n",
                                hub_.endpoint()));
  EXPECT_EQ(fs::read_symlink(snapshot() + "/vocab.json"), "../../blobs/v7");
}

}  // namespace
}  // namespace strobe
