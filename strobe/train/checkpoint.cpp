#include "strobe/train/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <future>
#include <set>
#include <utility>

#include "strobe/core/atomic_file.h"
#include "strobe/core/atomic_folder.h"
#include "strobe/core/check.h"
#include "strobe/core/clock.h"
#include "strobe/core/copy.h"
#include "strobe/core/json.h"
#include "strobe/core/mapped_file.h"
#include "strobe/data/safetensors.h"
#include "strobe/models/gpt2_files.h"
#include "strobe/train/checksum.h"
#include "strobe/train/provenance.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kFormatVersion = 1;  // of training.json and of what lies beside it
constexpr const char* kFormat = "strobe training";
constexpr const char* kStateFile = "training.json";
constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr std::string_view kPrefix = "checkpoint-";

// Options of which the learned weights do not depend, or to rounding only; and the number of steps,
// by which the learning rate may fall differently from the checkpoint on.
constexpr std::string_view kChangeable[] = {"steps",
                                            "attention",
                                            "device",
                                            "threads",
                                            "data",
                                            "tokenizer",
                                            "validation_every",
                                            "validation_batches",
                                            "out",
                                            "save_every",
                                            "keep",
                                            "resume",
                                            "save_model"};

std::string path_in(const std::string& folder, const std::string& file) {
  return (fs::path(folder) / file).string();
}

std::string hex(uint64_t value) { return fmt::format("{:016x}", value); }

// The STEP of "checkpoint-STEP", −1 for any other name.
int64_t step_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return -1;
  int64_t step = -1;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  return error == std::errc() && stop == end ? step : -1;
}

// The folder in which a folder lies, however it is named ("checkpoint-3/", "."); relative to where
// we are if the name is.
std::string folder_of(const std::string& name) {
  const fs::path whole = (fs::absolute(name) / "").lexically_normal();  // ends with a slash
  const fs::path folder = whole.parent_path().parent_path();
  return (fs::path(name).is_absolute() ? folder : fs::proximate(folder)).string();
}

// Writing

void write_moments(Gpt2& model, const std::string& path) {
  std::vector<StreamedTensor> tensors;
  const auto add = [&](const std::string& name, const Tensor& moment) {
    const auto write = [moment](AtomicFile& file) {
      const HostView view(moment);
      file.write({static_cast<const char*>(view.tensor().data), view.tensor().bytes()});
    };
    tensors.push_back({.name = name, .dtype = moment.dtype, .shape = moment.shape, .write = write});
  };
  model.for_each_parameter([&](Parameter& p) {
    add(p.hf_name + ".m", p.m);
    add(p.hf_name + ".v", p.v);
  });
  write_safetensors(path, tensors, {{"format", "strobe"}});
}

// The checksum of each file, in hex; all at once, because two of them are large.
std::vector<std::string> checksums_of(const std::vector<std::string>& paths) {
  std::vector<std::future<uint64_t>> sums;
  for (const std::string& path : paths) {
    sums.push_back(std::async(std::launch::async, checksum_of_file, path));
  }
  std::vector<std::string> result;
  for (std::future<uint64_t>& sum : sums) result.push_back(hex(sum.get()));
  return result;
}

// Size and checksum of every file in the folder.
Json list_files(const std::string& folder) {
  std::vector<std::string> paths;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    paths.push_back(entry.path().string());
  }
  std::ranges::sort(paths);
  const std::vector<std::string> sums = checksums_of(paths);
  Json files = Json::object();
  for (size_t i = 0; i < paths.size(); ++i) {
    files[fs::path(paths[i]).filename().string()] = {{"bytes", fs::file_size(paths[i])},
                                                     {"xxh64", sums[i]}};
  }
  return files;
}

// Of what the object says, however it is written.
std::string checksum_of(const SortedJson& object) {
  const std::string text = object.dump();
  return hex(checksum(std::as_bytes(std::span(text))));
}

