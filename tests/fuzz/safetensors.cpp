// Files of tensors: the header alone, then the file with its tensors' bytes.
#include "strobe/data/safetensors.h"

#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "tests/fuzz/fuzz.h"

namespace {

using namespace strobe;
using testing::is_refused;
using testing::require;

// A file in memory, which has a path.
class MemoryFile {
 public:
  MemoryFile() : file_(memfd_create("fuzz", 0)) { require(file_ >= 0, "there is a memory file"); }
  void set(const uint8_t* data, size_t size) const {
    require(ftruncate(file_, 0) == 0 && pwrite(file_, data, size, 0) == static_cast<ssize_t>(size),
            "the memory file can be written");
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(file_); }

 private:
  int file_;
};

unsigned sum(std::span<const std::byte> bytes) {
  unsigned total = 0;
  for (const std::byte byte : bytes) total += static_cast<unsigned>(byte);
  return total;
}

void read_all(const std::string& path) {
  const SafetensorsFile file(path);
  volatile unsigned touched = 0;
  for (const std::string& name : file.names()) {
    require(file.contains(name), "a file has the tensors that it names");
    touched = touched + sum(file.bytes(name));
    is_refused([&] {
      const Tensor tensor = file.tensor(name);
      require(tensor.bytes() == file.bytes(name).size(), "a tensor has the bytes of its range");
    });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const bool is_broken = is_refused([&] {
    const SafetensorsHeader header = parse_safetensors(std::as_bytes(std::span(data, size)));
    require(header.names.size() == header.entries.size(), "every tensor has one entry");
    for (const auto& [name, entry] : header.entries) {
      require(entry.begin <= entry.end && header.data_begin + entry.end <= size,
              "a tensor lies in the file");
    }
  });
  if (is_broken) return 0;
  static const MemoryFile file;
  file.set(data, size);
  require(!is_refused([&] { read_all(file.path()); }), "a file with a good header can be read");
  return 0;
}
