#include "strobe/gpu/launch.h"
#include "strobe/gpu/native.cuh"
#include "strobe/gpu/reduce.cuh"
#include "strobe/ops/sample/sample.h"
#include "strobe/ops/sample/sample_share.h"

namespace strobe {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kUnroll = 16;     // loads in flight
constexpr int kDigitBits = 11;  // of a key, looked at in one pass
constexpr int kBins = 1 << kDigitBits;
constexpr int kKeyBits = 32;
constexpr int kBinsOfThread = kBins / kThreads;

struct Params {
  const void* logits;
  int32_t *indices, *tokens;
  int vocab, top_k;
  float temperature;
  double top_p;
  bool is_greedy;
  PhiloxKey key;
};

struct Larger {
  static __device__ __forceinline__ uint64_t join(uint64_t a, uint64_t b) { return a > b ? a : b; }
};

// A number that grows with the logit; −0 and 0 have the same.
__device__ __forceinline__ uint32_t key_of(float logit) {
  const uint32_t bits = __float_as_uint(logit + 0.0f);
  return bits ^ (bits >> 31 != 0 ? 0xffffffffu : 0x80000000u);
}
__device__ __forceinline__ float logit_of(uint32_t key) {
  return __uint_as_float(key ^ (key >> 31 != 0 ? 0x80000000u : 0xffffffffu));
}

// Which candidates stay: those of a larger key than `key`, and the first `ties` of those that have
// it.
struct Cut {
  uint32_t key = 0;
  uint32_t ties = 0xffffffffu;
};

struct Shared {
  uint64_t shares[kBins];
  uint32_t counts[kBins];
  uint64_t warp_shares[kWarps];
  uint64_t warp_counts[kWarps];
  // What one thread found out for all.
  uint32_t digit;
  uint64_t shares_before, counts_before;
  int drawn_warp;
  uint64_t drawn_share;
  uint32_t ties_before;
};

// Inclusive sum over the lanes before.
__device__ __forceinline__ uint64_t scan_warp(uint64_t value) {
  const int lane = threadIdx.x % kWarpSize;
#pragma unroll
  for (int offset = 1; offset < kWarpSize; offset *= 2) {
    const uint64_t before = __shfl_up_sync(kFullWarp, value, offset);
    if (lane >= offset) value += before;
  }
  return value;
}

// Calls f(logit, id) for every candidate, kUnroll loads at a time.
template <class T, class F>
__device__ __forceinline__ void for_candidates(const T* logits, int vocab, const F& f) {
  for (int first = threadIdx.x; first < vocab; first += kUnroll * kThreads) {
    float logit[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int id = first + u * kThreads;
      logit[u] = id < vocab ? to_float(logits[id]) : 0.0f;
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int id = first + u * kThreads;
      if (id < vocab) f(logit[u], id);
    }
  }
}

// The most probable candidate, the first of several; −1 where its logit is infinite or one is NaN.
template <class T>
__device__ int most_probable(const T* logits, int vocab, Shared& shared) {
  float largest = -INFINITY;
  int first = vocab;  // that has it
  bool is_nan = false;
  for_candidates(logits, vocab, [&](float logit, int id) {
    is_nan |= isnan(logit);
    first = logit > largest ? id : first;
    largest = logit > largest ? logit : largest;
  });
  if (__syncthreads_or(is_nan)) return -1;
  // The key, then the id's complement: the smaller id is larger.
  const uint64_t mine =
      static_cast<uint64_t>(key_of(largest)) << 32 | ~static_cast<uint32_t>(first);
  const uint64_t best = reduce_block<Larger, kThreads>(mine, shared.warp_shares);
  const float logit = logit_of(static_cast<uint32_t>(best >> 32));
  return isinf(logit) ? -1 : static_cast<int>(~static_cast<uint32_t>(best));
}

// The digit that holds the candidate which, counted from the largest down, reaches `wanted` (of
// counts, or of shares), and what lies before it: in `shared`.
__device__ void find_digit(bool by_share, uint64_t wanted, Shared& shared) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int first = kBins - 1 - static_cast<int>(threadIdx.x) * kBinsOfThread;  // downwards
  uint64_t shares = 0, counts = 0;
#pragma unroll
  for (int i = 0; i < kBinsOfThread; ++i) {
    shares += shared.shares[first - i];
    counts += shared.counts[first - i];
  }
  const uint64_t shares_to_here = scan_warp(shares), counts_to_here = scan_warp(counts);
  if (lane == kWarpSize - 1) {
    shared.warp_shares[warp] = shares_to_here;
    shared.warp_counts[warp] = counts_to_here;
  }
  __syncthreads();
  uint64_t shares_before = shares_to_here - shares, counts_before = counts_to_here - counts;
  for (int w = 0; w < warp; ++w) {
    shares_before += shared.warp_shares[w];
    counts_before += shared.warp_counts[w];
  }
#pragma unroll
  for (int i = 0; i < kBinsOfThread; ++i) {
    const uint64_t before = by_share ? shares_before : counts_before;
    const uint64_t here = by_share ? shared.shares[first - i] : shared.counts[first - i];
    if (before < wanted && wanted <= before + here) {
      shared.digit = static_cast<uint32_t>(first - i);
      shared.shares_before = shares_before;
      shared.counts_before = counts_before;
    }
    shares_before += shared.shares[first - i];
    counts_before += shared.counts[first - i];
  }
  __syncthreads();
}

