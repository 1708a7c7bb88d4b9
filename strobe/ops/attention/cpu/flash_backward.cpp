// attention_backward_flash: one key/value head, some of its key tiles, all query heads that read it
//
// Computes    P = exp(S − lse)      dP = dO Vᵀ      delta = rowsum(dO∘out)                (3)
//             dS = P∘(Z∘dP − delta)                                                       (4)
//             dV = (Z∘P)ᵀ dO    dK = scale·dSᵀ Q    dQ = scale·dS K                       (5)
//             FlashAttention-2, Alg. 2
// Shapes      q,out,dout,dq [rows, D] of each head of the group; k,v,dk,dv [keys, D]; any row
//             strides
// Mapping     one task for each (sequence, key/value head, range of key tiles); inside, one
//             thread. A task that holds all keys finishes dQ; others leave partial sums, which
//             flash_cpu.cpp has added up in order
//             A pass over the keys takes the query rows of one block of one head; where there
//             are several passes, dK and dV add up in scratch
// Scratch     Q, dO, dQ of a block · Kᵀ, Vᵀ, K, dK, dV of a key tile, P, dS of a pair of tiles (L2)
// Steps       [1] pack Q, dO; delta  [2] pack Kᵀ, Vᵀ, K  [3] S = QKᵀ, dP = dO Vᵀ  [4] P, dS
//             [5] dV += PᵀdO, dK += dSᵀQ  [6] dQ += dS K  [7] dq  [8] dk, dv
// Requires    D a multiple of 8 up to 256                            (checked in attention.cpp)
// Numerics    all sums in f32; P and dS rounded to bf16 before [5] and [6] where pairs are
//             multiplied. The shape and the number of key ranges fix the order of every sum
// Cost        10·rows·keys·D FLOP (half if causal): five products, none computed twice
#include "strobe/ops/attention/cpu/flash_dropout.h"
#include "strobe/ops/attention/cpu/flash_scratch.h"
#include "strobe/ops/attention/cpu/flash_softmax.h"

namespace strobe::STROBE_ISA {
namespace {

constexpr int kQueryTile = 96;
constexpr int kKeyTile = 96;  // a multiple of kPanelRows and of kPanelWidth

// A pass over the keys takes at most so many query rows, a multiple of kQueryTile: what they need
// in every key tile (Q, dO, dQ) must stay in the cache.
constexpr int kBlockRows = 1536;

int block_count(int rows) { return larger(1, (rows + kBlockRows - 1) / kBlockRows); }

// The rows of a block: all blocks of a head but the last have as many.
int block_rows(int rows) {
  const int blocks = block_count(rows);
  return static_cast<int>(round_up((rows + blocks - 1) / blocks, kQueryTile));
}

bool is_one_pass(int rows, int group) { return group == 1 && block_count(rows) == 1; }

template <class Format>
struct BackwardScratch {
  static constexpr int kPer = Format::kPerUnit;
  int rows;                               // of a block, padded to kFlashRowGrain
  int64_t columns;                        // head_dim padded to kPanelWidth
  float *q, *dout;                        // packed by rows
  float *q_contracted, *dout_contracted;  // packed with the contraction along the rows
  float* dq;                              // [rows, columns]
  float* minus_lse;                       // [rows], in base 2
  float* delta;                           // [rows]
  float *keys_t, *values_t;               // Kᵀ, Vᵀ: panels over the tile's keys
  float* keys;                            // K: panels over D
  float *dk, *dv;           // [tiles · kKeyTile, columns]; one tile where there is one pass
  float *scores, *dscores;  // S and dP: [panel or tile rows, kKeyTile]
  float *p, *ds;            // contraction along the rows, [kQueryTile / kPer, kKeyTile] units
  float* ds_rows;           // contraction along the keys, [kQueryTile, kKeyTile / kPer] units
  uint16_t* masks;          // [kQueryTile, kKeyTile / 16]
  int64_t bytes;

