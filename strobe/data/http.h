#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace strobe {

struct HttpResponse {
  int status = 0;                              // 0: none came
  std::map<std::string, std::string> headers;  // names in lower case
  std::string redirect;                        // where it leads, a whole address; empty: nowhere
  std::string failure;                         // why it is not whole; empty: it is
  bool is_stopped = false;                     // by should_stop

  bool is_success() const { return status >= 200 && status < 300; }
  // Empty when there is no such header.
  std::string header(const std::string& lower_case_name) const;
};

struct HttpRequest {
  std::string url;                   // http or https
  bool is_head = false;              // else GET
  std::vector<std::string> headers;  // "Name: value"
  double timeout_s = 10;             // without a byte, while connecting too
  // The body of a 2xx response, piece by piece, with what came before it; every other body is
  // discarded. What it throws comes out of send().
  std::function<void(const HttpResponse&, std::span<const std::byte>)> body = {};
  std::function<bool()> should_stop = {};  // asked ten times a second
};

// Sends requests over libcurl; connections are kept open for the next. Redirects are reported, not
// followed: whoever asks decides what to say to another host.
class HttpClient {
 public:
  HttpClient();
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  HttpResponse send(const HttpRequest& request);

 private:
  void* connections_;  // libcurl's handles: CURLM, CURL
  void* transfer_;
};

// Whether both addresses have the same scheme, host and port.
bool is_same_origin(const std::string& url, const std::string& other);

// Text as part of an address: everything but letters, digits and "-_.~" becomes %XX.
std::string url_escape(const std::string& text);

}  // namespace strobe
