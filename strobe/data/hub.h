#pragma once

#include <string>

namespace strobe {

// A model hub, and the folder where this machine keeps what was loaded from it. The folder's layout
// is huggingface_hub's (strobe/data/hub_cache.h), so Python programs and Strobe share one copy.
struct HubSettings {
  std::string endpoint;          // HF_ENDPOINT: "https://…", no slash at the end
  std::string token;             // HF_TOKEN; empty: none
  std::string cache;             // HF_HUB_CACHE, else $HF_HOME/hub, else
                                 // $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub
  bool is_offline = false;       // HF_HUB_OFFLINE
  double answer_timeout_s = 10;  // HF_HUB_ETAG_TIMEOUT: until a connection is made or a question
                                 // answered
  double stall_timeout_s = 10;   // HF_HUB_DOWNLOAD_TIMEOUT: without a byte of a download
  double first_retry_pause_s = 0.5;  // doubled for each further try
};

// What the environment says; a variable that is not set or empty takes its default. Throws Error
// for a value that cannot be meant (an endpoint that is no http or https address, a token with a
// line break).
HubSettings hub_settings();

// A hub's name for a model, "name" or "owner/name", as huggingface_hub allows it: at most 96
// letters, digits, '-', '_' and '.', neither "--" nor "..", neither '-' nor '.' at either end, not
// ending in ".git".
bool is_model_name(const std::string& text);

// The folder with a model's files: `name_or_folder` itself if it is a folder, else the snapshot of
// the model's main branch that the cache has. Throws an Error that says `strobe fetch NAME` if the
// cache does not have it. Never uses the network.
std::string resolve_model(const std::string& name_or_folder);

}  // namespace strobe
