#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/core/dtype.h"

namespace strobe {

// The safetensors format of Hugging Face: 8 bytes little-endian length of a header, the header (a
// JSON object that gives each tensor's type, shape and byte range), then the tensors' bytes.
//
// Readers trust nothing: every length, offset and shape is checked against the bytes that are
// there before it is used, the ranges must tile the data without gap or overlap, and names must
// be different. What breaks a rule is an Error that names the tensor, the value and the rule.

// What a header says of one tensor.
struct SafetensorsEntry {
  std::string dtype;           // as the file has it: "F32", "BF16", "I64", …
  std::vector<int64_t> shape;  // of any rank
  size_t begin = 0, end = 0;   // bytes, from the start of the data
};

struct SafetensorsHeader {
  std::vector<std::string> names;  // in the order of their data
  std::map<std::string, SafetensorsEntry, std::less<>> entries;
  std::map<std::string, std::string> metadata;  // "__metadata__"
  size_t data_begin = 0;                        // of the data in the file
};

// The header of a whole file in memory; its tensors are not looked at. Throws Error when the bytes
// are not a safetensors file.
SafetensorsHeader parse_safetensors(std::span<const std::byte> file);

// Which file has which tensor, by the text of a model.safetensors.index.json. Throws Error when the
// text is not one, or a file is not given by a plain name: an index may not reach outside its
// folder.
std::map<std::string, std::string, std::less<>> parse_safetensors_index(std::string_view text);

// "F32" and DType::f32; nothing where Strobe's tensors have no such type.
std::string_view safetensors_word(DType dtype);
std::optional<DType> dtype_of_word(std::string_view word);

// "[2, 3]"
std::string shape_text(std::span<const int64_t> shape);

}  // namespace strobe
