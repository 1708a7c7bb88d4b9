#include "strobe/models/gpt2_weights.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <vector>

#include "strobe/core/check.h"
#include "strobe/core/json.h"
#include "strobe/core/parallel.h"
#include "strobe/data/parse_file.h"
#include "strobe/models/gpt2.h"
#include "strobe/ops/cast/cast.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;
using Bytes = std::span<const std::byte>;

constexpr std::string_view kPrefix = "transformer.";
constexpr std::string_view kHead = "lm_head.weight";
constexpr std::string_view kTable = "wte.weight";
constexpr size_t kLargestConfig = size_t{1} << 20;  // bytes; GPT-2's has 700

// One that may not be looked at counts as missing.
bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

std::string weights_path(const std::string& folder) {
  for (const char* name : {"/model.safetensors", "/model.safetensors.index.json"}) {
    if (exists(folder + name)) return folder + name;
  }
  for (const char* name : {"/pytorch_model.bin", "/pytorch_model.bin.index.json"}) {
    check(!exists(folder + name), "'", folder, "' has its weights in pytorch_model.bin alone,",
          " allowed is model.safetensors (transformers' save_pretrained writes it)");
  }
  throw_error(
      fmt::format("'{}' has neither model.safetensors nor model.safetensors.index.json", folder));
}

// "transformer.h.0.ln_1.bias" → "h.0.ln_1.bias"
std::string_view without_prefix(std::string_view name) {
  return name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name;
}

// "h.<number>.attn.bias" and "h.<number>.attn.masked_bias": the causal mask and what it adds, which
// transformers kept among the weights until 4.31.
bool is_mask(std::string_view name) {
  if (!name.starts_with("h.")) return false;
  name.remove_prefix(2);
  const size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
  name.remove_prefix(digits);
  return digits > 0 && (name == ".attn.bias" || name == ".attn.masked_bias");
}

bool is_linear(std::string_view name, const Shape& shape) {
  return shape.rank == 2 && name != kTable && name != "wpe.weight";
}

std::string list(const std::vector<std::string>& names) {
  constexpr size_t kShown = 20;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    text += (i > 0 ? ", " : "") + in_quotes(names[i]);
  }
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

std::string dims_text(const Shape& shape) {
  return shape_text(std::span(shape.dims).first(static_cast<size_t>(shape.rank)));
}

bool is_shape(const SafetensorsEntry& entry, const Shape& shape) {
  return std::ranges::equal(entry.shape,
                            std::span(shape.dims).first(static_cast<size_t>(shape.rank)));
}

constexpr int64_t kPiece = int64_t{1} << 20;  // elements that are read before their pages go

// Calls f(begin, end) for one piece of the elements after another, then drops the piece's pages.
template <class F>
void for_pieces(Bytes bytes, int64_t count, const F& f) {
  if (count == 0) return;
  const size_t size = bytes.size() / static_cast<size_t>(count);
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t end = std::min(begin + kPiece, count);
    f(begin, end);
    release_pages(bytes.subspan(begin * size, (end - begin) * size));
  }
}

// The bytes may lie at any address, so they are moved as bytes.
void copy_bytes(Bytes from, void* to) {
  constexpr int64_t kGrain = 64 * 1024;
  parallel_ranges(static_cast<int64_t>(from.size()), kGrain, [&](int64_t begin, int64_t end) {
    std::memcpy(static_cast<std::byte*>(to) + begin, from.data() + begin, end - begin);
  });
}

// `to`, contiguous of the type in the file, becomes the bytes' [columns, rows] transposed.
void copy_transposed(Bytes from, const Tensor& to) {
  constexpr int64_t kTile = 32;  // rows and columns at a time: both sides' cache lines stay near
  const int64_t rows = to.shape[0], columns = to.shape[1];
  const size_t size = size_of(to.dtype);
  auto* data = static_cast<std::byte*>(to.data);
  parallel_for_dynamic((rows + kTile - 1) / kTile, [&](int64_t tile, int) {
    const int64_t row_end = std::min(rows, (tile + 1) * kTile);
    for (int64_t first = 0; first < columns; first += kTile) {
      for (int64_t row = tile * kTile; row < row_end; ++row) {
        for (int64_t column = first; column < std::min(columns, first + kTile); ++column) {
          std::memcpy(data + (row * columns + column) * size,
                      from.data() + (column * rows + row) * size, size);
        }
      }
    }
  });
  release_pages(from);
}

}  // namespace

Gpt2Config load_gpt2_config(const std::string& folder) {
  std::error_code error;
  check(fs::is_directory(folder, error), "'", folder, "' is not a folder");
  const std::string path = folder + "/config.json";
  check(exists(path), "'", folder, "' has no config.json: it is not the folder of a model");
  const MappedFile file(path);
  check(file.bytes().size() <= kLargestConfig, "'", path, "' has ", file.bytes().size(),
        " bytes, allowed are ", kLargestConfig);
  return parse_file(file, gpt2_config_from_json);
}

Gpt2Weights::Gpt2Weights(const std::string& folder)
    : config_(load_gpt2_config(folder)), file_(weights_path(folder)) {
  FileNames file_names = meaningful_names();
  check_head(file_names);
  // A file may have the table under its other name only.
  const auto head = file_names.extract(std::string(kHead));
  if (head && !file_names.contains(kTable)) file_names.emplace(kTable, head.mapped());
  check_complete(file_names);

  const SafetensorsEntry& first = file_.entry(file_names.find("h.0.attn.c_attn.weight")->second);
  const bool is_transposed = is_shape(first, {3 * config_.n_embd, config_.n_embd});
  Gpt2Parameters(config_).for_each([&](const Parameter& p) {
    const std::string_view name = without_prefix(p.hf_name);
    const std::string& file_name = file_names.find(name)->second;
    sources_.emplace(p.hf_name,
                     source(file_name, p.shape, is_transposed && is_linear(name, p.shape)));
  });
}

