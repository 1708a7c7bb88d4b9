// Indexes of files of tensors.
#include "strobe/data/safetensors_header.h"
#include "tests/fuzz/fuzz.h"

using namespace strobe::testing;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  is_refused([&] {
    for (const auto& [tensor, file] : strobe::parse_safetensors_index(text_of(data, size))) {
      require(!file.empty() && file != "." && file != ".." && file.find('/') == file.npos &&
                  file.find('\0') == file.npos,
              "an index stays in its folder");
    }
  });
  return 0;
}
