#include "strobe/models/gpt2_files.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "strobe/core/atomic_file.h"
#include "strobe/core/check.h"
#include "strobe/core/copy.h"
#include "strobe/core/json.h"
#include "strobe/core/jsonl.h"
#include "strobe/ops/cast/cast.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "transformer.";
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
// What transformers writes, and asks for when it reads.
const std::map<std::string, std::string> kMetadata = {{"format", "pt"}};

// "float32": torch's name, as config.json has it.
std::string_view torch_word(DType dtype) {
  switch (dtype) {
    case DType::f16: return "float16";
    case DType::bf16: return "bfloat16";
    default: return "float32";
  }
}

void write_text(const std::string& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

int64_t bytes_of(const StreamedTensor& tensor) {
  return tensor.shape.numel() * static_cast<int64_t>(size_of(tensor.dtype));
}

std::string shard_name(size_t index, size_t count) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

// A file that holds weights under a name that transformers gives one.
bool is_weights_file(std::string_view name) {
  return name == kSingleFile || name == kIndex ||
         (name.starts_with("model-") && name.ends_with(".safetensors"));
}

using Shards = std::vector<std::vector<StreamedTensor>>;

// As transformers cuts them: a shard takes the next tensors until one more would be too much, and
// what is too much by itself has its own.
Shards shards_of(const std::vector<StreamedTensor>& tensors, int64_t max_bytes) {
  Shards shards;
  std::vector<StreamedTensor> open_shard;
  int64_t open_bytes = 0;
  for (const StreamedTensor& tensor : tensors) {
    const int64_t bytes = bytes_of(tensor);
    if (bytes > max_bytes) {
      shards.push_back({tensor});
      continue;
    }
    if (open_bytes + bytes > max_bytes) {
      shards.push_back(std::exchange(open_shard, {}));
      open_bytes = 0;
    }
    open_shard.push_back(tensor);
    open_bytes += bytes;
  }
  if (!open_shard.empty()) shards.push_back(open_shard);
  return shards;
}

std::string index_text(const Shards& shards) {
  int64_t parameters = 0, bytes = 0;
  SortedJson files = SortedJson::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const StreamedTensor& tensor : shards[i]) {
      files[tensor.name] = shard_name(i, shards.size());
      parameters += tensor.shape.numel();
      bytes += bytes_of(tensor);
    }
  }
  const SortedJson index = {{"metadata", {{"total_parameters", parameters}, {"total_size", bytes}}},
                            {"weight_map", files}};
  return index.dump(2) + "\n";
}

// Writes config.json and the weights; then removes what there was of other weights.
void write_folder(const std::string& folder, const std::string& config,
                  const std::vector<StreamedTensor>& tensors, int64_t max_shard_bytes) {
  create_folder(folder);
  const Shards shards = shards_of(tensors, max_shard_bytes);
  std::set<std::string> written;
  const auto path_of = [&](const std::string& name) {
    written.insert(name);
    return folder + "/" + name;
  };
  if (shards.size() == 1) {
    write_safetensors(path_of(kSingleFile), shards[0], kMetadata);
  } else {
    for (size_t i = 0; i < shards.size(); ++i) {
      write_safetensors(path_of(shard_name(i, shards.size())), shards[i], kMetadata);
    }
    write_text(path_of(kIndex), index_text(shards));
  }
  write_text(folder + "/config.json", config);
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    std::error_code ignored;
    if (is_weights_file(name) && !written.contains(name)) fs::remove(entry.path(), ignored);
  }
}

std::string_view bytes_as_text(const Tensor& tensor) {
  return {static_cast<const char*>(tensor.data), tensor.bytes()};
}

// Writes a contiguous tensor's values in another type, a piece at a time.
void write_as(Context& host, AtomicFile& file, const Tensor& tensor, DType dtype) {
  const HostView view(tensor);
  const Tensor& values = view.tensor();
  if (values.dtype == dtype) {
    file.write(bytes_as_text(values));
    return;
  }
  constexpr int64_t kPiece = int64_t{1} << 22;  // elements
  const Arena::Scope scope(host.arena());
  const Tensor flat = values.view({values.numel()});
  const Tensor piece =
      host.arena().allocate(MemoryUse::workspace, dtype, {std::min(kPiece, values.numel())});
  for (int64_t begin = 0; begin < values.numel(); begin += kPiece) {
    const int64_t end = std::min(begin + kPiece, values.numel());
    const Tensor part = piece.slice(0, 0, end - begin);
    cast(host, {.from = flat.slice(0, begin, end), .to = part});
    file.write(bytes_as_text(part));
  }
}

