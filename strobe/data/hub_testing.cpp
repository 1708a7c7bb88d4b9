#include "strobe/data/hub_testing.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string_view>

#include "strobe/core/check.h"
#include "strobe/data/digest.h"
#include "tests/testkit/files.h"

namespace strobe::testing {
namespace {

std::string digest_of(const std::string& content, Digest digest) {
  const TemporaryFolder folder;
  return file_digest(folder.file("content", content), digest);
}

// Reads up to the empty line after the headers; false if the other side ends before it.
bool read_head(int connection, std::string& head) {
  char buffer[4096];
  while (head.find("\r\n\r\n") == std::string::npos) {
    const ssize_t n = recv(connection, buffer, sizeof(buffer), 0);
    if (n <= 0) return false;
    head.append(buffer, static_cast<size_t>(n));
  }
  return true;
}

HubRequest parse_request(const std::string& head) {
  std::istringstream lines(head);
  HubRequest request;
  lines >> request.method >> request.path;
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line) && line != "\r") {
    const size_t colon = line.find(": ");
    std::string name = line.substr(0, colon);
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    request.headers[name] = line.substr(colon + 2, line.size() - colon - 3);  // without "\r"
  }
  return request;
}

// The word before the next '/', which is removed with it.
std::string take_part(std::string& path) {
  const size_t slash = std::min(path.find('/'), path.size());
  std::string part = path.substr(0, slash);
  path.erase(0, slash + 1);
  return part;
}

HubReply error_reply(int status, const std::string& code, const std::string& message) {
  return {.status = status,
          .headers = {{"X-Error-Code", code}, {"X-Error-Message", message}},
          .body = "an error page"};
}

}  // namespace

std::string sha256_of(const std::string& content) { return digest_of(content, Digest::sha256); }

std::string git_blob_sha1_of(const std::string& content) {
  return digest_of(content, Digest::git_blob_sha1);
}

std::string noise(size_t bytes) {
  std::string text(bytes, '\0');
  uint64_t state = 1;
  for (char& c : text) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    c = static_cast<char>(state >> 56);
  }
  return text;
}

TestHub::TestHub() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const where = reinterpret_cast<sockaddr*>(&address);
  check(listener_ >= 0 && bind(listener_, where, size) == 0 && listen(listener_, 16) == 0 &&
            getsockname(listener_, where, &size) == 0,
        "cannot listen on 127.0.0.1: ", std::strerror(errno));
  port_ = ntohs(address.sin_port);
  setenv("no_proxy", "*", 1);  // no proxy of this machine's user can reach it
  acceptor_ = std::thread([this] { accept_all(); });
}

TestHub::~TestHub() {
  is_ending_ = true;
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  for (std::thread& connection : connections_) connection.join();
  close(listener_);
}

std::vector<HubRequest> TestHub::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

std::vector<HubRequest> TestHub::requests(const std::string& method) const {
  std::vector<HubRequest> some = requests();
  std::erase_if(some, [&](const HubRequest& request) { return request.method != method; });
  return some;
}

void TestHub::accept_all() {
  while (!is_ending_) {
    const int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    connections_.emplace_back([this, connection] {
      answer(connection);
      close(connection);
    });
  }
}

void TestHub::answer(int connection) {
  std::string head;
  if (!read_head(connection, head)) return;
  HubRequest request = parse_request(head);
  {
    const std::lock_guard lock(mutex_);
    request.earlier = static_cast<int>(std::ranges::count_if(requests_, [&](const HubRequest& r) {
      return r.method == request.method && r.path == request.path;
    }));
    requests_.push_back(request);
  }
  HubReply reply = reply_to(request);
  if (tamper) tamper(request, reply);
  send(connection, request, reply);
}

HubReply TestHub::reply_to(const HubRequest& request) const {
  std::string path = request.path.substr(1);
  if (path.starts_with("storage/")) {
    const std::string name = path.substr(std::strlen("storage/"), path.find('?') - 8);
    return content_reply(request, large_files.at(name));
  }
  if (!token.empty() && request.header("authorization") != "Bearer " + token) {
    return error_reply(401, "", "Invalid username or password.");
  }
  if (!path.starts_with(model + "/resolve/")) {
    return error_reply(404, "RepoNotFound", "Repository not found");
  }
  path.erase(0, model.size() + std::strlen("/resolve/"));
  const std::string revision = take_part(path);
  if (revision != "main" && revision != "refs%2Fpr%2F1" && revision != commit) {
    return error_reply(404, "RevisionNotFound", "Invalid rev id: " + revision);
  }
  HubReply reply;
  if (const auto small = small_files.find(path); small != small_files.end()) {
    reply = content_reply(request, small->second);
    reply.headers["ETag"] = '"' + git_blob_sha1_of(small->second) + '"';
  } else if (const auto large = large_files.find(path); large != large_files.end()) {
    if (storage.empty()) {
      reply = content_reply(request, large->second);
    } else {
      reply = {.status = 302,
               .headers = {{"Location", storage + "/storage/" + path + "?Signature=abc"}},
               .body = "Found. Redirecting"};
    }
    reply.headers["ETag"] = "\"an ETag of the hub's own\"";
    reply.headers["X-Linked-Etag"] = '"' + sha256_of(large->second) + '"';
    reply.headers["X-Linked-Size"] = std::to_string(large->second.size());
  } else {
    reply = error_reply(404, "EntryNotFound", "Entry not found");
  }
  reply.headers["X-Repo-Commit"] = commit;
  return reply;
}

HubReply TestHub::content_reply(const HubRequest& request, const std::string& content) const {
  constexpr std::string_view kRange = "bytes=";
  const std::string range = request.header("range");
  if (!range.starts_with(kRange)) return {.body = content};
  const size_t first = std::stoul(range.substr(kRange.size()));
  if (first >= content.size()) {
    return {.status = 416,
            .headers = {{"Content-Range", fmt::format("bytes */{}", content.size())}}};
  }
  return {.status = 206,
          .headers = {{"Content-Range",
                       fmt::format("bytes {}-{}/{}", first, content.size() - 1, content.size())}},
          .body = content.substr(first)};
}

void TestHub::send(int connection, const HubRequest& request, const HubReply& reply) {
  std::string head = fmt::format("HTTP/1.1 {} Reason\r\nConnection: close\r\n", reply.status);
  if (!reply.headers.contains("Content-Length")) {
    head += fmt::format("Content-Length: {}\r\n", reply.body.size());
  }
  for (const auto& [name, value] : reply.headers) head += name + ": " + value + "\r\n";
  head += "\r\n";
  const bool is_silent_at_once = reply.is_silent && reply.cut_after == 0;
  if (!is_silent_at_once) ::send(connection, head.data(), head.size(), MSG_NOSIGNAL);
  if (request.method != "HEAD") {
    const size_t end = std::min(reply.cut_after, reply.body.size());
    const size_t piece = reply.bytes_per_s > 0 ? std::max<size_t>(reply.bytes_per_s / 100, 1) : end;
    for (size_t begin = 0; begin < end && !is_ending_;) {
      const ssize_t n =
          ::send(connection, reply.body.data() + begin, std::min(piece, end - begin), MSG_NOSIGNAL);
      if (n <= 0) return;
      begin += static_cast<size_t>(n);
      body_bytes_ += static_cast<size_t>(n);
      if (reply.bytes_per_s > 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  while (reply.is_silent && !is_ending_) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

}  // namespace strobe::testing
