#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/core/atomic_file.h"
#include "strobe/core/mapped_file.h"
#include "strobe/core/tensor.h"
#include "strobe/data/safetensors_header.h"

namespace strobe {

// Tensors of one .safetensors file, or of the files that a *.index.json names, all memory-mapped:
// opening reads the headers alone, and tensors are views of the maps, valid as long as this object.
class SafetensorsFile {
 public:
  // Throws Error, naming the file, when it or a file that its index names cannot be read or is
  // broken, or lacks a tensor that the index expects there.
  explicit SafetensorsFile(const std::string& path);

  // All tensors, in the order of their data, file after file.
  const std::vector<std::string>& names() const { return names_; }
  bool contains(std::string_view name) const { return places_.find(name) != places_.end(); }

  // What the file says of a tensor; throws Error when it has none of this name.
  const SafetensorsEntry& entry(std::string_view name) const { return place(name).entry; }

  // The tensor's bytes in the file: at any address, whatever its type.
  std::span<const std::byte> bytes(std::string_view name) const { return place(name).bytes; }

  // A view of the tensor in the file: read-only memory. Throws Error when there is none of this
  // name, it has a type or a rank that Strobe's tensors do not have, or it lies at an address that
  // its type cannot have (old writers did not align the data; bytes() reads those too).
  Tensor tensor(std::string_view name) const;

  // Of all files; where two disagree, that of the first.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::string& path() const { return path_; }

 private:
  struct Place {
    SafetensorsEntry entry;
    std::span<const std::byte> bytes;
  };
  const Place& place(std::string_view name) const;
  void add_index(const std::string& path);
  // The tensors of one file; of those, the ones that `is_wanted`.
  void add_file(const std::string& path, const std::function<bool(std::string_view)>& is_wanted);

  std::string path_;
  std::vector<MappedFile> files_;
  std::vector<std::string> names_;
  std::map<std::string, Place, std::less<>> places_;
  std::map<std::string, std::string> metadata_;
};

struct NamedTensor {
  std::string name;
  Tensor tensor;  // contiguous, on the CPU: f32, f16, bf16 or i32
};

// Writes the tensors into one file, replacing it as a whole or not at all (AtomicFile). Within the
// file, types of 4 bytes come first, so that all are aligned, and those of one size by name: byte
// for byte as Hugging Face's library writes it.
void write_safetensors(const std::string& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata);

// A tensor whose bytes are made while they are written: write(file) writes all of them.
struct StreamedTensor {
  std::string name;
  DType dtype;
  Shape shape;
  std::function<void(AtomicFile&)> write;
};
void write_safetensors(const std::string& path, std::span<const StreamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace strobe