  // `most_rows` of a block; `is_one_pass`: over the keys.
  BackwardScratch(char* base, int most_rows, bool is_one_pass, int key_count, int head_dim,
                  bool partial) {
    Scratch scratch(base);
    rows = static_cast<int>(round_up(most_rows, kFlashRowGrain));
    columns = round_up(head_dim, kPanelWidth);
    const int64_t packed = rows * round_up(head_dim / kPer, kPanelWidth);
    q = scratch.take<float>(packed);
    dout = scratch.take<float>(packed);
    q_contracted = kPer == 1 ? q : scratch.take<float>(rows / kPer * columns);
    dout_contracted = kPer == 1 ? dout : scratch.take<float>(rows / kPer * columns);
    dq = partial ? nullptr : scratch.take<float>(rows * columns);
    minus_lse = scratch.take<float>(rows);
    delta = scratch.take<float>(rows);
    keys_t = scratch.take<float>(kKeyTile * columns);
    values_t = scratch.take<float>(kKeyTile * columns);
    keys = scratch.take<float>(kKeyTile * columns);
    const int64_t sums = (is_one_pass ? kKeyTile : round_up(key_count, kKeyTile)) * columns;
    dk = scratch.take<float>(sums);
    dv = scratch.take<float>(sums);
    const int64_t tile = int64_t{kQueryTile} * kKeyTile;
    p = scratch.take<float>(tile / kPer);
    ds = scratch.take<float>(tile / kPer);
    if constexpr (kPer == 1) {  // P and dS take the place of S and dP
      scores = p;
      dscores = ds_rows = ds;
    } else {
      scores = scratch.take<float>(kPanelRows * kKeyTile);
      dscores = scratch.take<float>(kPanelRows * kKeyTile);
      ds_rows = scratch.take<float>(tile / kPer);
    }
    masks = scratch.take<uint16_t>(tile / kDropoutBlock);
    bytes = scratch.bytes();
  }
};

template <class Format>
class BackwardRange {
  using Element = typename Format::Element;
  using Units = typename Format::Units;
  static constexpr int kPer = Format::kPerUnit;

 public:
  explicit BackwardRange(const FlashBackwardTask& task)
      : task_(task),
        scratch_(task.scratch, smaller(task.rows, block_rows(task.rows)),
                 is_one_pass(task.rows, task.group), (task.last_tile - task.first_tile) * kKeyTile,
                 task.head_dim, task.dq_partial != nullptr) {}

  void run() {
    const int blocks = block_count(task_.rows), step = block_rows(task_.rows);
    passes_ = task_.group * blocks;
    for (int pass = 0; pass < passes_; ++pass) {
      start_pass(pass / blocks, pass % blocks * step);
      for (int tile = task_.first_tile; tile < task_.last_tile; ++tile) {
        add_key_tile(pass, tile);
        if (pass == passes_ - 1) finish_key_tile(tile);
      }
      if (task_.dq_partial == nullptr) finish_dq(pass / blocks);
    }
  }

 private:
  SourceRows<Element> source(const FlashRows& rows, int64_t offset, Interval valid) const {
    return {static_cast<const Element*>(rows.data) + offset, rows.stride, valid.begin, valid.end};
  }

  // [1] for the rows of head `head` from `first_row` on; in a pass, rows count from there.
  void start_pass(int head, int first_row) {
    first_row_ = first_row;
    rows_ = smaller(task_.rows - first_row, block_rows(task_.rows));
    visible_ = {task_.visible.begin + first_row, task_.visible.end + first_row};
    visible_keys_ = visible_keys(visible_, 0, rows_, 0, INT32_MAX);
    const Interval seeing = seeing_rows(visible_, 0, rows_, 0, INT32_MAX);
    const auto rows_of = [&](const FlashRows& x, int64_t head_stride) {
      return source(x, head * head_stride + first_row * x.stride, seeing);
    };
    const auto q = rows_of(task_.q, task_.q_head_stride);
    const auto dout = rows_of(task_.dout, task_.dout_head_stride);
    const auto out = rows_of(task_.out, task_.out_head_stride);
    pack_rows<Format>(q, scratch_.rows, task_.head_dim, scratch_.q);
    pack_rows<Format>(dout, scratch_.rows, task_.head_dim, scratch_.dout);
    if constexpr (kPer > 1) {
      pack_contracted_rows<Format>(q, scratch_.rows, task_.head_dim, scratch_.q_contracted);
      pack_contracted_rows<Format>(dout, scratch_.rows, task_.head_dim, scratch_.dout_contracted);
    }
    const float* lse = task_.lse + head * task_.lse_head_stride + first_row;
    for (int r = 0; r < scratch_.rows; ++r) {
      const bool sees = seeing.begin <= r && r < seeing.end;
      scratch_.minus_lse[r] =
          sees && lse[r] > -__builtin_inff() ? -kLog2e * lse[r] : -__builtin_inff();
      scratch_.delta[r] =
          sees ? dot_rows(dout.data + r * dout.stride, out.data + r * out.stride) : 0.0f;
    }
    dq_ = scratch_.dq;
    if (task_.dq_partial != nullptr) {
      dq_ = task_.dq_partial + head * task_.dq_partial_head_stride + first_row * scratch_.columns;
    }
    std::memset(dq_, 0, round_up(rows_, kFlashRowGrain) * scratch_.columns * sizeof(float));
    bias_ = task_.bias;
    if (bias_.data != nullptr) {
      bias_.data += head * task_.bias_head_stride + first_row * bias_.row_stride;
    }
    dropout_ = task_.dropout;
    dropout_.head += head;
  }

