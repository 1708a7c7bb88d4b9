// attention_forward_flash: one block of query rows of one head
//
// Computes    S = scale·Q Kᵀ + bias, −∞ where hidden                                      (1)
//             out = (Z∘softmax(S)) V,   lse = m + ln l                                    (2)
//             FlashAttention-2, Alg. 1
// Shapes      q [rows, D]  k,v [keys, D]  →  out [rows, D]  lse [rows] f32; any row strides
// Mapping     one task for each (sequence, head, query block); inside, one thread
// Scratch     Q, O of the block · Kᵀ, V of kKeyTile keys (L2) · S of kPanelRows rows (L1)
// Steps       [1] pack Q  [2] pack Kᵀ, V of a tile  [3] S = QKᵀ  [4] mask, bias
//             [5] raise m; rescale O, l  [6] P = 2^(S − m), l += P, drop  [7] O += P V
//             [8] out, lse
// Requires    D a multiple of 8 up to 256                            (checked in attention.cpp)
// Numerics    S, m, l, O in f32; P rounded to bf16 before [7] where pairs are multiplied; base-2
//             exponent with scale·log2 e folded in. m moves only when a score passes it by
//             kSlack: P stays below 2^kSlack, and O is hardly ever rescaled
// Cost        4·rows·keys·D FLOP (half if causal); K, V are packed once per block
#include "strobe/ops/attention/cpu/flash_dropout.h"
#include "strobe/ops/attention/cpu/flash_scratch.h"
#include "strobe/ops/attention/cpu/flash_softmax.h"

namespace strobe::STROBE_ISA {
namespace {

constexpr int kKeyTile = 128;
constexpr float kSlack = 8;
constexpr float kLowest = -3.40282347e+38f;

struct ForwardScratch {
  int rows;              // padded to kFlashRowGrain
  int64_t columns;       // head_dim padded to kPanelWidth
  int q_panel_step;      // floats between two panels of Q
  float* q;              // panels over D
  float* out;            // [rows, columns], unnormalised
  float* max;            // [rows] of S·log2e, at most kSlack too small
  float* sum;            // [rows, kLanes], partial sums of P before dropout
  float* keys;           // Kᵀ: panels over the tile's keys
  float* values;         // V: panels over D
  float* scores;         // [kPanelRows, kKeyTile]
  float* probabilities;  // likewise in units; `scores` itself for f32
  uint16_t* masks;       // [rows, kKeyTile/16]
  int64_t bytes;

  ForwardScratch(char* base, int block_rows, int head_dim) {
    Scratch scratch(base);
    rows = static_cast<int>(round_up(block_rows, kFlashRowGrain));
    columns = round_up(head_dim, kPanelWidth);
    q_panel_step = rows * kPanelWidth;
    q = scratch.take<float>(rows * columns);
    out = scratch.take<float>(rows * columns);
    max = scratch.take<float>(rows);
    sum = scratch.take<float>(rows * kLanes);
    keys = scratch.take<float>(kKeyTile * columns);
    values = scratch.take<float>(kKeyTile * columns);
    scores = scratch.take<float>(kPanelRows * kKeyTile);
    probabilities = scratch.take<float>(kPanelRows * kKeyTile);
    masks = scratch.take<uint16_t>(rows * kKeyTile / kDropoutBlock);
    bytes = scratch.bytes();
  }
};

template <class Format>
class ForwardBlock {
  using Element = typename Format::Element;
  using Units = typename Format::Units;
  using Product = typename Format::Product;
  static constexpr int kPer = Format::kPerUnit;
  static constexpr int kScoreStride = kKeyTile / kPer;  // of P, in units

 public:
  explicit ForwardBlock(const FlashForwardTask& task)
      : task_(task), scratch_(task.scratch, task.rows, task.head_dim) {
    if constexpr (kPer == 1) scratch_.probabilities = scratch_.scores;
  }

