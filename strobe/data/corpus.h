#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace strobe {

// A text as random-access bytes, of any length: it is read window by window, never as a whole.
class Corpus {
 public:
  virtual ~Corpus() = default;
  virtual int64_t bytes() const = 0;
  // Fills `out` with the bytes from `begin`; any thread may. Throws Error when they cannot be read.
  virtual void read(int64_t begin, std::span<char> out) const = 0;
  virtual const std::string& name() const = 0;  // for messages
};

// A regular file. Throws Error, naming it, when it is missing, unreadable, empty, or not a file.
std::unique_ptr<Corpus> open_file(const std::string& path);

// A text in memory.
std::unique_ptr<Corpus> text_corpus(std::string name, std::string text);

// The samples of the lab's experiment, one on each line: 300 times the sentence "The quick brown
// fox jumps over the lazy dog. " repeated 30 times, 1350 bytes.
std::unique_ptr<Corpus> lab_corpus();

// What `--data` names: this is the built-in one, everything else a path (./lab for a file "lab").
constexpr std::string_view kLabData = "lab";
std::unique_ptr<Corpus> open_corpus(const std::string& data);

}  // namespace strobe