// The files' names by those without prefix, masks left out.
Gpt2Weights::FileNames Gpt2Weights::meaningful_names() const {
  FileNames names;
  for (const std::string& file_name : file_.names()) {
    const std::string_view name = without_prefix(file_name);
    if (is_mask(name)) continue;
    const auto [place, is_new] = names.emplace(name, file_name);
    check(is_new, "'", file_.path(), "' has both ", in_quotes(place->second), " and ",
          in_quotes(file_name));
  }
  return names;
}

void Gpt2Weights::check_complete(FileNames file_names) const {
  std::vector<std::string> missing, unknown;
  Gpt2Parameters(config_).for_each([&](const Parameter& p) {
    const std::string name(without_prefix(p.hf_name));
    if (file_names.erase(name) == 0) missing.push_back(name);
  });
  check(missing.empty(), "'", file_.path(), "' lacks the tensors ", list(missing));
  for (const auto& [name, file_name] : file_names) unknown.push_back(file_name);
  check(unknown.empty(), "'", file_.path(), "' has tensors that a GPT-2 of ", config_.n_layer,
        " blocks does not have: ", list(unknown));
}

Gpt2Weights::Source Gpt2Weights::source(const std::string& file_name, const Shape& shape,
                                        bool is_transposed) const {
  const SafetensorsEntry& entry = file_.entry(file_name);
  const Shape expected = is_transposed ? Shape{shape[1], shape[0]} : shape;
  check(is_shape(entry, expected), "the tensor ", in_quotes(file_name), " in '", file_.path(),
        "' has the shape ", shape_text(entry.shape), ", expected is ", dims_text(expected));
  const std::optional<DType> dtype = dtype_of_word(entry.dtype);
  check(dtype.has_value() && *dtype != DType::i32, "the tensor ", in_quotes(file_name), " in '",
        file_.path(), "' is ", entry.dtype, ", allowed are F32, F16 and BF16");
  return {.name = file_name, .dtype = *dtype, .shape = shape, .is_transposed = is_transposed};
}

void Gpt2Weights::check_head(const FileNames& file_names) const {
  const auto head_name = file_names.find(kHead), table_name = file_names.find(kTable);
  if (head_name == file_names.end() || table_name == file_names.end()) return;
  const SafetensorsEntry& head = file_.entry(head_name->second);
  const SafetensorsEntry& table = file_.entry(table_name->second);
  const Bytes head_bytes = file_.bytes(head_name->second);
  const Bytes table_bytes = file_.bytes(table_name->second);
  std::atomic<bool> is_equal = head.dtype == table.dtype && head.shape == table.shape;
  const auto count = static_cast<int64_t>(head_bytes.size());
  if (is_equal) {
    for_pieces(head_bytes, count, [&](int64_t first, int64_t last) {
      parallel_ranges(last - first, 64 * 1024, [&](int64_t begin, int64_t end) {
        if (std::memcmp(head_bytes.data() + first + begin, table_bytes.data() + first + begin,
                        end - begin) != 0) {
          is_equal = false;
        }
      });
    });
    release_pages(table_bytes);
  }
  check(is_equal, "'", file_.path(), "' has a head (lm_head.weight) that differs from the token ",
        "table (wte.weight); allowed is a head tied to it");
}

DType Gpt2Weights::dtype() const { return sources_.at("transformer.wte.weight").dtype; }

int64_t Gpt2Weights::bytes() const {
  int64_t sum = 0;
  for (const auto& [name, source] : sources_) {
    sum += source.shape.numel() * static_cast<int64_t>(size_of(source.dtype));
  }
  return sum;
}

void Gpt2Weights::prefetch() const {
  for (const auto& [name, source] : sources_) prefetch_pages(file_.bytes(source.name));
}

void Gpt2Weights::read(Context& ctx, std::string_view name, const Tensor& to) const {
  const auto found = sources_.find(name);
  check(found != sources_.end(), "GPT-2 has no parameter ", in_quotes(name));
  const Source& source = found->second;
  check_contiguous(source.name.c_str(), to, to.dtype, source.shape);
  const Bytes bytes = file_.bytes(source.name);
  const bool is_same_type = source.dtype == to.dtype;
  const Arena::Scope scope(ctx.arena());
  const auto workspace = [&](const Shape& shape) {
    return ctx.arena().allocate(MemoryUse::workspace, source.dtype, shape);
  };
  if (source.is_transposed) {
    const Tensor turned = is_same_type ? to : workspace(source.shape);
    copy_transposed(bytes, turned);
    if (!is_same_type) cast(ctx, {.from = turned, .to = to});
    return;
  }
  const int64_t count = to.numel();
  const size_t size = size_of(source.dtype);
  const Tensor flat = to.view({count});
  const Tensor piece = is_same_type ? Tensor() : workspace({std::min(count, kPiece)});
  for_pieces(bytes, count, [&](int64_t begin, int64_t end) {
    const Bytes part = bytes.subspan(begin * size, (end - begin) * size);
    const Tensor part_to = flat.slice(0, begin, end);
    if (is_same_type) {
      copy_bytes(part, part_to.data);
    } else {
      const Tensor part_from = piece.slice(0, 0, end - begin);
      copy_bytes(part, part_from.data);
      cast(ctx, {.from = part_from, .to = part_to});
    }
  });
}

}  // namespace strobe
