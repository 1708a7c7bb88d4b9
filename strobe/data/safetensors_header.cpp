#include "strobe/data/safetensors_header.h"

#include <algorithm>
#include <cstring>

#include "strobe/core/check.h"
#include "strobe/core/json.h"

namespace strobe {
namespace {

constexpr size_t kLengthBytes = 8;
// Of a header (as in Hugging Face's library) and of an index, in bytes.
constexpr size_t kLargestHeader = 100'000'000;
constexpr std::string_view kMetadata = "__metadata__";

struct Word {
  std::string_view word;
  int bits;
  std::optional<DType> dtype;
};
constexpr Word kWords[] = {
    {"F32", 32, DType::f32}, {"F16", 16, DType::f16}, {"BF16", 16, DType::bf16},
    {"I32", 32, DType::i32}, {"BOOL", 8, {}},         {"U8", 8, {}},
    {"I8", 8, {}},           {"I16", 16, {}},         {"U16", 16, {}},
    {"U32", 32, {}},         {"I64", 64, {}},         {"U64", 64, {}},
    {"F64", 64, {}},         {"C64", 64, {}},         {"F8_E4M3", 8, {}},
    {"F8_E5M2", 8, {}},      {"F8_E8M0", 8, {}},      {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},      {"F4", 4, {}},
};

const Word* find_word(std::string_view word) {
  const auto* found = std::ranges::find(kWords, word, &Word::word);
  return found == std::end(kWords) ? nullptr : found;
}

// Follows the parser through the header, which has few places: nothing is built of what does not
// belong there, so a header costs no more memory than its tensors' names.
class HeaderReader final : public nlohmann::json_sax<SortedJson> {
 public:
  explicit HeaderReader(SafetensorsHeader& header) : header_(header) {}

  bool start_object(size_t) override {
    switch (place_) {
      case Place::start: place_ = Place::top; return true;
      case Place::metadata_value: place_ = Place::metadata; return true;
      case Place::entry_value: place_ = Place::entry; return true;
      default: refuse("an object");
    }
  }

  bool key(string_t& text) override {
    switch (place_) {
      case Place::top: begin_top(text); return true;
      case Place::metadata:
        key_ = text;
        place_ = Place::metadata_text;
        return true;
      case Place::entry: begin_field(text); return true;
      default: refuse("a key");
    }
  }

  bool end_object() override {
    if (place_ == Place::entry) {
      check(has_dtype_ && has_shape_ && offsets_ == 2, "the tensor ", in_quotes(name_),
            " lacks one of dtype, shape and data_offsets");
    }
    place_ = place_ == Place::top ? Place::end : Place::top;
    return true;
  }

  bool string(string_t& text) override {
    if (place_ == Place::metadata_text) {
      check(header_.metadata.emplace(key_, text).second, "__metadata__ has ", in_quotes(key_),
            " twice");
      place_ = Place::metadata;
    } else if (place_ == Place::dtype) {
      check(find_word(text) != nullptr, "the tensor ", in_quotes(name_), " has the type ",
            in_quotes(text), ", which the format does not know");
      entry_->dtype = text;
      place_ = Place::entry;
    } else {
      refuse("a string");
    }
    return true;
  }

  bool start_array(size_t) override {
    if (place_ == Place::shape) {
      place_ = Place::sizes;
    } else if (place_ == Place::data_offsets) {
      place_ = Place::offsets;
    } else {
      refuse("an array");
    }
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::sizes) {
      check(value <= INT64_MAX, "the tensor ", in_quotes(name_), " has a dimension of ", value);
      entry_->shape.push_back(static_cast<int64_t>(value));
    } else if (place_ == Place::offsets && offsets_ < 2) {
      (offsets_++ == 0 ? entry_->begin : entry_->end) = value;
    } else {
      refuse("a number");
    }
    return true;
  }

