#include "strobe/data/hub_fetch.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "strobe/core/check.h"
#include "strobe/core/json.h"
#include "strobe/core/mapped_file.h"
#include "strobe/data/digest.h"
#include "strobe/data/hub_cache.h"
#include "strobe/data/hub_client.h"
#include "strobe/data/safetensors_header.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfig = "config.json";
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kWeightsIndex = "model.safetensors.index.json";
constexpr const char* kWhereThereAreAny[] = {"vocab.json", "merges.txt", "tokenizer.json",
                                             "tokenizer_config.json", "generation_config.json"};

// The files that a model.safetensors.index.json names.
std::set<std::string> shards_of(const std::string& path) {
  const MappedFile index(path);
  const std::span<const std::byte> bytes = index.bytes();
  std::set<std::string> shards;
  try {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    for (const auto& [tensor, file] : parse_safetensors_index(text)) shards.insert(file);
  } catch (const Error& error) {
    throw_error(fmt::format("cannot read '{}': {}", path, error.what()));
  }
  for (const std::string& file : shards) {
    check(is_inner_path(file), "'", path, "' names a file that cannot be one: ", in_quotes(file));
  }
  return shards;
}

// How a file's ETag can be checked.
enum class EtagKind : unsigned char { sha256, git_blob_sha1, unknown };

EtagKind kind_of(const std::string& etag) {
  if (etag.find_first_not_of("0123456789abcdef") != std::string::npos) return EtagKind::unknown;
  return etag.size() == 64   ? EtagKind::sha256
         : etag.size() == 40 ? EtagKind::git_blob_sha1
                             : EtagKind::unknown;
}

class Fetch {
 public:
  Fetch(const HubSettings& settings, const FetchRequest& request, const FetchObserver& observer)
      : settings_(settings),
        request_(request),
        observer_(observer),
        cache_(settings.cache, request.model),
        client_(settings, request.model, observer),
        commit_(is_commit(request.revision) ? request.revision : "") {}

  std::string run() {
    if (request_.files.empty()) {
      load_default_files();
    } else {
      std::vector<Found> found;
      for (const std::string& file : request_.files) found.push_back(require(file));
      for (const Found& file : found) load(file);
    }
    // Last, so that a name leads to an older commit that is whole until the new one is.
    cache_.set_commit(request_.revision, commit_);
    return cache_.snapshot_folder(commit_);
  }

 private:
  struct Found {
    std::string file;
    RemoteFile remote;
  };

  // Everything is looked up before the first file is loaded: what is missing shows at once.
  void load_default_files() {
    std::vector<Found> found = {require(kConfig)};
    const std::optional<Found> weights = find(kWeights);
    const std::optional<Found> index = weights ? std::nullopt : find(kWeightsIndex);
    check(weights || index, "'", request_.model, "' at '", request_.revision, "' has neither ",
          kWeights, " nor ", kWeightsIndex, "; other formats are not read");
    for (const char* file : kWhereThereAreAny) {
      if (auto other = find(file)) found.push_back(*std::move(other));
    }
    if (index) {
      load(*index);
      for (const std::string& shard : shards_of(path_of(kWeightsIndex))) {
        found.push_back(require(shard));
      }
    } else {
      found.push_back(*weights);
    }
    for (const Found& file : found) load(file);
  }

  std::string path_of(const std::string& file) const {
    return cache_.snapshot_folder(commit_) + "/" + file;
  }

  // Nothing if the model has no such file. The first answer says which commit the revision means;
  // all further ones are about that commit, which cannot change.
  std::optional<Found> find(const std::string& file) {
    if (!commit_.empty()) {
      if (cache_.has_file(commit_, file)) return Found{file, {}};
      if (cache_.is_known_absent(commit_, file)) return std::nullopt;
    }
    const auto remote = client_.look_up(commit_.empty() ? request_.revision : commit_, file);
    if (!remote) {
      if (!commit_.empty()) cache_.note_absent(commit_, file);
      return std::nullopt;
    }
    if (commit_.empty()) commit_ = remote->commit;
    check(remote->commit == commit_, settings_.endpoint, " gives '", file, "' of commit ",
          remote->commit, ", asked was commit ", commit_);
    return Found{file, *remote};
  }

  Found require(const std::string& file) {
    std::optional<Found> found = find(file);
    check(found.has_value(), "'", request_.model, "' at '", request_.revision, "' on ",
          settings_.endpoint, " has no file '", file, "', or there is no such model");
    return *std::move(found);
  }

