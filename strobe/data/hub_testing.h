#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace strobe::testing {

struct HubRequest {
  std::string method, path;                    // the path as it was sent, escaped
  std::map<std::string, std::string> headers;  // names in lower case
  int earlier = 0;                             // requests of the same method and path before it

  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found != headers.end() ? found->second : "";
  }
};

struct HubReply {
  int status = 200;
  std::map<std::string, std::string> headers;
  std::string body;
  // How it misbehaves: the body breaks off after so many bytes, and then the connection ends, or
  // stays open in silence; it comes no faster than bytes_per_s (0: as fast as it goes).
  size_t cut_after = std::string::npos;
  bool is_silent = false;
  size_t bytes_per_s = 0;
};

// A model hub on 127.0.0.1 with one model, spoken to as the public one is: small files come
// directly, large ones by a redirect to `storage`.
class TestHub {
 public:
  TestHub();
  ~TestHub();
  TestHub(const TestHub&) = delete;
  TestHub& operator=(const TestHub&) = delete;

  // "http://127.0.0.1:<port>", and the same place under another name.
  std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::string other_host() const { return "http://localhost:" + std::to_string(port_); }

  // Set before the first request.
  std::string model = "owner/tiny";
  std::string commit = "0123456789abcdef0123456789abcdef01234567";
  std::map<std::string, std::string> small_files, large_files;  // content by name
  std::string storage;  // host of the large files' content; empty: they come directly, too
  std::string token;    // who does not send it gets 401; empty: everybody may
  std::function<void(const HubRequest&, HubReply&)> tamper;  // changes what would be answered

  std::vector<HubRequest> requests() const;
  std::vector<HubRequest> requests(const std::string& method) const;
  size_t body_bytes() const { return body_bytes_; }  // sent so far

 private:
  void accept_all();
  void answer(int connection);
  HubReply reply_to(const HubRequest& request) const;
  HubReply content_reply(const HubRequest& request, const std::string& content) const;
  void send(int connection, const HubRequest& request, const HubReply& reply);

  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> is_ending_ = false;
  std::atomic<size_t> body_bytes_ = 0;
  mutable std::mutex mutex_;  // of requests_
  std::vector<HubRequest> requests_;
  std::vector<std::thread> connections_;
  std::thread acceptor_;
};

// Bytes of no pattern.
std::string noise(size_t bytes);

// What a hub gives as the ETag of a content.
std::string sha256_of(const std::string& content);
std::string git_blob_sha1_of(const std::string& content);

}  // namespace strobe::testing