// Where to cut so that `wanted` candidates, or candidates of `wanted` shares together, stay; and
// how many shares stay then. A radix search from the key's top: each pass sorts the candidates that
// agree with what is known of the key by their next digit.
template <class T>
__device__ Cut find_cut(const T* logits, const Params& params, float largest, bool by_share,
                        uint64_t wanted, uint64_t& kept, Shared& shared) {
  uint32_t known = 0;  // the key's digits so far
  uint64_t shares_before = 0;
  uint32_t ties = 0;
  for (int left = kKeyBits; left > 0;) {
    const int bits = min(left, kDigitBits), shift = left - bits;
    for (int i = threadIdx.x; i < kBins; i += kThreads) {
      shared.shares[i] = 0;
      shared.counts[i] = 0;
    }
    __syncthreads();
    for_candidates(logits, params.vocab, [&](float logit, int) {
      const uint32_t key = key_of(logit);
      if (left < kKeyBits && key >> left != known) return;
      const uint32_t digit = key >> shift & ((1u << bits) - 1);
      atomicAdd(&shared.counts[digit], 1u);
      const uint64_t share = share_of(logit, largest, params.temperature);
      if (share != 0) {
        atomicAdd(reinterpret_cast<unsigned long long*>(&shared.shares[digit]), share);
      }
    });
    __syncthreads();
    find_digit(by_share, wanted, shared);
    known = known << bits | shared.digit;
    wanted -= by_share ? shared.shares_before : shared.counts_before;
    shares_before += shared.shares_before;
    ties = shared.counts[shared.digit];
    left = shift;
    __syncthreads();
  }
  const uint64_t share = share_of(logit_of(known), largest, params.temperature);
  const uint64_t needed = !by_share ? wanted : share == 0 ? 1 : (wanted + share - 1) / share;
  if (needed < ties) ties = static_cast<uint32_t>(needed);
  kept = shares_before + ties * share;
  return {known, ties};
}

// Draws among what the cut leaves, in the order of ids: each warp takes a part of them.
template <class T>
__device__ void draw(const T* logits, const Params& params, float largest, const Cut& cut,
                     Shared& shared, int32_t* index, int32_t* token) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int part = (params.vocab + kThreads - 1) / kThreads * kWarpSize;
  const int begin = warp * part, end = min(params.vocab, begin + part);
  const auto share = [&](float logit) { return share_of(logit, largest, params.temperature); };
  uint64_t above = 0, ties = 0;
  for (int id = begin + lane; id < end; id += kWarpSize) {
    const float logit = to_float(logits[id]);
    const uint32_t key = key_of(logit);
    above += key > cut.key ? share(logit) : 0;
    ties += key == cut.key;
  }
  above = reduce_warp<Sum>(above);
  ties = reduce_warp<Sum>(ties);
  if (lane == 0) {
    shared.warp_shares[warp] = above;
    shared.warp_counts[warp] = ties;
  }
  __syncthreads();
  if (warp == 0) {  // lane w looks at warp w's part
    const uint64_t ties_here = shared.warp_counts[lane];
    const uint64_t ties_before = scan_warp(ties_here) - ties_here;
    const uint64_t ties_left = cut.ties > ties_before ? cut.ties - ties_before : 0;
    const uint64_t ties_kept = ties_left < ties_here ? ties_left : ties_here;
    const uint64_t here = shared.warp_shares[lane] + ties_kept * share(logit_of(cut.key));
    const uint64_t to_here = scan_warp(here);
    const uint64_t total = __shfl_sync(kFullWarp, to_here, kWarpSize - 1);
    const uint64_t drawn = drawn_share(params.key, *index, total);
    if (to_here - here <= drawn && drawn < to_here) {
      shared.drawn_warp = lane;
      shared.drawn_share = drawn - (to_here - here);
      shared.ties_before = static_cast<uint32_t>(ties_before);
    }
  }
  __syncthreads();
  if (warp != shared.drawn_warp) return;
  uint64_t left = shared.drawn_share;
  uint32_t ties_before = shared.ties_before;
  for (int first = begin; first < end; first += kWarpSize) {
    const bool is_there = first + lane < end;
    const float logit = is_there ? to_float(logits[first + lane]) : 0.0f;
    const uint32_t key = key_of(logit);
    const uint32_t tied = __ballot_sync(kFullWarp, is_there && key == cut.key);
    const uint32_t rank = ties_before + __popc(tied & ((1u << lane) - 1));
    const bool stays = is_there && (key > cut.key || (key == cut.key && rank < cut.ties));
    const uint64_t here = stays ? share(logit) : 0;
    const uint64_t to_here = scan_warp(here);
    const uint32_t past = __ballot_sync(kFullWarp, to_here > left);
    if (past != 0) {
      if (lane == 0) {
        *token = first + __ffs(static_cast<int>(past)) - 1;
        ++*index;
      }
      return;
    }
    left -= __shfl_sync(kFullWarp, to_here, kWarpSize - 1);
    ties_before += __popc(tied);
  }
}

