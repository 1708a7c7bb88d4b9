// Token files: the header, then any tokens.
#include "strobe/data/token_file.h"

#include <algorithm>
#include <vector>

#include "tests/fuzz/fuzz.h"

using namespace strobe;
using namespace strobe::testing;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  is_refused([&] {
    const TokenView tokens = parse_token_file(std::as_bytes(std::span(data, size)));
    require(tokens.size() >= 0 && static_cast<size_t>(tokens.size()) <= size,
            "a file has no more tokens than bytes");
    std::vector<int32_t> out(static_cast<size_t>(tokens.size()));
    tokens.read(0, out);
    for (const int32_t token : out) {
      require(token >= 0 && static_cast<uint64_t>(token) < tokens.header().vocab_size,
              "tokens are in the vocabulary");
    }
    out.resize(1);
    require(is_refused([&] { tokens.read(tokens.size(), out); }), "nothing is read after the end");
    require(is_refused([&] { tokens.read(-1, out); }), "nor before the beginning");
  });
  return 0;
}
