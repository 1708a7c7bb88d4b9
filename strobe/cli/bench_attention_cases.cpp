#include <cmath>

#include "strobe/cli/bench_attention.h"
#include "strobe/cli/bench_kit.h"
#include "strobe/cli/options.h"

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

std::vector<AttentionCase> cpu_preset() {
  std::vector<AttentionCase> cases;
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

std::vector<AttentionCase> smoke_preset() {
  return {width_768(512, 64, DType::f32, causal()), width_768(512, 64, DType::bf16, causal())};
}

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
  b.dropout = f.dropout;
  const int64_t saved_bytes = attention_saved_bytes(ctx, problem_of(ctx, b));
  f.saved = ctx.arena().allocate(MemoryUse::attention, DType::f32, {(saved_bytes + 3) / 4});
  b.saved = f.saved;
  return {.forward = f, .backward = b};
}

std::vector<AttentionCase> attention_preset(const std::string& name) {
  if (name == "cpu") return cpu_preset();
  if (name == "smoke") return smoke_preset();
  throw UsageError(fmt::format("--preset is '{}', allowed are cpu, smoke, none", name));
}

}  // namespace strobe
