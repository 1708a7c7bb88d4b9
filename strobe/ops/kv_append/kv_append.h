#pragma once

#include <span>
#include <string>
#include <string_view>

#include "strobe/core/context.h"
#include "strobe/core/tensor.h"

namespace strobe {

// Stores keys and values of new positions in caches, rounded to the caches' type. For every
// sequence b and i in [0, count[b]):
//   k_cache[b, to_begin[b] + i] = k[b, from_begin[b] + i]         and so for v
// The begins and counts lie on the context's device, so that a recorded step can store at another
// place each time. Where the host cannot read them, positions outside k or k_cache are left out;
// where it can, they are an Error.
struct KvAppend {
  Tensor k, v;              // [B, T, H, D], f32, f16 or bf16
  Tensor k_cache, v_cache;  // [B, capacity, H, D], f32, f16 or bf16   set where new positions go
  Tensor from_begin;        // i32 [B], or absent: 0
  Tensor to_begin;          // i32 [B], or absent: 0
  Tensor count;             // i32 [B], or absent: T
};

void kv_append(Context& ctx, const KvAppend& args);

// Makes room for one more position of each sequence: begins = lengths, then lengths += 1. What
// kv_append takes as to_begin and attention_decode as cache_lengths.
struct KvExtend {
  Tensor lengths;  // i32 [B]   added to
  Tensor begins;   // i32 [B]   set
};

void kv_extend(Context& ctx, const KvExtend& args);

struct KvAppendImpl {
  std::string_view name;
  std::string (*why_not)(DType dtype, const Device& device);
  void (*append)(Context&, const KvAppend&);
  void (*extend)(Context&, const KvExtend&);
};
std::span<const KvAppendImpl> kv_append_impls();  // of all devices
std::span<const KvAppendImpl> kv_append_impls_cpu();
std::span<const KvAppendImpl> kv_append_impls_cuda();

}  // namespace strobe