  float dot_rows(const Element* x, const Element* y) const {
    F32 sum = zero();
    for (int d = 0; d < task_.head_dim; d += kLanes) {
      const int count = clamp_to_lanes(task_.head_dim - d);
      sum = count == kLanes ? fma(load(x + d), load(y + d), sum)
                            : fma(load_partial(x + d, count), load_partial(y + d, count), sum);
    }
    return sum_lanes(sum);
  }

  // The sums dk, dv of a tile: [kKeyTile, columns].
  int64_t sums_of(int tile) const {
    return passes_ > 1 ? (tile - task_.first_tile) * kKeyTile * scratch_.columns : 0;
  }

  void add_key_tile(int pass, int tile) {
    float *dk = scratch_.dk + sums_of(tile), *dv = scratch_.dv + sums_of(tile);
    if (pass == 0) {
      std::memset(dk, 0, kKeyTile * scratch_.columns * sizeof(float));
      std::memset(dv, 0, kKeyTile * scratch_.columns * sizeof(float));
    }
    const int key = tile * kKeyTile, keys = smaller(task_.keys - key, kKeyTile);
    const Interval rows = seeing_rows(visible_, 0, rows_, key, key + keys);
    if (rows.empty()) return;
    load_tile(key);
    for (int first = rows.begin / kQueryTile * kQueryTile; first < rows.end; first += kQueryTile) {
      const Interval part = {larger(rows.begin, first), smaller(rows.end, first + kQueryTile)};
      load_masks(first, key);
      for (int row = first + (part.begin - first) / kPanelRows * kPanelRows; row < part.end;
           row += kPanelRows) {
        add_row_panel(first, row, key);
      }
      for (int k = 0; k < keys; k += kPanelRows) {
        add_key_panel(first, part, key, k, dk, dv);
      }
    }
  }

  // [2] Keys that no row sees count as zeros.
  void load_tile(int key) {
    const Interval valid = {larger(visible_keys_.begin - key, 0),
                            smaller(visible_keys_.end - key, kKeyTile)};
    tile_keys_ = static_cast<int>(round_up(valid.end, kPanelWidth));
    const auto k = source(task_.k, key * task_.k.stride, valid);
    const auto v = source(task_.v, key * task_.v.stride, valid);
    pack_transposed<Format>(k, tile_keys_, task_.head_dim, scratch_.keys_t);
    pack_transposed<Format>(v, tile_keys_, task_.head_dim, scratch_.values_t);
    pack_contracted_rows<Format>(k, tile_keys_, task_.head_dim, scratch_.keys);
  }

  void load_masks(int first, int key) {
    if (dropout_.threshold == 0) return;
    dropout_masks(dropout_, first_row_ + first, smaller(kQueryTile, scratch_.rows - first), key,
                  kKeyTile, scratch_.masks, kKeyTile / kDropoutBlock);
  }

  // [3], [4] and [6] for kPanelRows query rows; `first` is the first row of their tile.
  void add_row_panel(int first, int row, int key) {
    const ScorePanel panel = score_panel(visible_, row, key, kKeyTile);
    const int local = row - first;
    float* scores = scratch_.scores + (kPer == 1 ? local * kKeyTile : 0);
    float* dscores = scratch_.dscores + (kPer == 1 ? local * kKeyTile : 0);
    multiply_rows(scratch_.q, row, scratch_.keys_t, panel, scores);
    multiply_rows(scratch_.dout, row, scratch_.values_t, panel, dscores);
    float scale = task_.scale * kLog2e;
    if (!panel.is_whole || bias_.data != nullptr) {
      mask_and_bias(panel, visible_, bias_, scale, scores, kKeyTile);
      scale = 1;
    }
    for (int r = 0; r < kPanelRows; r += kPer) {
      clear_gradients(local + r, 0, panel.begin);
      set_gradients(panel, local, r, scale, scores + r * kKeyTile, dscores + r * kKeyTile);
      clear_gradients(local + r, panel.end, kKeyTile);
    }
    const RowOperand<kKeyTile / kPer> ds = {
        scratch_.ds_rows + local * (kKeyTile / kPer) + panel.begin / kPer, kKeyTile, 0};
    for (int64_t d = 0; d < scratch_.columns; d += kPanelWidth) {
      multiply_panel<Units, true>(
          ds, scratch_.keys + d * (tile_keys_ / kPer) + panel.begin / kPer * kPanelWidth,
          (panel.end - panel.begin) / kPer, dq_ + row * scratch_.columns + d, scratch_.columns);
    }
  }

