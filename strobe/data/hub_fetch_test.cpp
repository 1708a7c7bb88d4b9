// fetch_model() against a hub that behaves: what it loads, what it says, what it never says.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

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
using testing::noise;
using testing::TestHub;

TEST_F(FetchTest, LoadsWhatAModelNeeds) {
  EXPECT_EQ(fetch(), snapshot());
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(snapshot())) {
    EXPECT_TRUE(entry.is_symlink());
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{"config.json", "merges.txt", "model.safetensors",
                                             "vocab.json"}));
  for (const auto& [name, content] : hub_.small_files) {
    if (name != "README.md") {
      EXPECT_EQ(content_of(snapshot() + "/" + name), content);
    }
  }
  expect_weights_are_there();
  EXPECT_EQ(fs::read_symlink(snapshot() + "/model.safetensors"),
            "../../blobs/" + testing::sha256_of(weights_));
  EXPECT_EQ(cached().commit_of("main"), hub_.commit);
  EXPECT_EQ(notes_, "");
}

TEST_F(FetchTest, WhatIsThereIsNotLoadedAgain) {
  fetch();
  const size_t before = hub_.requests().size();
  EXPECT_EQ(fetch(), snapshot());
  EXPECT_EQ(hub_.requests().size(), before + 1) << "which commit main means now";
  EXPECT_EQ(fetch({}, hub_.commit), snapshot());
  EXPECT_EQ(hub_.requests().size(), before + 1) << "a commit never changes";
  fs::remove(snapshot() + "/vocab.json");
  fetch();
  EXPECT_EQ(hub_.requests("GET").size(), 5u) << "4 files, one by a redirect";
  EXPECT_TRUE(fs::exists(snapshot() + "/vocab.json")) << "its blob is linked again";
}

TEST_F(FetchTest, ANewCommitSharesWhatIsUnchanged) {
  fetch();
  const std::string old_folder = snapshot();
  hub_.commit = std::string(40, 'f');
  hub_.small_files["vocab.json"] = "{\"b\": 0}";
  const size_t before = hub_.requests("GET").size();
  EXPECT_EQ(fetch(), snapshot());
  EXPECT_EQ(hub_.requests("GET").size(), before + 1);
  EXPECT_EQ(content_of(snapshot() + "/vocab.json"), "{\"b\": 0}");
  EXPECT_EQ(content_of(old_folder + "/vocab.json"), "{\"a\": 0}");
  expect_weights_are_there();
  EXPECT_EQ(cached().commit_of("main"), hub_.commit);
}

TEST_F(FetchTest, LoadsTheFilesThatAreNamed) {
  hub_.small_files["onnx/config.json"] = "{}";
  EXPECT_EQ(fetch({"README.md", "onnx/config.json"}), snapshot());
  EXPECT_EQ(content_of(snapshot() + "/onnx/config.json"), "{}");
  EXPECT_FALSE(fs::exists(snapshot() + "/config.json"));
  EXPECT_EQ(error_of_fetch({"vocab.txt"}),
            fmt::format("'owner/tiny' at 'main' on {} has no file 'vocab.txt', or there is no such "
                        "model",
                        hub_.endpoint()));
}

TEST_F(FetchTest, LoadsOtherRevisions) {
  EXPECT_EQ(fetch({}, "refs/pr/1"), snapshot());
  EXPECT_EQ(cached().commit_of("refs/pr/1"), hub_.commit);
  EXPECT_EQ(cached().commit_of("main"), "");
  EXPECT_EQ(error_of_fetch({}, "v9"),
            fmt::format("there is no revision 'v9' of 'owner/tiny' on {}: status 404 (Invalid rev "
                        "id: v9)",
                        hub_.endpoint()));
}

TEST_F(FetchTest, LoadsShards) {
  const std::string other = noise(1000);
  hub_.large_files = {{"model-00001-of-00002.safetensors", weights_},
                      {"model-00002-of-00002.safetensors", other}};
  hub_.small_files["model.safetensors.index.json"] =
      R"({"weight_map": {"a": "model-00001-of-00002.safetensors",
                         "b": "model-00002-of-00002.safetensors",
                         "c": "model-00001-of-00002.safetensors"}})";
  EXPECT_EQ(fetch(), snapshot());
  EXPECT_EQ(content_of(snapshot() + "/model-00001-of-00002.safetensors"), weights_);
  EXPECT_EQ(content_of(snapshot() + "/model-00002-of-00002.safetensors"), other);
}

