#include "strobe/data/hub.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "strobe/core/check.h"
#include "strobe/data/hub_cache.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

// The hub that is meant where HF_ENDPOINT names none.
constexpr const char* kPublicEndpoint = "https://huggingface.co";

// Empty when it is not set.
std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string endpoint() {
  std::string address = environment("HF_ENDPOINT");
  if (address.empty()) return kPublicEndpoint;
  while (address.ends_with('/')) address.pop_back();
  check(address.starts_with("https://") || address.starts_with("http://"), "HF_ENDPOINT is '",
        address, "', allowed is an address that begins with https:// or http://");
  return address;
}

std::string token() {
  const std::string text = environment("HF_TOKEN");
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return "";
  const std::string token = text.substr(first, text.find_last_not_of(" \t\r\n") + 1 - first);
  // Never printed, and nothing else may ride along into the request.
  check(std::ranges::all_of(token, [](char c) { return c > ' ' && c < 0x7f; }),
        "HF_TOKEN has characters that a token cannot have (white space or beyond ASCII)");
  return token;
}

// A folder that may begin with "~/", as huggingface_hub reads it; empty when it is not set.
std::string folder_variable(const char* name) {
  const std::string path = environment(name);
  return path == "~" || path.starts_with("~/") ? environment("HOME") + path.substr(1) : path;
}

std::string cache_folder() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string folder = folder_variable(name); !folder.empty()) return folder;
  }
  if (const std::string home = folder_variable("HF_HOME"); !home.empty()) return home + "/hub";
  if (const std::string caches = folder_variable("XDG_CACHE_HOME"); !caches.empty()) {
    return caches + "/huggingface/hub";
  }
  const std::string home = environment("HOME");
  check(!home.empty(), "HOME is not set: set HF_HUB_CACHE to the folder for models");
  return home + "/.cache/huggingface/hub";
}

bool is_on(const char* name) {
  std::string value = environment(name);
  std::ranges::transform(value, value.begin(), [](unsigned char c) { return std::toupper(c); });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

double seconds(const char* name, double fallback) {
  const std::string text = environment(name);
  if (text.empty()) return fallback;
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  check(error == std::errc() && stop == end && value > 0 && value <= 86400, name, " is '", text,
        "', allowed are seconds: more than 0, at most 86400");
  return value;
}

}  // namespace

HubSettings hub_settings() {
  HubSettings settings;
  settings.endpoint = endpoint();
  settings.token = token();
  settings.cache = cache_folder();
  settings.is_offline = is_on("HF_HUB_OFFLINE");
  settings.answer_timeout_s = seconds("HF_HUB_ETAG_TIMEOUT", settings.answer_timeout_s);
  settings.stall_timeout_s = seconds("HF_HUB_DOWNLOAD_TIMEOUT", settings.stall_timeout_s);
  return settings;
}

bool is_model_name(const std::string& text) {
  const auto is_letter_or_digit = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  const auto is_part = [&](std::string_view part) {
    return !part.empty() && std::string_view("-.").find(part.front()) == std::string_view::npos &&
           std::string_view("-.").find(part.back()) == std::string_view::npos &&
           std::ranges::all_of(part, [&](char c) {
             return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.';
           });
  };
  const std::string_view name = text;
  const size_t slash = name.find('/');
  const bool has_owner = slash != std::string_view::npos;
  return name.size() <= 96 && name.find("--") == std::string_view::npos &&
         name.find("..") == std::string_view::npos && !name.ends_with(".git") &&
         (!has_owner || is_part(name.substr(0, slash))) &&
         is_part(has_owner ? name.substr(slash + 1) : name);
}

std::string resolve_model(const std::string& name_or_folder) {
  std::error_code error;
  if (fs::is_directory(name_or_folder, error)) return name_or_folder;
  check(is_model_name(name_or_folder), "'", name_or_folder,
        "' is neither a folder nor a model's name (NAME or OWNER/NAME)");
  const std::string cache = cache_folder();
  const CachedModel model(cache, name_or_folder);
  const std::string commit = model.commit_of("main");
  const std::string folder = commit.empty() ? "" : model.snapshot_folder(commit);
  check(!folder.empty() && fs::is_directory(folder, error), "there is no folder '", name_or_folder,
        "', and no model of that name in ", cache, ": `strobe fetch ", name_or_folder,
        "` loads it");
  return folder;
}

}  // namespace strobe