  void run() {
    const Interval keys = visible_keys(task_.visible, 0, task_.rows, 0, INT32_MAX);
    if (keys.empty()) return finish();
    start();
    for (int key = keys.begin / kKeyTile * kKeyTile; key < keys.end; key += kKeyTile) {
      load_tile(key, keys);
      for (int row = 0; row < task_.rows; row += kPanelRows) {
        const ScorePanel panel = score_panel(task_.visible, row, key, kKeyTile);
        if (panel.begin < panel.end) add_panel(panel);
      }
    }
    finish();
  }

 private:
  // [1]
  void start() {
    const Element* q = static_cast<const Element*>(task_.q.data);
    const Interval seeing = seeing_rows(task_.visible, 0, task_.rows, 0, INT32_MAX);
    pack_rows<Format>({q, task_.q.stride, seeing.begin, seeing.end}, scratch_.rows, task_.head_dim,
                      scratch_.q);
    std::memset(scratch_.out, 0, scratch_.rows * scratch_.columns * sizeof(float));
    std::memset(scratch_.sum, 0, scratch_.rows * kLanes * sizeof(float));
    for (int r = 0; r < scratch_.rows; ++r) scratch_.max[r] = kLowest;
  }

  // [2] Keys that no row of the block sees count as zeros.
  void load_tile(int key, Interval visible) {
    const int valid_begin = larger(visible.begin - key, 0);
    const int valid_end = smaller(visible.end - key, kKeyTile);
    tile_keys_ = static_cast<int>(round_up(valid_end, kPanelWidth));
    const Element* k = static_cast<const Element*>(task_.k.data) + key * task_.k.stride;
    const Element* v = static_cast<const Element*>(task_.v.data) + key * task_.v.stride;
    pack_transposed<Format>({k, task_.k.stride, valid_begin, valid_end}, tile_keys_, task_.head_dim,
                            scratch_.keys);
    pack_contracted_rows<Format>({v, task_.v.stride, valid_begin, valid_end}, tile_keys_,
                                 task_.head_dim, scratch_.values);
    if (task_.dropout.threshold != 0) {
      dropout_masks(task_.dropout, task_.first_row, scratch_.rows, key, valid_end, scratch_.masks,
                    kKeyTile / kDropoutBlock);
    }
  }

  void add_panel(const ScorePanel& panel) {
    multiply_scores(panel);
    float scale = task_.scale * kLog2e;
    if (!panel.is_whole || task_.bias.data != nullptr || scale < 0) {  // [4]
      mask_and_bias(panel, task_.visible, task_.bias, scale, scratch_.scores, kKeyTile);
      scale = 1;
    }
    for (int r = 0; r < kPanelRows; ++r) {
      raise_max(panel, r, scale);
      exponentiate(panel, r, scale);
    }
    multiply_values(panel);
  }

  // [3]
  void multiply_scores(const ScorePanel& panel) {
    const RowOperand<kPanelWidth> q = {scratch_.q + panel.row * kPanelWidth, kPanelWidth,
                                       scratch_.q_panel_step};
    const int64_t units = task_.head_dim / kPer;
    for (int column = panel.begin; column < panel.end; column += kPanelWidth) {
      multiply_panel<Units, false>(q, scratch_.keys + column * units, units,
                                   scratch_.scores + column, kKeyTile);
    }
  }

  // [5] scale ≥ 0
  void raise_max(const ScorePanel& panel, int r, float scale) {
    const float* scores = scratch_.scores + r * kKeyTile;
    F32 highest = load(scores + panel.begin);
    for (int column = panel.begin + kLanes; column < panel.end; column += kLanes) {
      highest = max(highest, load(scores + column));
    }
    highest = highest * broadcast(scale);
    float& row_max = scratch_.max[panel.row + r];
    if (!any_above(highest, broadcast(row_max + kSlack))) return;
    const float new_max = max_lanes(highest);
    const bool is_first = row_max == kLowest;
    const F32 shrink = exp2(broadcast(row_max - new_max));
    row_max = new_max;
    if (is_first) return;  // the sums are still zero
    float* sum = scratch_.sum + (panel.row + r) * kLanes;
    store(sum, load(sum) * shrink);
    float* out = scratch_.out + (panel.row + r) * scratch_.columns;
    for (int64_t d = 0; d < scratch_.columns; d += kLanes) store(out + d, load(out + d) * shrink);
  }

