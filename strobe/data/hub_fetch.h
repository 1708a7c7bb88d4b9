#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "strobe/data/hub.h"

namespace strobe {

struct FetchRequest {
  std::string model;                    // "gpt2", "owner/name"
  std::string revision = "main";        // a branch, a tag, or a commit
  std::vector<std::string> files = {};  // empty: config.json, the weights (model.safetensors, or
                                        // its index and shards), and of the tokenizer's files and
                                        // generation_config.json those that there are
};

// How far the file that is being loaded is.
struct FetchProgress {
  std::string file;
  int64_t bytes = 0;        // have come, in earlier runs too
  int64_t total_bytes = 0;  // −1: the hub does not say
  int64_t first_bytes = 0;  // of `bytes`, those of earlier runs
};

// Every one is optional.
struct FetchObserver {
  std::function<void(const FetchProgress&)> progress = {};
  std::function<void(const std::string&)> note = {};  // a line about what is not as usual
  std::function<bool()> should_stop = {};             // asked ten times a second
};

// Loads a model's files from the hub into the cache, those that it does not have yet, and returns
// the folder with them: the snapshot of the commit that the revision means now. Nothing if
// should_stop() ended it; then, as after an error, what was loaded is kept and the next call goes
// on from there. Length and hash of each file are checked before it counts as loaded.
//
// Two processes do not load the same file at once, Python's huggingface_hub included. A broken
// connection, a server that is busy (408, 429, 5xx) or silent is asked again up to five times in a
// row. The token goes to the endpoint's own scheme, host and port alone.
//
// Throws Error for everything else: no such model, revision or file; a token that is missing or
// not enough; files that are not what the hub says they are; a cache that cannot be written.
std::optional<std::string> fetch_model(const HubSettings& settings, const FetchRequest& request,
                                       const FetchObserver& observer = {});

}  // namespace strobe