  bool end_array() override {
    check(place_ != Place::offsets || offsets_ == 2, "data_offsets of the tensor ",
          in_quotes(name_), " has ", offsets_, " numbers, allowed are 2");
    place_ = Place::entry;
    return true;
  }

  bool number_integer(number_integer_t) override { refuse("a number below 0"); }
  bool number_float(number_float_t, const string_t&) override { refuse("a broken number"); }
  bool boolean(bool) override { refuse("true or false"); }
  bool null() override { refuse("null"); }
  bool binary(binary_t&) override { refuse("binary data"); }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    throw_error(fmt::format("the header is not JSON at its byte {}", position));
  }

 private:
  enum class Place : unsigned char {
    start,
    top,             // { here: "…": …, }
    metadata_value,  // "__metadata__": here
    metadata,        // "__metadata__": { here }
    metadata_text,   // "__metadata__": { "…": here }
    entry_value,     // "name": here
    entry,           // "name": { here }
    dtype,           // "dtype": here
    shape,           // "shape": here
    sizes,           // "shape": [ here ]
    data_offsets,    // "data_offsets": here
    offsets,         // "data_offsets": [ here ]
    end,
  };

  void begin_top(const std::string& name) {
    name_ = name;
    if (name == kMetadata) {
      check(!has_metadata_, "__metadata__ comes twice");
      has_metadata_ = true;
      place_ = Place::metadata_value;
      return;
    }
    const auto [place, is_new] = header_.entries.try_emplace(name);
    check(is_new, "the tensor ", in_quotes(name), " comes twice");
    entry_ = &place->second;
    has_dtype_ = has_shape_ = false;
    offsets_ = -1;
    place_ = Place::entry_value;
  }

  void begin_field(const std::string& field) {
    bool is_first = false;
    if (field == "dtype") {
      is_first = !std::exchange(has_dtype_, true);
      place_ = Place::dtype;
    } else if (field == "shape") {
      is_first = !std::exchange(has_shape_, true);
      place_ = Place::shape;
    } else if (field == "data_offsets") {
      is_first = std::exchange(offsets_, 0) < 0;
      place_ = Place::data_offsets;
    } else {
      throw_error(fmt::format("the tensor {} has a field {}, allowed are dtype, shape and {}",
                              in_quotes(name_), in_quotes(field), "data_offsets"));
    }
    check(is_first, "the tensor ", in_quotes(name_), " has its ", field, " twice");
  }

  [[noreturn]] void refuse(std::string_view what) const {
    switch (place_) {
      case Place::start: throw_error("the header is not a JSON object");
      case Place::metadata_value:
      case Place::metadata_text:
        throw_error(fmt::format("__metadata__ has {}, allowed are strings alone", what));
      default:
        throw_error(
            fmt::format("the tensor {} has {} where none is allowed", in_quotes(name_), what));
    }
  }

  SafetensorsHeader& header_;
  Place place_ = Place::start;
  std::string name_;  // of the tensor
  std::string key_;   // of the metadata
  SafetensorsEntry* entry_ = nullptr;
  bool has_metadata_ = false, has_dtype_ = false, has_shape_ = false;
  int offsets_ = -1;  // read so far; −1: no data_offsets yet
};

// Bytes that a tensor of this type and shape has.
size_t bytes_of(const std::string& name, const SafetensorsEntry& entry) {
  int64_t bits = find_word(entry.dtype)->bits;
  bool overflows = false;
  for (const int64_t size : entry.shape) overflows |= __builtin_mul_overflow(bits, size, &bits);
  check(!overflows, "the tensor ", in_quotes(name), " has the shape ", shape_text(entry.shape),
        ", more than any memory has");
  check(bits % 8 == 0, "the tensor ", in_quotes(name), " of type ", entry.dtype, " has the shape ",
        shape_text(entry.shape), ", which is no whole number of bytes");
  return static_cast<size_t>(bits / 8);
}

