// config.json. What is accepted is written and read again as the same.
#include "strobe/models/gpt2_config.h"

#include "tests/fuzz/fuzz.h"

using namespace strobe;
using namespace strobe::testing;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Gpt2Config config;
  if (is_refused([&] { config = gpt2_config_from_json(text_of(data, size)); })) return 0;
  require(!is_refused([&] { validate(config); }), "what is read is valid");
  Gpt2Config again;
  require(!is_refused([&] { again = gpt2_config_from_json(to_json(config)); }),
          "what is written can be read");
  again.attn_implementation = config.attn_implementation;  // a file says only which kind
  require(again == config, "and is the same");
  return 0;
}