  // product [kPanelRows, kKeyTile] = X·Yᵀ over the head dimension.
  void multiply_rows(const float* x, int row, const float* y_t, const ScorePanel& panel,
                     float* product) {
    const RowOperand<kPanelWidth> operand = {x + row * kPanelWidth, kPanelWidth,
                                             scratch_.rows * kPanelWidth};
    const int64_t units = task_.head_dim / kPer;
    for (int column = panel.begin; column < panel.end; column += kPanelWidth) {
      multiply_panel<Units, false>(operand, y_t + column * units, units, product + column,
                                   kKeyTile);
    }
  }

  // What turns S and dP into P and dS in one query row.
  struct RowTerms {
    F32 minus_lse, delta;
    const uint16_t* masks;
  };
  struct Gradients {
    F32 p, ds;
  };
  STROBE_INLINE Gradients gradients(F32 score, F32 dp, F32 scale, const RowTerms& row,
                                    int column) const {
    const F32 p = exp2(fma(score, scale, row.minus_lse));
    if (dropout_.threshold == 0) return {p, p * (dp - row.delta)};
    const uint32_t kept = row.masks[column / kDropoutBlock] >> column % kDropoutBlock;
    const F32 dropped = keep_lanes(kept, dp * broadcast(dropout_.keep_scale));
    return {keep_lanes(kept, p), p * (dropped - row.delta)};
  }

  // [4] P and dS of kPer rows from row r of the panel that begins at row `local` of the tile.
  void set_gradients(const ScorePanel& panel, int local, int r, float scale, const float* scores,
                     const float* dscores) {
    RowTerms terms[kPer];
    for (int i = 0; i < kPer; ++i) {
      const int row = panel.row + r + i;
      terms[i] = {broadcast(scratch_.minus_lse[row]), broadcast(scratch_.delta[row]),
                  scratch_.masks + (local + r + i) * (kKeyTile / kDropoutBlock)};
    }
    const F32 factor = broadcast(scale);
    float* p = scratch_.p + (local + r) / kPer * kKeyTile;
    float* ds = scratch_.ds + (local + r) / kPer * kKeyTile;
    [[maybe_unused]] bf16* ds_rows =
        reinterpret_cast<bf16*>(scratch_.ds_rows) + (local + r) * kKeyTile;
    for (int column = panel.begin; column < panel.end; column += kLanes) {
      Gradients x[kPer];
      for (int i = 0; i < kPer; ++i) {
        x[i] = gradients(load(scores + i * kKeyTile + column),
                         load(dscores + i * kKeyTile + column), factor, terms[i], column);
      }
      if constexpr (kPer == 1) {
        store(p + column, x[0].p);
        store(ds + column, x[0].ds);
      } else {
        store(p + column, round_pair(x[0].p, x[1].p));
        store(ds + column, round_pair(x[0].ds, x[1].ds));
        for (int i = 0; i < kPer; ++i) store(ds_rows + i * kKeyTile + column, x[i].ds);
      }
    }
  }

  // Zeros for columns that no row of the panel sees: [5] runs over all rows of a tile.
  void clear_gradients(int local, int begin, int end) {
    const int64_t at = local / kPer * kKeyTile;
    for (int column = begin; column < end; column += kLanes) {
      store(scratch_.p + at + column, zero());
      store(scratch_.ds + at + column, zero());
    }
  }

