#include "strobe/ops/attention/cpu/decode_plan.h"

#include <algorithm>

namespace strobe {
namespace {

// Parts have at least so many keys: fewer would be read before memory is at full speed.
constexpr int64_t kLeastKeys = 2 * kDecodeTile;

// Keys of a part: as few as suffice for at most kMostDecodeParts parts.
int64_t part_keys(int64_t length) {
  constexpr int64_t kStep = kLeastKeys * kMostDecodeParts;
  return std::max<int64_t>(1, (length + kStep - 1) / kStep) * kLeastKeys;
}

}  // namespace

int64_t most_decode_parts(int64_t length) {
  return std::clamp<int64_t>((length + kLeastKeys - 1) / kLeastKeys, 1, kMostDecodeParts);
}

DecodePlan::DecodePlan(const AttentionDecode& args) : queries_(args.q.shape[1]) {
  const int64_t batch = args.q.shape[0];
  const auto* lengths = args.cache_lengths.as<int32_t>();
  for (int64_t b = 0; b < batch; ++b) {
    const Visibility visibility = {.mask = args.mask,
                                   .seq_q = queries_,
                                   .seq_k = lengths[b],
                                   .queries = {0, queries_},
                                   .keys = {0, lengths[b]}};
    Span seen = {lengths[b], 0};
    for (int64_t i = 0; i < queries_; ++i) {
      const Span keys = visibility.keys_of(i);
      begin_.push_back(static_cast<int32_t>(keys.begin));
      end_.push_back(static_cast<int32_t>(keys.end));
      if (keys.empty()) continue;
      seen = {std::min(seen.begin, keys.begin), std::max(seen.end, keys.end)};
    }
    add_parts(b, lengths[b], seen.empty() ? Span{0, 0} : seen);
  }
}

// Parts begin at multiples of their size, wherever a window begins.
void DecodePlan::add_parts(int64_t sequence, int64_t length, Span seen) {
  const int64_t keys = part_keys(length);
  const int64_t first = seen.begin / keys;
  const int64_t count = std::max<int64_t>(1, (seen.end + keys - 1) / keys - first);
  for (int64_t i = 0; i < count; ++i) {
    parts_.push_back({.sequence = sequence,
                      .begin = std::max(seen.begin, (first + i) * keys),
                      .end = std::min(seen.end, (first + i + 1) * keys),
                      .index = i});
  }
  counts_.push_back(count);
}

FlashRows decode_rows(const Tensor& x, int64_t sequence, int64_t row, int64_t head) {
  const int64_t offset = sequence * x.strides[0] + row * x.strides[1] + head * x.strides[2];
  return {static_cast<char*>(x.data) + offset * static_cast<int64_t>(size_of(x.dtype)),
          x.strides[1]};
}

DecodeTask decode_task(const AttentionDecode& args, const DecodePlan& plan, const DecodePart& part,
                       int64_t kv_head) {
  const int64_t group = args.q.shape[2] / args.k_cache.shape[2];
  return {.q = decode_rows(args.q, part.sequence, 0, kv_head * group),
          .q_head_stride = args.q.strides[2],
          .k = decode_rows(args.k_cache, part.sequence, 0, kv_head),
          .v = decode_rows(args.v_cache, part.sequence, 0, kv_head),
          .queries = static_cast<int>(args.q.shape[1]),
          .group = static_cast<int>(group),
          .head_dim = static_cast<int>(args.q.shape[3]),
          .scale = args.scale,
          .visible = plan.visible(part.sequence),
          .begin = static_cast<int>(part.begin),
          .end = static_cast<int>(part.end)};
}

const DecodeKernels& decode_kernels_for(const AttentionDecode& args,
                                        const DecodeKernelTable& table) {
  if (args.q.dtype == DType::bf16) return table.bf16_bf16;
  switch (args.k_cache.dtype) {
    case DType::f16: return table.f32_f16;
    case DType::bf16: return table.f32_bf16;
    default: return table.f32_f32;
  }
}

}  // namespace strobe