TEST_F(FetchTest, AnIndexCannotLeadOut) {
  hub_.large_files.clear();
  for (const char* index : {R"({"weight_map": {"a": "../../../.ssh/id"}})", R"({"weight_map": {}})",
                            R"({"weight_map": {"a": 1}})", "[]", "{", ""}) {
    hub_.small_files["model.safetensors.index.json"] = index;
    hub_.commit[0] = hub_.commit[0] == 'f' ? 'e' : 'f';  // another commit each time
    EXPECT_NE(error_of_fetch().find("model.safetensors.index.json"), std::string::npos) << index;
  }
}

TEST_F(FetchTest, AModelWithoutWeightsIsRefusedBeforeAnythingIsLoaded) {
  hub_.large_files.clear();
  EXPECT_EQ(error_of_fetch(),
            "'owner/tiny' at 'main' has neither model.safetensors nor "
            "model.safetensors.index.json; other formats are not read");
  EXPECT_EQ(hub_.requests("GET").size(), 0u);
}

TEST_F(FetchTest, EmptyFiles) {
  hub_.small_files["merges.txt"] = "";
  hub_.large_files["model.safetensors"] = "";
  fetch();
  EXPECT_TRUE(fs::exists(snapshot() + "/merges.txt"));
  EXPECT_EQ(content_of(snapshot() + "/model.safetensors"), "");
}