  // [5] for kPanelRows keys from key `k` of the tile, over the query rows that see one of them.
  void add_key_panel(int first, Interval part, int key, int k, float* dk, float* dv) {
    const Interval seeing = seeing_rows(visible_, part.begin, part.end, key + k,
                                        smaller(key + k + kPanelRows, task_.keys));
    if (seeing.empty()) return;
    const int begin = (seeing.begin - first) / (2 * kPer) * 2;  // in units of the tile
    const int end = (seeing.end - first + 2 * kPer - 1) / (2 * kPer) * 2;
    const ColumnOperand p = {scratch_.p + begin * kKeyTile + k, kKeyTile};
    const ColumnOperand ds = {scratch_.ds + begin * kKeyTile + k, kKeyTile};
    for (int64_t d = 0; d < scratch_.columns; d += kPanelWidth) {
      const int64_t from = d * (scratch_.rows / kPer) + (first / kPer + begin) * kPanelWidth;
      const int64_t to = k * scratch_.columns + d;
      multiply_panel<Units, true>(p, scratch_.dout_contracted + from, end - begin, dv + to,
                                  scratch_.columns);
      multiply_panel<Units, true>(ds, scratch_.q_contracted + from, end - begin, dk + to,
                                  scratch_.columns);
    }
  }

  // [7]
  void finish_dq(int head) {
    Element* dq = static_cast<Element*>(task_.dq.data) + head * task_.dq_head_stride +
                  first_row_ * task_.dq.stride;
    write_rows(dq_, rows_, task_.scale, dq, task_.dq.stride);
  }

  // [8]
  void finish_key_tile(int tile) {
    const int key = tile * kKeyTile, keys = smaller(task_.keys - key, kKeyTile);
    write_rows(scratch_.dk + sums_of(tile), keys, task_.scale,
               static_cast<Element*>(task_.dk.data) + key * task_.dk.stride, task_.dk.stride);
    write_rows(scratch_.dv + sums_of(tile), keys, dropout_.keep_scale,
               static_cast<Element*>(task_.dv.data) + key * task_.dv.stride, task_.dv.stride);
  }

  void write_rows(const float* from, int rows, float factor, Element* to, int64_t stride) const {
    for (int r = 0; r < rows; ++r) {
      for (int d = 0; d < task_.head_dim; d += kLanes) {
        store_columns(to + r * stride + d,
                      load(from + r * scratch_.columns + d) * broadcast(factor),
                      task_.head_dim - d);
      }
    }
  }

  const FlashBackwardTask& task_;
  BackwardScratch<Format> scratch_;
  int passes_ = 1;
  int first_row_ = 0, rows_ = 0;  // of the pass
  FlashVisible visible_;          // of its rows
  Interval visible_keys_{};
  int tile_keys_ = 0;    // of the current tile: its visible keys, padded to kPanelWidth
  float* dq_ = nullptr;  // [rows, columns] of the pass
  FlashBias bias_;       // of the pass
  FlashDropout dropout_;
};

template <class Format>
int64_t scratch_bytes(int rows, int keys, bool is_packed, int group, int head_dim, bool partial) {
  // The blocks of a sequence may be larger than those of one that has more rows.
  const int most_rows = smaller(rows, is_packed ? kBlockRows : block_rows(rows));
  return BackwardScratch<Format>(nullptr, most_rows, is_one_pass(rows, group), keys, head_dim,
                                 partial)
      .bytes;
}

template <class Format>
void run(const FlashBackwardTask& task) {
  BackwardRange<Format>(task).run();
}

int64_t dq_columns(int head_dim) { return round_up(head_dim, kPanelWidth); }

template <class Element>
void reduce_dq(const float* partial, int count, int64_t step, float scale, FlashRows dq, int rows,
               int head_dim) {
  for (int r = 0; r < rows; ++r) {
    Element* to = static_cast<Element*>(dq.data) + r * dq.stride;
    const float* from = partial + r * dq_columns(head_dim);
    for (int d = 0; d < head_dim; d += kLanes) {
      F32 sum = load(from + d);
      for (int i = 1; i < count; ++i) sum += load(from + i * step + d);
      store_columns(to + d, sum * broadcast(scale), head_dim - d);
    }
  }
}

template <class Format>
constexpr FlashBackwardKernels kernels() {
  return {&scratch_bytes<Format>, &run<Format>, &reduce_dq<typename Format::Element>, &dq_columns,
          kKeyTile};
}

}  // namespace

#if defined(__AVX512BF16__)
const FlashBackwardKernels flash_backward_bf16 = kernels<PairFormat>();
#else
const FlashBackwardKernels flash_backward_f32 = kernels<F32Format<float> >();
const FlashBackwardKernels flash_backward_bf16 = kernels<F32Format<bf16> >();
#endif

}  // namespace strobe::STROBE_ISA
