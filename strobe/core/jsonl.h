#pragma once

#include <cstdint>
#include <string>

#include "strobe/core/json.h"

namespace strobe {

enum class JsonlMode : unsigned char { replace, append };

// Writes one JSON object a line. Each line is with the system when write() returns, so a run that
// is killed keeps all that it measured. A write that fails (a full disk) throws an Error that names
// the file and leaves the lines before it whole.
class JsonlWriter {
 public:
  // Creates the file where missing; empties it, or adds to its end. Throws Error when that is not
  // possible.
  explicit JsonlWriter(std::string path, JsonlMode mode = JsonlMode::replace);
  ~JsonlWriter();
  JsonlWriter(const JsonlWriter&) = delete;
  JsonlWriter& operator=(const JsonlWriter&) = delete;

  // NaN and infinity become null: JSON has no word for them. Bytes that are not UTF-8 become
  // U+FFFD.
  void write(const Json& object);

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int file_;
  int64_t bytes_;  // of whole lines
};

// Creates the folder and those above it where missing; throws an Error that names it.
void create_folder(const std::string& path);

}  // namespace strobe