void write_state(const TrainingState& state, const std::string& folder) {
  Json json = {{"format", kFormat},
               {"format_version", kFormatVersion},
               {"step", state.step},
               {"micro_batches", state.micro_batches},
               {"next_batch_xxh64", hex(state.next_batch_checksum)},
               {"loss_scale", state.loss_scale},
               {"finite_steps", state.finite_steps},
               {"skipped_steps", state.skipped_steps},
               {"threads", state.threads},
               {"options", options_json(state.options)},
               {"files", list_files(folder)},
               {"written_by", provenance()}};
  json["xxh64"] = checksum_of(parse_json(json.dump(), kStateFile));
  AtomicFile file(path_in(folder, kStateFile));
  file.write(json.dump(2) + "\n");
  file.commit();
}

int64_t bytes_of(const std::string& folder) {
  int64_t bytes = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    bytes += static_cast<int64_t>(entry.file_size());
  }
  return bytes;
}

// All but the newest `keep`, and what was not finished when a run was killed.
void remove_old_ones(const std::string& run_folder, int64_t keep) {
  std::vector<std::string> old = checkpoints_of(run_folder);
  old.resize(old.size() - std::min(old.size(), static_cast<size_t>(keep)));
  for (const std::string& path : old) remove_folder(path);
  for (const fs::directory_entry& entry : fs::directory_iterator(run_folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kPrefix) && name.ends_with(AtomicFolder::kPartial)) {
      fs::remove_all(entry.path());
    }
  }
}

// Reading

// training.json as an object whose own checksum is right.
SortedJson read_state_file(const std::string& checkpoint) {
  const std::string path = path_in(checkpoint, kStateFile);
  const MappedFile file(path);
  const auto bytes = file.bytes();
  SortedJson json =
      parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "'" + path + "'");
  check(json.is_object() && json.value("format", SortedJson()) == kFormat &&
            json.contains("format_version") && json["format_version"].is_number_integer(),
        "'", path, "' is not of a checkpoint");
  const int64_t version = json["format_version"].get<int64_t>();
  check(version <= kFormatVersion, "'", path, "' is of format ", version,
        ", this program reads up to ", kFormatVersion, ": a newer one wrote it");
  const SortedJson expected = json.value("xxh64", SortedJson());
  json.erase("xxh64");
  check(expected == checksum_of(json), "'", path,
        "' is damaged or was changed: it does not have its checksum");
  return json;
}

void read_moment(const SafetensorsFile& file, const std::string& name, const Tensor& to) {
  const Tensor from = file.tensor(name);
  check_tensor(name.c_str(), from, DType::f32, to.shape);
  copy_now(from, to);
  release_pages({static_cast<const std::byte*>(from.data), from.bytes()});
}

void read_moments(Gpt2& model, const std::string& path) {
  const SafetensorsFile file(path);
  size_t read = 0;
  model.for_each_parameter([&](Parameter& p) {
    read_moment(file, p.hf_name + ".m", p.m);
    read_moment(file, p.hf_name + ".v", p.v);
    read += 2;
  });
  check(file.names().size() == read, "'", path, "' has ", file.names().size(),
        " tensors, the model has ", read, " moments");
}

}  // namespace

SavedCheckpoint save_checkpoint(Context& ctx, Gpt2& model, const Tokenizer& tokenizer,
                                const TrainingState& state, const std::string& run_folder) {
  const Stopwatch watch;
  ctx.synchronize();
  const std::string path = path_in(run_folder, fmt::format("{}{}", kPrefix, state.step));
  AtomicFolder folder(path);
  const std::string& partial = folder.partial_path();
  // One thread alone does not keep a fast disk busy.
  std::future<void> moments = std::async(
      std::launch::async, [&] { write_moments(model, path_in(partial, kOptimizerFile)); });
  save_gpt2(ctx, model, partial, DType::f32);
  save_tokenizer(tokenizer, partial);
  moments.get();
  write_state(state, partial);
  folder.commit();

  remove_old_ones(run_folder, state.options.keep);
  return {.path = path, .bytes = bytes_of(path), .ms = watch.ms()};
}

