#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/core/mapped_file.h"
#include "strobe/core/tensor.h"

namespace strobe {

// The safetensors format of Hugging Face: 8 bytes little-endian length of a header, the header (a
// JSON object that gives each tensor's type, shape and byte range), then the tensors' bytes.
//
// Readers trust nothing: every length, offset and shape is checked against the bytes that are
// there before it is used, the ranges must tile the data without gap or overlap, and names must
// be different. What breaks a rule is an Error that names the tensor, the value and the rule.

// A tensor's name and place.
struct NamedTensor {
  std::string name;
  Tensor tensor;  // contiguous, on the CPU: f32, f16, bf16 or i32
};

// What a header says of one tensor.
struct SafetensorsEntry {
  std::string dtype;           // as the file has it: "F32", "BF16", "I64", …
  std::vector<int64_t> shape;  // of any rank
  size_t begin = 0, end = 0;   // bytes, from the start of the data
};

struct SafetensorsHeader {
  std::vector<std::string> names;  // in the order of their data
  std::map<std::string, SafetensorsEntry, std::less<>> entries;
  std::map<std::string, std::string> metadata;  // "__metadata__": strings only
  size_t data_begin = 0;                        // of the data in the file
};

// The header of a whole file in memory; its tensors are not looked at. Throws Error when the bytes
// are not a safetensors file.
SafetensorsHeader parse_safetensors(std::span<const std::byte> file);

// Which file has which tensor, by the text of a model.safetensors.index.json. Throws Error when the
// text is not one, or a file is not named by a plain name: an index may not reach outside its
// folder.
std::map<std::string, std::string> parse_safetensors_index(std::string_view text);

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
  const SafetensorsEntry& entry(std::string_view name) const;

  // A view of the tensor in the file: read-only memory, aligned to the type. Throws Error when
  // there is none of this name, or it has a type or a rank that Strobe's tensors do not have.
  Tensor tensor(std::string_view name) const;

  // Of all files; where two disagree, that of the first.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::string& path() const { return path_; }

 private:
  struct Place {
    SafetensorsEntry entry;
    const std::byte* data;
  };
  const Place& place(std::string_view name) const;
  void add_file(const std::string& path);

  std::string path_;
  std::vector<MappedFile> files_;
  std::vector<std::string> names_;
  std::map<std::string, Place, std::less<>> places_;
  std::map<std::string, std::string> metadata_;
};

// Writes the tensors into one file, replacing it as a whole or not at all (AtomicFile). In the file
// they lie by alignment of their types, then in the order given.
void write_safetensors(const std::string& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace strobe
