#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "strobe/data/http.h"
#include "strobe/data/hub_fetch.h"

namespace strobe {

// What a hub says about a file.
struct RemoteFile {
  std::string commit;  // of the model, 40 digits
  std::string etag;    // 64 digits: sha256 of the content; 40: its git blob's sha1
  int64_t bytes = -1;  // −1: not said
};

// Thrown when should_stop() said so.
struct FetchStopped {};

// Speaks with a hub about one model. A file's address is <endpoint>/<model>/resolve/<revision>/
// <file>; HEAD answers with X-Repo-Commit, and ETag and Content-Length or, where GET is redirected
// to another host, X-Linked-Etag and X-Linked-Size.
class HubClient {
 public:
  // `observer` must outlive it.
  HubClient(HubSettings settings, std::string model, const FetchObserver& observer);

  // Nothing if the revision has no such file.
  std::optional<RemoteFile> look_up(const std::string& revision, const std::string& file);

  // Loads what `path` lacks of a file's content. on_bytes(have) is called as it grows. Leaves what
  // came when it throws, unless that is known to be wrong.
  void download(const std::string& file, const RemoteFile& remote, const std::string& path,
                const std::function<void(int64_t)>& on_bytes);

 private:
  class Attempts;

  std::string url_of(const std::string& revision, const std::string& file) const;
  HttpResponse send(HttpRequest request);  // follows redirects
  [[noreturn]] void refuse(const HttpResponse& response, const std::string& revision,
                           const std::string& file) const;

  HubSettings settings_;
  std::string model_;
  const FetchObserver& observer_;
  HttpClient http_;
};

}  // namespace strobe
