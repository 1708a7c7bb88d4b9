#include <cmath>

#include "strobe/cli/bench_attention.h"
#include "strobe/cli/bench_kit.h"
#include "strobe/cli/options.h"
#include "strobe/core/copy.h"

namespace strobe {
namespace {

// GPT-2's width, in heads of 64 or 128; short sequences in batches, so that all cores have work.
AttentionCase width_768(int64_t seq, int64_t head_dim, DType dtype, Mask mask) {
  const int64_t heads = 768 / head_dim;
  return {.batch = std::max<int64_t>(1, 2048 / seq),
          .heads = heads,
          .kv_heads = heads,
          .seq_q = seq,
          .seq_k = seq,
          .head_dim = head_dim,
          .dtype = dtype,
          .mask = mask};
}

using Cases = std::vector<AttentionCase>;

Cases cpu_preset() {
  Cases cases;
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (int64_t head_dim : {64, 128}) {
      for (int64_t seq : {512, 1024, 2048, 4096, 8192}) {
        for (Mask mask : {full(), causal()}) {
          cases.push_back(width_768(seq, head_dim, dtype, mask));
        }
      }
    }
    for (int64_t seq : {1024, 4096}) {
      for (Mask mask : {full(), causal()}) {
        cases.push_back(width_768(seq, 64, dtype, mask));
        cases.back().dropout = 0.1;
      }
    }
  }
  return cases;
}

Cases smoke_preset() {
  return {width_768(512, 64, DType::f32, causal()), width_768(512, 64, DType::bf16, causal())};
}

// The papers' grid for GPUs: 16384 tokens of width 2048, in heads of 64 or 128.
AttentionCase width_2048(int64_t seq, int64_t head_dim, Mask mask) {
  const int64_t heads = 2048 / head_dim;
  return {.batch = 16384 / seq,
          .heads = heads,
          .kv_heads = heads,
          .seq_q = seq,
          .seq_k = seq,
          .head_dim = head_dim,
          .dtype = DType::bf16,
          .mask = mask};
}

Cases grid_preset(std::initializer_list<Mask> masks, std::initializer_list<int64_t> lengths) {
  Cases cases;
  for (const int64_t head_dim : {64, 128}) {
    for (const Mask& mask : masks) {
      for (const int64_t seq : lengths) cases.push_back(width_2048(seq, head_dim, mask));
    }
  }
  return cases;
}

Cases papers_preset() {
  return grid_preset({full(), causal()}, {512, 1024, 2048, 4096, 8192, 16384});
}

Cases dropout_preset() {
  Cases cases = grid_preset({full(), causal()}, {512, 1024, 4096});
  for (AttentionCase& c : cases) c.dropout = 0.1;
  return cases;
}

Cases padding_preset() {
  Cases cases = grid_preset({full()}, {512, 1024, 4096});
  for (AttentionCase& c : cases) c.padded_keys = c.seq_k / 4;
  return cases;
}

Cases short_preset() { return grid_preset({full(), causal()}, {64, 128, 256, 512}); }

double visible_pairs(const AttentionCase& c) {
  if (c.mask.kind != MaskKind::window) {
    const double all = static_cast<double>(c.seq_q) * static_cast<double>(c.seq_k);
    return c.mask.kind == MaskKind::causal ? all / 2 : all;
  }
  const Visibility visibility = {.mask = c.mask,
                                 .seq_q = c.seq_q,
                                 .seq_k = c.seq_k,
                                 .queries = {0, c.seq_q},
                                 .keys = {0, c.seq_k}};
  double pairs = 0;
  for (int64_t i = 0; i < c.seq_q; ++i) {
    const Span keys = visibility.keys_of(i);
    pairs += static_cast<double>(keys.end - keys.begin);
  }
  return pairs;
}

// i32 [B]: where each sequence's padding begins.
Tensor key_ends(Context& ctx, const AttentionCase& c) {
  std::vector<int32_t> ends(static_cast<size_t>(c.batch),
                            static_cast<int32_t>(c.seq_k - c.padded_keys));
  const Tensor tensor = ctx.arena().allocate(MemoryUse::activations, DType::i32, {c.batch});
  copy_now(Tensor::of(ends.data(), {c.batch}), tensor);
  return tensor;
}

}  // namespace

Json to_json(const AttentionCase& c) {
  Json row = {{"batch", c.batch},          {"seq_q", c.seq_q},
              {"seq_k", c.seq_k},          {"heads_q", c.heads},
              {"heads_kv", c.kv_heads},    {"head_dim", c.head_dim},
              {"dtype", to_text(c.dtype)}, {"mask", to_text(c.mask.kind)},
              {"dropout", c.dropout}};
  if (c.mask.kind == MaskKind::window) {
    row["window_left"] = c.mask.left;
    row["window_right"] = c.mask.right;
  }
  if (c.padded_keys > 0) row["padded_keys"] = c.padded_keys;
  return row;
}

double forward_flop(const AttentionCase& c) {
  return 4.0 * static_cast<double>(c.batch * c.heads * c.head_dim) * visible_pairs(c);
}

AttentionTensors make_tensors(Context& ctx, const AttentionCase& c) {
  uint64_t seed = 0;
  const auto make = [&](int64_t seq, int64_t heads) {
    const Tensor tensor =
        ctx.arena().allocate(MemoryUse::activations, c.dtype, {c.batch, seq, heads, c.head_dim});
    fill_normal(tensor, ++seed);
    return tensor;
  };
  AttentionForward f;
  f.q = make(c.seq_q, c.heads);
  f.k = make(c.seq_k, c.kv_heads);
  f.v = make(c.seq_k, c.kv_heads);
  f.out = make(c.seq_q, c.heads);
  f.lse = ctx.arena().allocate(MemoryUse::activations, DType::f32, {c.batch, c.heads, c.seq_q});
  f.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(c.head_dim)));
  f.mask = c.mask;
  if (c.padded_keys > 0) f.padding.key_end = key_ends(ctx, c);
  if (c.dropout > 0) f.dropout = Dropout::with(c.dropout, random_key(1, 0, kSiteDropout));
  AttentionBackward b;
  b.q = f.q;
  b.k = f.k;
  b.v = f.v;
  b.out = f.out;
  b.lse = f.lse;
  b.dout = make(c.seq_q, c.heads);
  b.dq = make(c.seq_q, c.heads);
  b.dk = make(c.seq_k, c.kv_heads);
  b.dv = make(c.seq_k, c.kv_heads);
  b.scale = f.scale;
  b.mask = f.mask;
  b.padding = f.padding;
  b.dropout = f.dropout;
  const int64_t saved_bytes = attention_saved_bytes(ctx, problem_of(ctx, b));
  f.saved = ctx.arena().allocate(MemoryUse::attention, DType::f32, {(saved_bytes + 3) / 4});
  b.saved = f.saved;
  return {.forward = f, .backward = b};
}

Cases attention_preset(const std::string& name, std::optional<DType> dtype) {
  constexpr std::pair<const char*, Cases (*)()> kPresets[] = {
      {"papers", papers_preset}, {"dropout", dropout_preset}, {"padding", padding_preset},
      {"short", short_preset},   {"cpu", cpu_preset},         {"smoke", smoke_preset}};
  std::string names;
  for (const auto& [known, cases_of] : kPresets) {
    names += fmt::format("{}, ", known);
    if (name != known) continue;
    Cases cases = cases_of();
    if (dtype) {
      for (AttentionCase& c : cases) c.dtype = *dtype;
    }
    return cases;
  }
  throw UsageError(fmt::format("--preset is '{}', allowed are {}none", name, names));
}

}  // namespace strobe
