#include "strobe/data/token_sequence.h"

#include <algorithm>

namespace strobe {
namespace {

class ByteSequence final : public TokenSequence {
 public:
  explicit ByteSequence(const Corpus& corpus) : corpus_(corpus) {}
  int64_t size() const override { return corpus_.bytes(); }
  void read(int64_t begin, std::span<int32_t> out) const override {
    std::string bytes(out.size(), '\0');
    corpus_.read(begin, bytes);
    std::ranges::transform(bytes, out.begin(),
                           [](char byte) { return static_cast<unsigned char>(byte); });
  }
  const std::string& name() const override { return corpus_.name(); }

 private:
  const Corpus& corpus_;
};

}  // namespace

std::unique_ptr<TokenSequence> byte_sequence(const Corpus& corpus) {
  return std::make_unique<ByteSequence>(corpus);
}

}  // namespace strobe
