#pragma once

#include "strobe/core/host_device.h"
#include "strobe/ops/attention/mask.h"

namespace strobe {

// A sequence's visibility with either queries or keys as rows, the others as columns: row r sees
// the columns [max(column_begin, r + lower), min(column_end, r + upper)), and rows outside
// [row_begin, row_end) see none. The same picture for both, in 32 bits.
struct Band {
  int row_begin = 0, row_end = 0;
  int column_begin = 0, column_end = 0;
  int lower = 0, upper = 0;

  // Lengths are less than 2²⁹, and so is what is added to them here.
  static constexpr int kFar = 1 << 29;

  static STROBE_HD Band of_queries(const Visibility& v) {
    const int offset = static_cast<int>(v.seq_k - v.seq_q);
    return {static_cast<int>(v.queries.begin), static_cast<int>(v.queries.end),
            static_cast<int>(v.keys.begin),    static_cast<int>(v.keys.end),
            offset - near(v.left()),           offset + near(v.right()) + 1};
  }
  static STROBE_HD Band of_keys(const Visibility& v) {
    const int offset = static_cast<int>(v.seq_k - v.seq_q);
    return {static_cast<int>(v.keys.begin),    static_cast<int>(v.keys.end),
            static_cast<int>(v.queries.begin), static_cast<int>(v.queries.end),
            -offset - near(v.right()),         -offset + near(v.left()) + 1};
  }

  STROBE_HD int begin_of(int row) const { return larger(column_begin, row + lower); }
  STROBE_HD int end_of(int row) const {
    return row >= row_begin && row < row_end ? smaller(column_end, row + upper) : -kFar;
  }

  // Columns [begin, end) that some row of [first, last) may see; none where begin ≥ end.
  STROBE_HD int any_begin(int first) const { return begin_of(larger(first, row_begin)); }
  STROBE_HD int any_end(int last) const {
    return smaller(column_end, smaller(last, row_end) - 1 + upper);
  }

  // Whether every row of [row, row + rows) sees every column of [column, column + columns).
  STROBE_HD bool shows_all(int row, int rows, int column, int columns) const {
    return row >= row_begin && row + rows <= row_end && column >= column_begin &&
           column + columns <= column_end && row + rows - 1 + lower <= column &&
           row + upper >= column + columns;
  }
  // Whether no row of them sees any.
  STROBE_HD bool hides_all(int row, int rows, int column, int columns) const {
    return row >= row_end || row + rows <= row_begin || column >= column_end ||
           column + columns <= column_begin || row + lower >= column + columns ||
           row + rows - 1 + upper <= column;
  }

 private:
  static STROBE_HD int larger(int a, int b) { return a > b ? a : b; }
  static STROBE_HD int smaller(int a, int b) { return a < b ? a : b; }
  static STROBE_HD int near(int64_t x) { return x < kFar ? static_cast<int>(x) : kFar; }
};

}  // namespace strobe