  // [6]
  void exponentiate(const ScorePanel& panel, int r, float scale) {
    const int row = panel.row + r;
    const F32 factor = broadcast(scale), minus_max = broadcast(-scratch_.max[row]);
    const float* scores = scratch_.scores + r * kKeyTile;
    Product* p = reinterpret_cast<Product*>(scratch_.probabilities) + r * kKeyTile;
    const uint16_t* masks = scratch_.masks + row * (kKeyTile / kDropoutBlock);
    const bool drops = task_.dropout.threshold != 0;
    F32 sum = load(scratch_.sum + row * kLanes);
    for (int column = panel.begin; column < panel.end; column += kLanes) {
      const F32 x = exp2(fma(load(scores + column), factor, minus_max));
      sum += x;
      const uint32_t kept = drops ? masks[column / kDropoutBlock] >> column % kDropoutBlock : 0;
      store(p + column, drops ? keep_lanes(kept, x) : x);
    }
    store(scratch_.sum + row * kLanes, sum);
  }

  // [7]
  void multiply_values(const ScorePanel& panel) {
    const int64_t begin = panel.begin / kPer, units = (panel.end - panel.begin) / kPer;
    const RowOperand<kScoreStride> p = {scratch_.probabilities + begin, units, 0};
    for (int64_t d = 0; d < scratch_.columns; d += kPanelWidth) {
      multiply_panel<Units, true>(
          p, scratch_.values + d * (tile_keys_ / kPer) + begin * kPanelWidth, units,
          scratch_.out + panel.row * scratch_.columns + d, scratch_.columns);
    }
  }

  // [8]
  void finish() {
    for (int r = 0; r < task_.rows; ++r) {
      Element* out = static_cast<Element*>(task_.out.data) + r * task_.out.stride;
      const bool sees = task_.visible.begin[r] < task_.visible.end[r];
      const float sum = sees ? sum_lanes(load(scratch_.sum + r * kLanes)) : 0.0f;
      const bool is_empty = sum == 0;  // nothing visible, or all of it at −∞ by the bias
      task_.lse[r] = is_empty ? -__builtin_inff() : scratch_.max[r] * kLn2 + __builtin_logf(sum);
      const F32 factor = broadcast(task_.dropout.keep_scale / sum);
      for (int d = 0; d < task_.head_dim; d += kLanes) {
        const F32 x = is_empty ? zero() : load(scratch_.out + r * scratch_.columns + d) * factor;
        store_columns(out + d, x, task_.head_dim - d);
      }
    }
  }

  const FlashForwardTask& task_;
  ForwardScratch scratch_;
  int tile_keys_ = 0;  // of the current tile: its visible keys, padded to kPanelWidth
};

int64_t scratch_bytes(int rows, int head_dim) {
  return ForwardScratch(nullptr, rows, head_dim).bytes;
}

template <class Format>
void run(const FlashForwardTask& task) {
  ForwardBlock<Format>(task).run();
}

}  // namespace

#if defined(__AVX512BF16__)
const FlashForwardKernels flash_forward_bf16 = {&scratch_bytes, &run<PairFormat>};
#else
const FlashForwardKernels flash_forward_f32 = {&scratch_bytes, &run<F32Format<float> >};
const FlashForwardKernels flash_forward_bf16 = {&scratch_bytes, &run<F32Format<bf16> >};
#endif

}  // namespace strobe::STROBE_ISA
