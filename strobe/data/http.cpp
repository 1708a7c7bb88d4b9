#include "strobe/data/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <exception>
#include <memory>
#include <string_view>

#include "strobe/core/check.h"
#include "strobe/core/clock.h"

namespace strobe {
namespace {

// What libcurl's callbacks share while a request is on its way.
struct Exchange {
  const HttpRequest& request;
  CURL* transfer;
  HttpResponse response = {};
  Stopwatch since_last_byte = {};
  std::exception_ptr thrown = nullptr;
};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kWhite = " \t\r\n";
  const size_t first = text.find_first_not_of(kWhite);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kWhite) + 1 - first);
}

int status_of(CURL* transfer) {
  long status = 0;
  curl_easy_getinfo(transfer, CURLINFO_RESPONSE_CODE, &status);
  return static_cast<int>(status);
}

size_t receive_header(char* data, size_t size, size_t count, void* context) {
  Exchange& exchange = *static_cast<Exchange*>(context);
  exchange.since_last_byte.restart();
  const std::string_view line(data, size * count);
  if (line.starts_with("HTTP/")) {  // a response begins; "100 Continue" may have come before
    exchange.response.headers.clear();
    return line.size();
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return line.size();
  std::string name(line.substr(0, colon));
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  exchange.response.headers[name] = trimmed(line.substr(colon + 1));
  return line.size();
}

size_t receive_body(char* data, size_t size, size_t count, void* context) {
  Exchange& exchange = *static_cast<Exchange*>(context);
  exchange.since_last_byte.restart();
  exchange.response.status = status_of(exchange.transfer);
  const size_t bytes = size * count;
  if (!exchange.response.is_success() || !exchange.request.body) return bytes;
  try {
    exchange.request.body(exchange.response, std::as_bytes(std::span(data, bytes)));
    return bytes;
  } catch (...) {  // may not pass through C
    exchange.thrown = std::current_exception();
    return 0;
  }
}

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using List = std::unique_ptr<curl_slist, FreeList>;

List list_of(const std::vector<std::string>& lines) {
  List list;
  for (const std::string& line : lines) {
    curl_slist* longer = curl_slist_append(list.get(), line.c_str());
    check(longer != nullptr, "out of memory");
    static_cast<void>(list.release());
    list.reset(longer);
  }
  return list;
}

// One transfer, added to the connections while it lives.
class Running {
 public:
  Running(CURLM* connections, CURL* transfer) : connections_(connections), transfer_(transfer) {
    curl_multi_add_handle(connections_, transfer_);
  }
  ~Running() { curl_multi_remove_handle(connections_, transfer_); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  // Moves data for at most a tenth of a second. False once it has ended; then `result` says how.
  bool advance(CURLcode& result) {
    int running = 0;
    curl_multi_perform(connections_, &running);
    if (running > 0) {
      curl_multi_poll(connections_, nullptr, 0, 100, nullptr);
      return true;
    }
    int left = 0;
    const CURLMsg* message = curl_multi_info_read(connections_, &left);
    result = message != nullptr ? message->data.result : CURLE_FAILED_INIT;
    return false;
  }

 private:
  CURLM* connections_;
  CURL* transfer_;
};

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, FreeUrl>;

Url parse_url(const std::string& text) {
  Url url(curl_url());
  if (url && curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) url.reset();
  return url;
}

std::string url_part(const Url& url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) return {};
  std::string result = text;
  curl_free(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return std::tolower(c); });
  return result;
}

}  // namespace

std::string HttpResponse::header(const std::string& lower_case_name) const {
  const auto found = headers.find(lower_case_name);
  return found != headers.end() ? found->second : "";
}

HttpClient::HttpClient() {
  static const CURLcode is_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  check(is_ready == CURLE_OK, "libcurl does not start: ", curl_easy_strerror(is_ready));
  connections_ = curl_multi_init();
  transfer_ = curl_easy_init();
  check(connections_ != nullptr && transfer_ != nullptr, "libcurl does not start");
}

HttpClient::~HttpClient() {
  curl_easy_cleanup(transfer_);
  curl_multi_cleanup(connections_);
}

HttpResponse HttpClient::send(const HttpRequest& request) {
  const Url url = parse_url(request.url);
  const std::string scheme = url ? url_part(url, CURLUPART_SCHEME) : "";
  check(scheme == "https" || scheme == "http", "'", request.url,
        "' is no address, allowed are https://… and http://…");
  Exchange exchange = {.request = request, .transfer = transfer_};
  const List headers = list_of(request.headers);
  char reason[CURL_ERROR_SIZE] = "";
  curl_easy_reset(transfer_);  // its connections stay open
  curl_easy_setopt(transfer_, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(transfer_, CURLOPT_NOBODY, request.is_head ? 1L : 0L);
  curl_easy_setopt(transfer_, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(transfer_, CURLOPT_USERAGENT, "strobe");
  curl_easy_setopt(transfer_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(transfer_, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(1e3 * request.timeout_s));
  curl_easy_setopt(transfer_, CURLOPT_ERRORBUFFER, reason);
  curl_easy_setopt(transfer_, CURLOPT_HEADERFUNCTION, receive_header);
  curl_easy_setopt(transfer_, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(transfer_, CURLOPT_WRITEFUNCTION, receive_body);
  curl_easy_setopt(transfer_, CURLOPT_WRITEDATA, &exchange);

  HttpResponse& response = exchange.response;
  CURLcode result = CURLE_OK;
  Running running(connections_, transfer_);
  while (running.advance(result)) {
    if (request.should_stop && request.should_stop()) {
      response.is_stopped = true;
      return response;
    }
    if (exchange.since_last_byte.seconds() > request.timeout_s) {
      response.failure = fmt::format("nothing came for {:g} s", request.timeout_s);
      break;
    }
  }
  if (exchange.thrown) std::rethrow_exception(exchange.thrown);
  response.status = status_of(transfer_);
  if (result != CURLE_OK) response.failure = *reason != '\0' ? reason : curl_easy_strerror(result);
  char* redirect = nullptr;
  curl_easy_getinfo(transfer_, CURLINFO_REDIRECT_URL, &redirect);
  if (redirect != nullptr) response.redirect = redirect;
  return response;
}

bool is_same_origin(const std::string& url, const std::string& other) {
  const Url a = parse_url(url), b = parse_url(other);
  return a && b &&
         std::ranges::all_of(
             std::initializer_list{CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT},
             [&](CURLUPart part) { return url_part(a, part) == url_part(b, part); });
}

std::string url_escape(const std::string& text) {
  constexpr std::string_view kPlain = "-_.~";
  std::string result;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || kPlain.find(c) != kPlain.npos) {
      result += c;
    } else {
      result += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return result;
}

}  // namespace strobe
