#include "strobe/data/safetensors.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "strobe/core/check.h"
#include "strobe/core/json.h"
#include "strobe/data/parse_file.h"

namespace strobe {
namespace {

namespace fs = std::filesystem;

std::string json_string(std::string_view text) { return Json(text).dump(); }

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path) {
  if (path.ends_with(".json")) {
    add_index(path);
  } else {
    add_file(path, [](std::string_view) { return true; });
  }
}

void SafetensorsFile::add_index(const std::string& path) {
  const auto file_of = parse_file(MappedFile(path), parse_safetensors_index);
  std::set<std::string> files;
  for (const auto& [name, file] : file_of) files.insert(file);
  for (const std::string& file : files) {
    add_file((fs::path(path).parent_path() / file).string(), [&](std::string_view name) {
      const auto found = file_of.find(name);
      return found != file_of.end() && found->second == file;
    });
  }
  for (const auto& [name, file] : file_of) {
    check(contains(name), "'", path, "' expects the tensor ", in_quotes(name), " in ",
          in_quotes(file), ", which does not have it");
  }
}

void SafetensorsFile::add_file(const std::string& path,
                               const std::function<bool(std::string_view)>& is_wanted) {
  const MappedFile& file = files_.emplace_back(path);
  SafetensorsHeader header =
      parse_file(file, [&](std::string_view) { return parse_safetensors(file.bytes()); });
  for (std::string& name : header.names) {
    if (!is_wanted(name)) continue;
    SafetensorsEntry& entry = header.entries.find(name)->second;
    const auto bytes =
        file.bytes().subspan(header.data_begin + entry.begin, entry.end - entry.begin);
    places_.emplace(name, Place{.entry = std::move(entry), .bytes = bytes});
    names_.push_back(std::move(name));
  }
  metadata_.merge(header.metadata);
}

const SafetensorsFile::Place& SafetensorsFile::place(std::string_view name) const {
  const auto found = places_.find(name);
  check(found != places_.end(), "'", path_, "' has no tensor ", in_quotes(name));
  return found->second;
}

Tensor SafetensorsFile::tensor(std::string_view name) const {
  const auto& [entry, bytes] = place(name);
  const std::optional<DType> dtype = dtype_of_word(entry.dtype);
  check(dtype.has_value(), "the tensor ", in_quotes(name), " in '", path_, "' is ", entry.dtype,
        ", allowed are F32, F16, BF16 and I32");
  check(entry.shape.size() <= Shape::kMaxRank, "the tensor ", in_quotes(name), " in '", path_,
        "' has the shape ", shape_text(entry.shape), ", allowed are up to ", Shape::kMaxRank,
        " dimensions");
  check(reinterpret_cast<uintptr_t>(bytes.data()) % size_of(*dtype) == 0, "the tensor ",
        in_quotes(name), " in '", path_, "' is ", entry.dtype, " at an address that this type",
        " cannot have: the file is not aligned");
  Shape shape;
  for (const int64_t size : entry.shape) shape[shape.rank++] = size;
  return Tensor::contiguous(const_cast<std::byte*>(bytes.data()), *dtype, shape);
}

void write_safetensors(const std::string& path, std::span<const StreamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const StreamedTensor*> order;
  for (const StreamedTensor& tensor : tensors) order.push_back(&tensor);
  std::ranges::sort(order, {}, [](const StreamedTensor* tensor) {
    return std::pair(-static_cast<int>(size_of(tensor->dtype)), std::string_view(tensor->name));
  });

  std::string header = "{\"__metadata__\":" + SortedJson(metadata).dump();
  std::set<std::string_view> names = {"__metadata__"};
  int64_t offset = 0;
  for (const StreamedTensor* tensor : order) {
    check(names.insert(tensor->name).second, "cannot write '", path, "': the name ",
          in_quotes(tensor->name), " is taken");
    const Shape& shape = tensor->shape;
    const int64_t end = offset + shape.numel() * static_cast<int64_t>(size_of(tensor->dtype));
    header += fmt::format(R"(,{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                          json_string(tensor->name), safetensors_word(tensor->dtype),
                          fmt::join(shape.dims.begin(), shape.dims.begin() + shape.rank, ","),
                          offset, end);
    offset = end;
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');

  AtomicFile file(path);
  const auto length = static_cast<uint64_t>(header.size());
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(header);
  int64_t expected = file.bytes();
  for (const StreamedTensor* tensor : order) {
    tensor->write(file);
    expected += tensor->shape.numel() * static_cast<int64_t>(size_of(tensor->dtype));
    check(file.bytes() == expected, "cannot write '", path, "': the tensor ",
          in_quotes(tensor->name), " ended at byte ", file.bytes(), " instead of ", expected);
  }
  file.commit();
}

void write_safetensors(const std::string& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<StreamedTensor> streams;
  for (const auto& [name, tensor] : tensors) {
    check(tensor.is_contiguous() && tensor.device == DeviceKind::cpu, "cannot write '", path,
          "': the tensor ", in_quotes(name), " is not contiguous on the CPU");
    const std::span bytes(static_cast<const std::byte*>(tensor.data), tensor.bytes());
    streams.push_back({.name = name,
                       .dtype = tensor.dtype,
                       .shape = tensor.shape,
                       .write = [bytes](AtomicFile& file) { file.write(bytes); }});
  }
  write_safetensors(path, streams, metadata);
}

}  // namespace strobe