// The ranges must follow each other from the first byte of the data to the last.
void check_ranges(SafetensorsHeader& header, size_t data_bytes) {
  for (const auto& [name, entry] : header.entries) {
    check(entry.begin <= entry.end && entry.end <= data_bytes, "the tensor ", in_quotes(name),
          " lies at bytes ", entry.begin, " to ", entry.end, ", the file has ", data_bytes,
          " bytes of data");
    const size_t bytes = bytes_of(name, entry);
    check(entry.end - entry.begin == bytes, "the tensor ", in_quotes(name), " lies at bytes ",
          entry.begin, " to ", entry.end, ", but ", entry.dtype, " of shape ",
          shape_text(entry.shape), " has ", bytes, " bytes");
    header.names.push_back(name);
  }
  const auto range = [&](const std::string& name) {
    const SafetensorsEntry& entry = header.entries.find(name)->second;
    return std::pair(entry.begin, entry.end);
  };
  std::ranges::sort(header.names, {}, range);
  size_t end = 0;
  for (const std::string& name : header.names) {
    const auto [begin, next_end] = range(name);
    check(begin == end, "the tensor ", in_quotes(name), " begins at byte ", begin,
          ", the one before it ends at ", end);
    end = next_end;
  }
  check(end == data_bytes, "the tensors end at byte ", end, ", the file has ", data_bytes,
        " bytes of data");
}

}  // namespace

SafetensorsHeader parse_safetensors(std::span<const std::byte> file) {
  check(file.size() >= kLengthBytes, "it has ", file.size(), " bytes, a safetensors file at least ",
        kLengthBytes);
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  check(length <= kLargestHeader && length <= file.size() - kLengthBytes, "the header's length is ",
        length, ", the file has ", file.size() - kLengthBytes, " bytes after it, and allowed are ",
        kLargestHeader);
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  check(text.starts_with('{'), "the header does not begin with '{'");
  SafetensorsHeader header;
  HeaderReader reader(header);
  SortedJson::sax_parse(text, &reader);
  header.data_begin = kLengthBytes + length;
  check_ranges(header, file.size() - header.data_begin);
  return header;
}

std::map<std::string, std::string, std::less<>> parse_safetensors_index(std::string_view text) {
  check(text.size() <= kLargestHeader, "the index has ", text.size(), " bytes, allowed are ",
        kLargestHeader);
  const SortedJson json = parse_json(text, "the index");
  const bool has_map = json.is_object() && json.contains("weight_map");
  check(has_map && json["weight_map"].is_object(), "the index has no object \"weight_map\"");
  std::map<std::string, std::string, std::less<>> files;
  for (const auto& [name, file] : json["weight_map"].items()) {
    check(file.is_string(), "the index gives ", in_quotes(name), " the file ", short_text(file),
          ", allowed is a name");
    const auto& path = file.get_ref<const std::string&>();
    const bool is_plain = !path.empty() && path != "." && path != ".." &&
                          path.find_first_of(std::string_view("/\\\0", 3)) == path.npos;
    check(is_plain, "the index gives ", in_quotes(name), " the file ", in_quotes(path),
          ", allowed is the name of a file beside the index");
    files.emplace(name, path);
  }
  check(!files.empty(), "the index names no tensors");
  return files;
}

std::string_view safetensors_word(DType dtype) {
  return std::ranges::find(kWords, std::optional(dtype), &Word::dtype)->word;
}

std::optional<DType> dtype_of_word(std::string_view word) {
  const Word* found = find_word(word);
  return found == nullptr ? std::nullopt : found->dtype;
}

std::string shape_text(std::span<const int64_t> shape) {
  constexpr size_t kShown = 8;
  const auto shown = shape.first(std::min(shape.size(), kShown));
  return fmt::format("[{}{}]", fmt::join(shown, ", "), shape.size() > kShown ? ", …" : "");
}

}  // namespace strobe