// sample
//
// Computes    tokens[b] ~ softmax(logits[b] / temperature), cut off at top_k, then at top_p
// Shapes      logits [B,V], indices [B]  →  tokens [B], indices + 1
// Mapping     a CTA per row
// Shared      a bin for each value of a key's digit: candidates and shares in it         (Shared)
// Steps       [1] the most probable one  [2] cut at top_k  [3] cut at top_p  [4] draw
// Requires    sm_75
// Numerics    exp in f32; shares are whole numbers, so all sums are exact
// Cost        reads the row once if greedy, else 3 times, and 3 times more for each cut (from L2)
template <class T>
__global__ __launch_bounds__(kThreads, 1) void sample_kernel(const Params params) {
  __shared__ Shared shared;
  const auto* logits = static_cast<const T*>(params.logits) + int64_t{blockIdx.x} * params.vocab;
  int32_t* index = params.indices + blockIdx.x;
  int32_t* token = params.tokens + blockIdx.x;
  // [1] the most probable one
  const int best = most_probable(logits, params.vocab, shared);
  if (best < 0 || params.is_greedy) {
    if (threadIdx.x == 0) {
      *token = best;
      ++*index;
    }
    return;
  }
  const float largest = to_float(logits[best]);
  __syncthreads();
  Cut cut;
  uint64_t kept = 0;
  // [2] cut at top_k
  if (params.top_k > 0) {
    cut = find_cut(logits, params, largest, false, params.top_k, kept, shared);
  } else if (params.top_p < 1) {
    uint64_t mine = 0;
    for_candidates(logits, params.vocab,
                   [&](float logit, int) { mine += share_of(logit, largest, params.temperature); });
    kept = reduce_block<Sum, kThreads>(mine, shared.warp_shares);
    __syncthreads();
  }
  // [3] cut at top_p
  if (params.top_p < 1) {
    const uint64_t wanted = shares_to_keep(params.top_p, kept);
    const Cut closer = find_cut(logits, params, largest, true, wanted, kept, shared);
    const bool is_closer =
        closer.key > cut.key || (closer.key == cut.key && closer.ties < cut.ties);
    if (is_closer) cut = closer;
  }
  // [4] draw
  draw(logits, params, largest, cut, shared, index, token);
}

void run(Context& ctx, const Sample& args) {
  const SamplerOptions& options = args.options;
  const int64_t vocab = args.logits.shape[1];
  const Params params = {
      .logits = args.logits.data,
      .indices = args.indices.as<int32_t>(),
      .tokens = args.tokens.as<int32_t>(),
      .vocab = static_cast<int>(vocab),
      .top_k = options.top_k < vocab ? static_cast<int>(options.top_k) : 0,
      .temperature = share_temperature(options.temperature),
      .top_p = options.top_p,
      .is_greedy = options.temperature == 0 || options.top_k == 1,
      .key = random_key(options.seed, 0, kSiteSample),
  };
  const Launch shape = {.grid = dim3(static_cast<unsigned>(args.logits.shape[0])),
                        .block = dim3(kThreads)};
  with_float_type(args.logits.dtype,
                  [&](auto type) { launch(ctx, sample_kernel<decltype(type)>, shape, params); });
}

std::string why_not(DType, const Device& device) { return why_not_cuda(device); }

}  // namespace

std::span<const SampleImpl> sample_impls_cuda() {
  static constexpr SampleImpl kRows[] = {{"cuda", &why_not, &run}};
  return kRows;
}

}  // namespace strobe
