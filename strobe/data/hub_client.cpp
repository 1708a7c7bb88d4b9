#include "strobe/data/hub_client.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <string_view>
#include <thread>
#include <utility>

#include "strobe/core/check.h"
#include "strobe/core/clock.h"
#include "strobe/data/hub_cache.h"
#include "strobe/data/partial_file.h"

namespace strobe {
namespace {

constexpr int kTries = 5;
constexpr int kMostRedirects = 10;
constexpr double kLongestPause = 60;

// A whole number of at least 0; −1 when it is none.
int64_t parse_count(std::string_view text) {
  int64_t value = -1;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end && value >= 0 ? value : -1;
}

// "Content-Range: bytes 100-199/200" begins at 100; a response without one at 0.
int64_t first_byte(const HttpResponse& response) {
  if (response.status != 206) return 0;
  const std::string range = response.header("content-range");
  constexpr std::string_view kUnit = "bytes ";
  if (!range.starts_with(kUnit)) return -1;
  return parse_count(std::string_view(range).substr(
      kUnit.size(), std::min(range.find('-'), range.size()) - kUnit.size()));
}

// The next try may go well.
bool is_passing(const HttpResponse& response) {
  constexpr int kPassing[] = {408, 429, 500, 502, 503, 504};
  return !response.failure.empty() ||
         std::ranges::find(kPassing, response.status) != std::end(kPassing);
}

// " (Access to model x is restricted)", what the hub says about an error.
std::string explanation(const HttpResponse& response) {
  std::string text = response.header("x-error-message").substr(0, 200);
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
  return text.empty() ? "" : " (" + text + ")";
}

std::string problem_of(const HttpResponse& response) {
  if (!response.failure.empty()) return response.failure;
  return fmt::format("status {}{}", response.status, explanation(response));
}

// `"abc"` and `W/"abc"` are abc.
std::string plain_etag(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.starts_with('"')) etag.remove_prefix(1);
  if (etag.ends_with('"')) etag.remove_suffix(1);
  return std::string(etag);
}

// A redirect to another host says what the file is, because that host cannot.
bool describes_file(const HttpResponse& response) {
  return !response.header("x-repo-commit").empty() && !response.header("x-linked-etag").empty();
}

}  // namespace

// The tries of one request: how many failed in a row, and the pauses between them.
class HubClient::Attempts {
 public:
  Attempts(const HubClient& client, const std::string& file) : client_(client), file_(file) {}

  void restart() { failures_ = 0; }

  // Waits for the next try; throws Error after the last, which says what is kept for another day.
  void pause_after(const HttpResponse& response, const std::string& problem,
                   int64_t kept_bytes = 0) {
    ++failures_;
    check(failures_ < kTries, "cannot load '", file_, "' of '", client_.model_, "' from ",
          client_.settings_.endpoint, ": ", problem, "; tried ", kTries, " times",
          kept_bytes == 0
              ? ""
              : fmt::format("; the first {} bytes are kept, the next fetch goes on there",
                            kept_bytes));
    const double wanted = client_.settings_.first_retry_pause_s * std::exp2(failures_ - 1);
    const auto asked = static_cast<double>(parse_count(response.header("retry-after")));
    const double pause = std::min(std::max(wanted, asked), kLongestPause);
    if (client_.observer_.note) {
      client_.observer_.note(fmt::format("{}: {}; next try in {:g} s", file_, problem, pause));
    }
    const Stopwatch watch;
    while (watch.seconds() < pause) {
      if (client_.observer_.should_stop && client_.observer_.should_stop()) throw FetchStopped();
      std::this_thread::sleep_for(
          std::chrono::duration<double>(std::clamp(pause - watch.seconds(), 0.0, 0.1)));
    }
  }

 private:
  const HubClient& client_;
  const std::string& file_;
  int failures_ = 0;
};

HubClient::HubClient(HubSettings settings, std::string model, const FetchObserver& observer)
    : settings_(std::move(settings)), model_(std::move(model)), observer_(observer) {}

std::string HubClient::url_of(const std::string& revision, const std::string& file) const {
  std::string url = settings_.endpoint + "/" + model_ + "/resolve/" + url_escape(revision);
  for (size_t begin = 0; begin < file.size();) {
    const size_t end = std::min(file.find('/', begin), file.size());
    url += "/" + url_escape(file.substr(begin, end - begin));
    begin = end + 1;
  }
  return url;
}

HttpResponse HubClient::send(HttpRequest request) {
  request.should_stop = observer_.should_stop;
  request.headers.emplace_back("Accept-Encoding: identity");  // lengths and ranges count the file's
  for (int redirects = 0; redirects <= kMostRedirects; ++redirects) {
    HttpRequest hop = request;
    if (!settings_.token.empty() && is_same_origin(hop.url, settings_.endpoint)) {
      hop.headers.push_back("Authorization: Bearer " + settings_.token);
    }
    HttpResponse response = http_.send(hop);
    if (response.is_stopped) throw FetchStopped();
    if (response.redirect.empty() || !response.failure.empty()) return response;
    const bool stays = is_same_origin(response.redirect, hop.url);
    if (request.is_head && !stays && describes_file(response)) return response;
    check(!hop.url.starts_with("https://") || response.redirect.starts_with("https://"),
          settings_.endpoint, " redirects '", model_, "' to an address without https");
    request.url = response.redirect;
  }
  throw_error(fmt::format("{} redirects '{}' more than {} times", settings_.endpoint, model_,
                          kMostRedirects));
}