std::vector<std::string> checkpoints_of(const std::string& run_folder) {
  std::set<std::pair<int64_t, std::string>> found;
  std::error_code ignored;  // no folder, no checkpoints
  for (const fs::directory_entry& entry : fs::directory_iterator(run_folder, ignored)) {
    const int64_t step = step_of(entry.path().filename().string());
    if (step >= 0) found.emplace(step, entry.path().string());
  }
  std::vector<std::string> paths;
  for (const auto& [step, path] : found) paths.push_back(path);
  return paths;
}

std::string checkpoint_at(const std::string& path) {
  check(fs::is_directory(path), "there is no checkpoint '", path, "': no such folder");
  if (fs::exists(path_in(path, kStateFile))) return path;
  const std::vector<std::string> all = checkpoints_of(path);
  check(!all.empty(), "'", path, "' is no checkpoint (it has no ", kStateFile, ") and holds none (",
        kPrefix, "STEP)");
  return all.back();
}

TrainOptions options_to_resume(const std::string& path) {
  const std::string checkpoint = checkpoint_at(path);
  TrainOptions options = read_training_state(checkpoint).options;
  options.resume = checkpoint;
  options.out = folder_of(checkpoint);
  if (!options.tokenizer.empty()) options.tokenizer = checkpoint;
  return options;
}

TrainingState read_training_state(const std::string& checkpoint) {
  const SortedJson json = read_state_file(checkpoint);
  try {
    TrainingState state;
    state.step = json.at("step").get<int64_t>();
    state.micro_batches = json.at("micro_batches").get<int64_t>();
    state.next_batch_checksum =
        std::stoull(json.at("next_batch_xxh64").get<std::string>(), nullptr, 16);
    state.loss_scale = json.at("loss_scale").get<double>();
    state.finite_steps = json.value("finite_steps", int64_t{0});
    state.skipped_steps = json.value("skipped_steps", int64_t{0});
    state.threads = json.at("threads").get<int>();
    set_options(state.options, json.at("options"));
    return state;
  } catch (const std::exception& error) {
    throw_error(fmt::format("'{}': {}", path_in(checkpoint, kStateFile), error.what()));
  }
}

void check_checkpoint(const std::string& checkpoint) {
  const SortedJson state = read_state_file(checkpoint);
  const SortedJson& files = state.at("files");
  std::vector<std::string> paths;
  for (const auto& [name, expected] : files.items()) {
    const std::string& path = paths.emplace_back(path_in(checkpoint, name));
    std::error_code error;
    const auto bytes = fs::file_size(path, error);
    check(!error, "the checkpoint is not whole: '", path, "': ", error.message());
    check(bytes == expected.at("bytes").get<uint64_t>(), "'", path, "' has ", bytes,
          " bytes, it was saved with ", expected.at("bytes").dump());
  }
  const std::vector<std::string> sums = checksums_of(paths);
  size_t i = 0;
  for (const auto& [name, expected] : files.items()) {
    check(sums[i] == expected.at("xxh64").get_ref<const std::string&>(), "'", paths[i],
          "' is damaged or was changed: it does not have the checksum it was saved with");
    ++i;
  }
}

void check_resumable(const TrainingState& state, const TrainOptions& options) {
  check(state.loss_scale == 1 || options.dtype == DType::f16, "the checkpoint has a loss scale of ",
        state.loss_scale, ", allowed is 1: ", options.dtype, " needs none");
  const Json saved = options_json(state.options), now = options_json(options);
  for (const auto& [name, value] : now.items()) {
    if (value == saved[name] || std::ranges::count(kChangeable, name) > 0) continue;
    throw_error(
        fmt::format("{} is {}, the run was begun with {}: a run that goes on keeps it; to "
                    "train on with other options, start from the weights (model)",
                    name, value.dump(), saved[name].dump()));
  }
  check(options.steps > state.step, "the run is at step ", state.step, ", steps is ", options.steps,
        ": nothing is left to do; to go on, give more");
}

void load_checkpoint(Context& ctx, Gpt2& model, const std::string& checkpoint) {
  check_checkpoint(checkpoint);
  load_weights(ctx, model, Gpt2Weights(checkpoint));
  read_moments(model, path_in(checkpoint, kOptimizerFile));
}

}  // namespace strobe