  void load(const Found& found) {
    if (cache_.has_file(commit_, found.file)) return;
    const std::string& etag = found.remote.etag;
    cache_.make_folders(etag);
    bool is_noted = false;
    const FileLock lock(cache_.lock_path(etag), [&] {
      if (!std::exchange(is_noted, true)) note(found.file + ": another process loads it; waiting");
      return !should_stop();
    });
    if (!lock.is_held()) throw FetchStopped();
    if (!fs::exists(cache_.blob_path(etag))) load_blob(found);
    cache_.link_file(commit_, found.file, etag);
  }

  void load_blob(const Found& found) {
    const auto& [file, remote] = found;
    const fs::path path = cache_.incomplete_path(remote.etag);
    std::error_code error;
    const auto size = [&] {
      return fs::is_regular_file(path, error) ? fs::file_size(path, error) : 0;
    };
    const auto earlier = static_cast<int64_t>(size());
    require_space(found, remote.bytes - earlier);
    bool is_valid = download(found, path);
    if (!is_valid && earlier > 0) {
      note(file + ": what an earlier run left of it was not its beginning; loading it anew");
      fs::remove(path, error);
      is_valid = download(found, path);
    }
    if (!is_valid) {
      fs::remove(path, error);
      throw_error(
          fmt::format("'{}' of '{}' is not what {} says: its hash is not {}; it was removed", file,
                      request_.model, settings_.endpoint, remote.etag));
    }
    fs::rename(path, cache_.blob_path(remote.etag), error);
    check(!error, "cannot rename '", path.string(), "': ", error.message());
  }

  // False if the content's hash is not the one that the hub says.
  bool download(const Found& found, const fs::path& path) {
    const auto& [file, remote] = found;
    FetchProgress progress = {.file = file, .total_bytes = remote.bytes};
    std::error_code error;
    if (fs::is_regular_file(path, error)) {
      progress.first_bytes = static_cast<int64_t>(fs::file_size(path, error));
    }
    const auto show = [&](int64_t bytes) {
      progress.bytes = bytes;
      progress.first_bytes = std::min(progress.first_bytes, bytes);
      if (observer_.progress) observer_.progress(progress);
    };
    show(progress.first_bytes);
    client_.download(file, remote, path.string(), show);
    const EtagKind kind = kind_of(remote.etag);
    if (kind == EtagKind::unknown) {
      note(fmt::format("{}: {} says no hash of it, only its length was checked", file,
                       settings_.endpoint));
      return true;
    }
    const std::string digest = file_digest(
        path.string(), kind == EtagKind::sha256 ? Digest::sha256 : Digest::git_blob_sha1,
        [&] { return should_stop(); });
    if (digest.empty()) throw FetchStopped();
    return digest == remote.etag;
  }

  void require_space(const Found& found, int64_t bytes) const {
    std::error_code error;
    const fs::space_info space = fs::space(settings_.cache, error);
    check(error || bytes <= static_cast<int64_t>(space.available), "no space left for '",
          found.file, "': it takes ", bytes, " bytes more, ", settings_.cache, " has ",
          space.available);
  }

  bool should_stop() const { return observer_.should_stop && observer_.should_stop(); }
  void note(const std::string& line) const {
    if (observer_.note) observer_.note(line);
  }

  const HubSettings& settings_;
  const FetchRequest& request_;
  const FetchObserver& observer_;
  CachedModel cache_;
  HubClient client_;
  std::string commit_;  // empty until the hub has said it
};

}  // namespace

std::optional<std::string> fetch_model(const HubSettings& settings, const FetchRequest& request,
                                       const FetchObserver& observer) {
  check(is_model_name(request.model), "'", request.model,
        "' is no model's name, allowed is NAME or OWNER/NAME of letters, digits, '-', '_' and '.'");
  check(is_inner_path(request.revision), "'", request.revision,
        "' is no revision, allowed is a branch, a tag or a commit");
  for (const std::string& file : request.files) {
    check(is_inner_path(file), "'", file, "' is no name of a file in a model");
  }
  check(!settings.is_offline, "HF_HUB_OFFLINE is set, so nothing is fetched");
  try {
    return Fetch(settings, request, observer).run();
  } catch (const FetchStopped&) {
    return std::nullopt;
  }
}

}  // namespace strobe