void HubClient::refuse(const HttpResponse& response, const std::string& revision,
                       const std::string& file) const {
  const std::string why = explanation(response);
  const std::string code = response.header("x-error-code");
  const std::string hint = settings_.token.empty() ? "set HF_TOKEN to a token that may read it"
                                                   : "the token in HF_TOKEN may not read it";
  const int status = response.status;
  check(status != 401, "there is no model '", model_, "' on ", settings_.endpoint,
        " that may be read so: status 401", why, "; if there is one, ", hint);
  check(status != 403, "'", model_, "' on ", settings_.endpoint, " is refused: status 403", why,
        "; ", hint);
  check(status != 404 || code == "EntryNotFound" || code.empty(), "there is no ",
        code == "RevisionNotFound" ? fmt::format("revision '{}' of '{}'", revision, model_)
                                   : fmt::format("model '{}'", model_),
        " on ", settings_.endpoint, ": status 404", why);
  throw_error(fmt::format("cannot load '{}' of '{}' from {}: status {}{}", file, model_,
                          settings_.endpoint, status, why));
}

std::optional<RemoteFile> HubClient::look_up(const std::string& revision, const std::string& file) {
  Attempts attempts(*this, file);
  HttpResponse response;
  for (;;) {
    response = send(
        {.url = url_of(revision, file), .is_head = true, .timeout_s = settings_.answer_timeout_s});
    if (!is_passing(response)) break;
    attempts.pause_after(response, problem_of(response));
  }
  const std::string code = response.header("x-error-code");
  if (response.status == 404 && (code == "EntryNotFound" || code.empty())) return std::nullopt;
  if (!response.is_success() && response.redirect.empty()) refuse(response, revision, file);

  const std::string linked_etag = response.header("x-linked-etag");
  const std::string linked_size = response.header("x-linked-size");
  RemoteFile remote = {
      .commit = response.header("x-repo-commit"),
      .etag = plain_etag(linked_etag.empty() ? response.header("etag") : linked_etag)};
  if (!linked_size.empty()) {
    remote.bytes = parse_count(linked_size);
  } else if (response.redirect.empty()) {
    remote.bytes = parse_count(response.header("content-length"));
  }
  check(is_commit(remote.commit), settings_.endpoint,
        " does not answer as a model hub does: its X-Repo-Commit is '", remote.commit,
        "', expected are 40 digits 0-9 and a-f; is HF_ENDPOINT right?");
  check(is_inner_path(remote.etag) && remote.etag.find('/') == std::string::npos, "the ETag of '",
        file, "' on ", settings_.endpoint, " cannot name a file: '", remote.etag, "'");
  return remote;
}

void HubClient::download(const std::string& file, const RemoteFile& remote, const std::string& path,
                         const std::function<void(int64_t)>& on_bytes) {
  PartialFile part(path);
  Attempts attempts(*this, file);
  int64_t most = part.bytes();
  while (part.bytes() != remote.bytes) {
    if (remote.bytes >= 0 && part.bytes() > remote.bytes) part.clear();
    HttpRequest request = {.url = url_of(remote.commit, file),
                           .timeout_s = settings_.stall_timeout_s};
    if (part.bytes() > 0) request.headers.push_back(fmt::format("Range: bytes={}-", part.bytes()));
    bool has_begun = false;
    request.body = [&](const HttpResponse& response, std::span<const std::byte> bytes) {
      if (!std::exchange(has_begun, true)) {
        const int64_t first = first_byte(response);
        if (first == 0) part.clear();  // a server that does not do ranges begins anew
        check(first == part.bytes(), "asked for '", file, "' from byte ", part.bytes(), " on, ",
              settings_.endpoint, " sends '", response.header("content-range"), "'");
      }
      part.append(bytes);
      if (remote.bytes >= 0 && part.bytes() > remote.bytes) {
        part.clear();
        throw_error(fmt::format("'{}' of '{}' has more than the {} bytes that {} says", file,
                                model_, remote.bytes, settings_.endpoint));
      }
      on_bytes(part.bytes());
    };
    const HttpResponse response = send(request);
    std::string problem = problem_of(response);
    if (response.status == 416) {  // there is nothing after what we have
      part.clear();
    } else if (response.is_success() && response.failure.empty()) {
      if (remote.bytes < 0) break;
      problem = fmt::format("it ended after {} of {} bytes", part.bytes(), remote.bytes);
    } else if (!is_passing(response)) {
      refuse(response, remote.commit, file);
    }
    if (part.bytes() == remote.bytes) break;
    if (part.bytes() > most) attempts.restart();
    most = std::max(most, part.bytes());
    attempts.pause_after(response, problem, part.bytes());
  }
  part.flush();
}

}  // namespace strobe
