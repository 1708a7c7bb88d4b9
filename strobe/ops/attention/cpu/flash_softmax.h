// What forward and backward share between the products: which part of a tile of scores is visible,
// and its value in base 2.
#pragma once

#include "strobe/ops/attention/cpu/flash_kernels.h"
#include "strobe/ops/attention/cpu/flash_pack.h"

namespace strobe::STROBE_ISA {

constexpr float kLog2e = 1.44269504f;
constexpr float kLn2 = 0.693147181f;

STROBE_INLINE int smaller(int a, int b) { return a < b ? a : b; }
STROBE_INLINE int larger(int a, int b) { return a > b ? a : b; }

struct Interval {
  int begin, end;
  STROBE_INLINE bool empty() const { return begin >= end; }
};

// The keys of [begin, end) that at least one of the rows [row, row + rows) sees.
STROBE_INLINE Interval visible_keys(const FlashVisible& visible, int row, int rows, int begin,
                                    int end) {
  Interval seen = {end, begin};
  for (int r = row; r < row + rows; ++r) {
    const int first = larger(visible.begin[r], begin), last = smaller(visible.end[r], end);
    if (first >= last) continue;
    seen = {smaller(seen.begin, first), larger(seen.end, last)};
  }
  return seen;
}

// The rows of [first, last) from the first to the last that sees a key of [begin, end).
STROBE_INLINE Interval seeing_rows(const FlashVisible& visible, int first, int last, int begin,
                                   int end) {
  const auto sees = [&](int r) {
    return larger(visible.begin[r], begin) < smaller(visible.end[r], end);
  };
  while (first < last && !sees(first)) ++first;
  while (first < last && !sees(last - 1)) --last;
  return {first, last};
}

// A panel of scores in one key tile. Columns count from the tile's first key; [begin, end) is what
// at least one row sees, widened to whole vectors of kPanelWidth.
struct ScorePanel {
  int row;        // its first row in the task
  int first_key;  // of the tile
  int begin, end;
  bool is_whole;  // every row sees all of [begin, end)
};

STROBE_INLINE ScorePanel score_panel(const FlashVisible& visible, int row, int first_key,
                                     int tile_keys) {
  ScorePanel panel = {.row = row, .first_key = first_key, .begin = 0, .end = 0, .is_whole = false};
  const Interval seen = visible_keys(visible, row, kPanelRows, first_key, first_key + tile_keys);
  if (seen.empty()) return panel;
  panel.begin = (seen.begin - first_key) / kPanelWidth * kPanelWidth;
  panel.end = (seen.end - first_key + kPanelWidth - 1) / kPanelWidth * kPanelWidth;
  panel.is_whole = true;
  for (int r = row; r < row + kPanelRows; ++r) {
    panel.is_whole &=
        visible.begin[r] <= first_key + panel.begin && visible.end[r] >= first_key + panel.end;
  }
  return panel;
}

// Stores the first columns of a vector, `left` of them are still to come in the row.
template <class T>
STROBE_INLINE void store_columns(T* p, F32 x, int left) {
  left >= kLanes ? store(p, x) : store_partial(p, x, left);
}

// scores = scores·scale (+ bias·log2 e), −∞ where a row does not see the key: in place, for panels
// that are not whole or have a bias.
inline void mask_and_bias(const ScorePanel& panel, const FlashVisible& visible,
                          const FlashBias& bias, float scale, float* scores, int64_t stride) {
  const F32 factor = broadcast(scale), hidden = broadcast(-__builtin_inff());
  for (int r = 0; r < kPanelRows; ++r) {
    const int begin = visible.begin[panel.row + r] - panel.first_key;
    const int end = visible.end[panel.row + r] - panel.first_key;
    for (int column = panel.begin; column < panel.end; column += kLanes) {
      float* p = scores + r * stride + column;
      F32 score = load(p) * factor;
      if (bias.data != nullptr && begin < column + kLanes && column < end) {
        const float* terms =
            bias.data + (panel.row + r) * bias.row_stride + panel.first_key + column;
        const F32 term = end - column >= kLanes ? load(terms) : load_partial(terms, end - column);
        score = fma(term, broadcast(kLog2e), score);
      }
      const I32 key = lane_index() + column;
      store(p, select((key >= begin) & (key < end), score, hidden));
    }
  }
}

}  // namespace strobe::STROBE_ISA
