#pragma once

#include <cstdint>
#include <string_view>

#include "strobe/core/host_device.h"

namespace strobe {

enum class MaskKind : unsigned char { full, causal, window };

constexpr std::string_view to_text(MaskKind kind) {
  constexpr std::string_view names[] = {"full", "causal", "window"};
  return names[static_cast<int>(kind)];
}

// Which keys a query may see, by position. Query i of Tq stands at key position i + Tk − Tq: the
// last query is aligned with the last key ("bottom-right", as in FlashAttention ≥ 2.1).
//   Tq = 2, Tk = 5, causal:   1 1 1 1 0
//                             1 1 1 1 1
struct Mask {
  MaskKind kind = MaskKind::full;
  // Of any size: a window that is open on one side may have the largest number there.
  int64_t left = 0;   // window only: keys before the query's own position that it sees
  int64_t right = 0;  // window only: keys after it
};

constexpr Mask full() { return {}; }
constexpr Mask causal() { return {.kind = MaskKind::causal}; }
constexpr Mask window(int64_t left, int64_t right) {
  return {.kind = MaskKind::window, .left = left, .right = right};
}

// The half-open interval [begin, end) of positions.
struct Span {
  int64_t begin = 0;
  int64_t end = 0;
  STROBE_HD constexpr bool empty() const { return begin >= end; }
  constexpr bool operator==(const Span& other) const = default;
};

// Tile indices for a loop over keys: the tiles [first, last) hold all visible keys, and of those
// [full_begin, full_end) are visible from end to end to every query of the block.
struct KeyTiles {
  int64_t first = 0, full_begin = 0, full_end = 0, last = 0;
};

// The visibility of one sequence: mask, lengths and padding together. In every case that Strobe
// knows, the keys that a query sees are one interval whose ends never move back from one query to
// the next.
struct Visibility {
  Mask mask;
  int64_t seq_q = 0, seq_k = 0;
  Span queries;  // queries outside are padding: they see nothing
  Span keys;     // keys outside are padding: nobody sees them

  // The keys that query `i` sees; {0, 0} when there are none.
  STROBE_HD constexpr Span keys_of(int64_t i) const {
    if (i < queries.begin || i >= queries.end) return {0, 0};
    const int64_t position = i + seq_k - seq_q;
    const Span span = {larger(keys.begin, position - left()),
                       smaller(keys.end, position + right() + 1)};
    return span.empty() ? Span{0, 0} : span;
  }

  // The queries that see at least one key of `block`; empty when there are none.
  STROBE_HD constexpr Span queries_of(Span block) const {
    const Span seen = {larger(block.begin, keys.begin), smaller(block.end, keys.end)};
    if (seen.empty()) return {0, 0};
    const int64_t offset = seq_k - seq_q;
    const Span span = {larger(queries.begin, seen.begin - right() - offset),
                       smaller(queries.end, seen.end + left() - offset)};
    return span.empty() ? Span{0, 0} : span;
  }

  STROBE_HD constexpr bool visible(int64_t i, int64_t j) const {
    const Span span = keys_of(i);
    return span.begin <= j && j < span.end;
  }

  // Tiles of `block_k` keys for the queries of `block`.
  STROBE_HD constexpr KeyTiles key_tiles(Span block, int64_t block_k) const {
    const Span seeing = queries_of(keys);
    const Span rows = {larger(block.begin, seeing.begin), smaller(block.end, seeing.end)};
    if (rows.empty()) return {};
    const Span first_row = keys_of(rows.begin), last_row = keys_of(rows.end - 1);
    KeyTiles tiles = {.first = first_row.begin / block_k,
                      .last = (last_row.end + block_k - 1) / block_k};
    tiles.full_begin = (last_row.begin + block_k - 1) / block_k;
    tiles.full_end = first_row.end / block_k;
    if (!(rows == block) || tiles.full_begin >= tiles.full_end) {
      tiles.full_begin = tiles.full_end = tiles.last;
    }
    return tiles;
  }

  // How far a query sees to either side of its position; kFar: as far as there are keys.
  STROBE_HD constexpr int64_t left() const {
    return mask.kind == MaskKind::window ? smaller(mask.left, kFar) : kFar;
  }
  STROBE_HD constexpr int64_t right() const {
    return mask.kind == MaskKind::full     ? kFar
           : mask.kind == MaskKind::causal ? 0
                                           : smaller(mask.right, kFar);
  }

 private:
  static constexpr int64_t kFar = int64_t{1} << 40;
  static STROBE_HD constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
  static STROBE_HD constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
};

}  // namespace strobe