StreamedTensor streamed(const Parameter& parameter, const Gpt2FileFormat& format,
                        std::function<void(AtomicFile&)> write) {
  return {.name = std::string(format.prefix) + parameter.hf_name.substr(kPrefix.size()),
          .dtype = format.dtype,
          .shape = parameter.shape,
          .write = std::move(write)};
}

void check_format(const Gpt2FileFormat& format) {
  check(format.dtype != DType::i32, "the file's type is ", format.dtype,
        ", allowed are f32, f16 and bf16");
  check(format.prefix.empty() || format.prefix == kPrefix, "the prefix is '", format.prefix,
        "', allowed are '", kPrefix, "' and none");
  check(format.max_shard_bytes > 0, "the size of a shard is ", format.max_shard_bytes,
        " bytes, allowed is 1 or more");
}

}  // namespace

Gpt2 load_gpt2(Context& ctx, const std::string& folder, DType dtype, bool is_trainable) {
  const Gpt2Weights weights(folder);
  Gpt2 model(ctx, weights.config(), dtype, is_trainable);
  load_weights(ctx, model, weights);
  return model;
}

void load_weights(Context& ctx, Gpt2& model, const Gpt2Weights& weights) {
  weights.prefetch();
  // By name, which is the order in the files: a disk is read from front to back.
  std::map<std::string_view, Parameter*> parameters;
  model.for_each_parameter([&](Parameter& p) { parameters.emplace(p.hf_name, &p); });
  Context host;
  for (const auto& [name, p] : parameters) {
    const Arena::Scope scope(host.arena());
    const Tensor& first = p->master.has_data() ? p->master : p->value;
    Tensor values = first;
    if (first.device != host.device().kind) {
      values = host.arena().allocate(MemoryUse::workspace, first.dtype, first.shape);
    }
    weights.read(host, name, values);
    if (values.data != first.data) copy_now(values, first);
    if (p->value.data != first.data) cast(ctx, {.from = first, .to = p->value});
  }
}

void save_gpt2(Context& ctx, Gpt2& model, const std::string& folder, const Gpt2FileFormat& format) {
  check_format(format);
  Json config = Json::parse(to_json(model.config()));
  config["architectures"] = {"GPT2LMHeadModel"};
  config["torch_dtype"] = torch_word(format.dtype);
  ctx.synchronize();
  Context host;
  std::vector<StreamedTensor> tensors;
  model.for_each_parameter([&](const Parameter& p) {
    const Tensor values = p.master.has_data() ? p.master : p.value;
    tensors.push_back(streamed(p, format, [&host, values, &format](AtomicFile& file) {
      write_as(host, file, values, format.dtype);
    }));
  });
  write_folder(folder, config.dump(2) + "\n", tensors, format.max_shard_bytes);
}

void save_gpt2(Context& ctx, Gpt2& model, const std::string& folder, DType file_dtype) {
  save_gpt2(ctx, model, folder, {.dtype = file_dtype});
}

void convert_gpt2(Context& ctx, const std::string& from, const std::string& to,
                  const Gpt2FileFormat& format) {
  check_format(format);
  const Gpt2Weights weights(from);
  std::error_code ignored;
  check(!fs::equivalent(from, to, ignored), "'", to, "' is the folder that is converted; allowed",
        " is another one");
  const MappedFile config_file(from + "/config.json");
  Json config = Json::parse(
      reinterpret_cast<const char*>(config_file.bytes().data()),
      reinterpret_cast<const char*>(config_file.bytes().data()) + config_file.bytes().size());
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] = torch_word(format.dtype);
  const Json ours = Json::parse(to_json(weights.config()));
  config.erase("attn_implementation");  // which may be a word of ours alone
  if (ours.contains("attn_implementation")) {
    config["attn_implementation"] = ours["attn_implementation"];
  }
  std::vector<StreamedTensor> tensors;
  Gpt2Parameters(weights.config()).for_each([&](const Parameter& p) {
    tensors.push_back(streamed(
        p, format, [&ctx, &weights, &format, name = p.hf_name, shape = p.shape](AtomicFile& file) {
          const Arena::Scope scope(ctx.arena());
          const Tensor values = ctx.arena().allocate(MemoryUse::workspace, format.dtype, shape);
          weights.read(ctx, name, values);
          file.write(bytes_as_text(values));
        }));
  });
  write_folder(to, config.dump(2) + "\n", tensors, format.max_shard_bytes);
}

}  // namespace strobe