TEST_F(FetchTest, ReportsProgress) {
  std::map<std::string, FetchProgress> last;
  fetch_model(settings_, {.model = hub_.model}, {.progress = [&](const FetchProgress& progress) {
                EXPECT_GE(progress.bytes, last[progress.file].bytes);
                last[progress.file] = progress;
              }});
  EXPECT_EQ(last.size(), 4u);
  EXPECT_EQ(last["model.safetensors"].bytes, 300'000);
  EXPECT_EQ(last["model.safetensors"].total_bytes, 300'000);
  EXPECT_EQ(last["config.json"].total_bytes, 22);
}

// The token goes to the endpoint, and nowhere else.

TEST_F(FetchTest, AnotherHostNeverSeesTheToken) {
  hub_.token = settings_.token = "hf_secret";
  for (const bool is_other_port : {false, true}) {
    TestHub storage;
    storage.large_files = hub_.large_files;
    if (is_other_port) hub_.storage = storage.endpoint();
    settings_.cache = folder_.path() + (is_other_port ? "/b" : "/a");
    fetch();
    expect_weights_are_there();
    const HubRequest request =
        is_other_port ? storage.requests("GET").at(0) : weight_requests().at(0);
    EXPECT_FALSE(request.headers.contains("authorization"));
  }
  for (const HubRequest& request : hub_.requests()) {
    if (!request.path.starts_with("/storage/")) {
      EXPECT_EQ(request.header("authorization"), "Bearer hf_secret");
    }
  }
}

TEST_F(FetchTest, ARedirectOnTheSameHostKeepsTheToken) {
  hub_.token = settings_.token = "hf_secret";
  hub_.storage.clear();
  // As when a model was renamed.
  hub_.tamper = [&](const HubRequest& request, HubReply& reply) {
    if (request.path.starts_with("/old/name/")) {
      reply = {.status = 307, .headers = {{"Location", "/owner/tiny" + request.path.substr(9)}}};
    }
  };
  const auto folder = fetch_model(settings_, {.model = "old/name"});
  EXPECT_EQ(content_of(*folder + "/model.safetensors"), weights_);
  EXPECT_NE(folder->find("models--old--name"), std::string::npos) << "under the name asked for";
}

TEST_F(FetchTest, NoTokenNoHeader) {
  fetch();
  for (const HubRequest& request : hub_.requests()) {
    EXPECT_FALSE(request.headers.contains("authorization"));
  }
}

TEST_F(FetchTest, RedirectsEnd) {
  hub_.tamper = [&](const HubRequest& request, HubReply& reply) {
    reply = {.status = 302, .headers = {{"Location", request.path}}};
  };
  EXPECT_EQ(error_of_fetch(), hub_.endpoint() + " redirects 'owner/tiny' more than 10 times");
}

TEST_F(FetchTest, ARedirectToAFileOnThisMachineIsRefused) {
  tamper_with_weights([](const HubRequest&, HubReply& reply) {
    reply = {.status = 302, .headers = {{"Location", "file:///etc/passwd"}}};
  });
  EXPECT_EQ(error_of_fetch(),
            "'file:///etc/passwd' is no address, allowed are https://… and http://…");
}

// What the hub refuses.

TEST_F(FetchTest, WithoutATokenTheErrorNamesHfToken) {
  hub_.token = "hf_right";
  EXPECT_EQ(error_of_fetch(),
            fmt::format("there is no model 'owner/tiny' on {} that may be read so: status 401 "
                        "(Invalid username or password.); if there is one, set HF_TOKEN to a token "
                        "that may read it",
                        hub_.endpoint()));
  settings_.token = "hf_wrong";
  const std::string error = error_of_fetch();
  EXPECT_NE(error.find("the token in HF_TOKEN may not read it"), std::string::npos) << error;
  EXPECT_EQ(error.find("hf_wrong"), std::string::npos) << "a token is never shown";
  EXPECT_EQ(hub_.requests().size(), 2u) << "asking again would not help";
  settings_.token = "hf_right";
  EXPECT_EQ(fetch(), snapshot());
}

TEST_F(FetchTest, AGatedModelSaysSo) {
  hub_.tamper = [](const HubRequest&, HubReply& reply) {
    reply = {.status = 403,
             .headers = {{"X-Error-Code", "GatedRepo"},
                         {"X-Error-Message", "Access to model owner/tiny is restricted"}}};
  };
  EXPECT_EQ(error_of_fetch(),
            fmt::format("'owner/tiny' on {} is refused: status 403 (Access to model owner/tiny is "
                        "restricted); set HF_TOKEN to a token that may read it",
                        hub_.endpoint()));
}

TEST_F(FetchTest, NoSuchModel) {
  EXPECT_EQ(error_of([&] { fetch_model(settings_, {.model = "nobody/nothing"}); }),
            fmt::format("there is no model 'nobody/nothing' on {}: status 404 (Repository not "
                        "found)",
                        hub_.endpoint()));
  EXPECT_FALSE(fs::exists(settings_.cache)) << "and nothing is written";
}

TEST_F(FetchTest, WhatIsNoHubSaysSo) {
  hub_.tamper = [](const HubRequest&, HubReply& reply) {
    reply = {.status = 200, .headers = {{"ETag", "\"abc\""}}, .body = "welcome"};
  };
  EXPECT_NE(error_of_fetch().find("does not answer as a model hub does"), std::string::npos);
  for (const char* etag : {"../../../x", "", "a/b", ".."}) {
    hub_.tamper = [&](const HubRequest&, HubReply& reply) { reply.headers["ETag"] = etag; };
    EXPECT_NE(error_of_fetch().find("cannot name a file"), std::string::npos) << etag;
  }
  hub_.tamper = [&](const HubRequest&, HubReply& reply) {
    reply.headers["X-Repo-Commit"] = "../../../../x";
  };
  EXPECT_NE(error_of_fetch().find("its X-Repo-Commit is '../../../../x'"), std::string::npos);
}

TEST_F(FetchTest, BadNamesAreRefusedUnasked) {
  for (const char* name : {"", "a/b/c", "../x", "a--b"}) {
    EXPECT_NE(error_of([&] { fetch_model(settings_, {.model = name}); }).find("no model's name"),
              std::string::npos);
  }
  EXPECT_NE(error_of_fetch({"../config.json"}).find("is no name of a file"), std::string::npos);
  EXPECT_NE(error_of_fetch({}, "../main").find("is no revision"), std::string::npos);
  settings_.is_offline = true;
  EXPECT_EQ(error_of_fetch(), "HF_HUB_OFFLINE is set, so nothing is fetched");
  EXPECT_EQ(hub_.requests().size(), 0u);
}

}  // namespace
}  // namespace strobe
