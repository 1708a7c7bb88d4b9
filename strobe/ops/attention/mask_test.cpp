// Visibility against brute force over every pair of positions: all small lengths, masks, paddings
// and tile sizes.
#include "strobe/ops/attention/mask.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <limits>
#include <vector>

#include "strobe/ops/attention/cuda/portable/flash_backward_band.cuh"

namespace strobe {
namespace {

// The rule of mask.h in words: i stands at key position i + Tk − Tq.
bool sees(const Visibility& v, int64_t i, int64_t j) {
  if (i < v.queries.begin || i >= v.queries.end || j < v.keys.begin || j >= v.keys.end)
    return false;
  const int64_t ahead = j - (i + v.seq_k - v.seq_q);
  switch (v.mask.kind) {
    case MaskKind::full: return true;
    case MaskKind::causal: return ahead <= 0;
    case MaskKind::window: return -v.mask.left <= ahead && ahead <= v.mask.right;
  }
  return false;
}

std::string describe(const Visibility& v) {
  return fmt::format("{} left={} right={} tq={} tk={} queries=[{}, {}) keys=[{}, {})",
                     to_text(v.mask.kind), v.mask.left, v.mask.right, v.seq_q, v.seq_k,
                     v.queries.begin, v.queries.end, v.keys.begin, v.keys.end);
}

// Everything between the first and the last i in [0, count) for which hit(i) holds.
template <class Hit>
Span hull(int64_t count, const Hit& hit) {
  Span span = {count, 0};
  for (int64_t i = 0; i < count; ++i) {
    if (!hit(i)) continue;
    span = {std::min(span.begin, i), i + 1};
  }
  return span.empty() ? Span{0, 0} : span;
}

void check_rows(const Visibility& v) {
  Span before = {0, 0};
  for (int64_t i = 0; i < v.seq_q; ++i) {
    const Span seen = v.keys_of(i);
    for (int64_t j = 0; j < v.seq_k; ++j) {
      ASSERT_EQ(v.visible(i, j), sees(v, i, j)) << describe(v) << " i=" << i << " j=" << j;
      ASSERT_EQ(seen.begin <= j && j < seen.end, sees(v, i, j)) << describe(v) << " i=" << i;
    }
    if (seen.empty()) {
      ASSERT_EQ(seen, (Span{0, 0})) << describe(v) << " i=" << i;
      continue;
    }
    ASSERT_LE(before.begin, seen.begin) << describe(v) << " i=" << i;  // ends never move back
    ASSERT_LE(before.end, seen.end) << describe(v) << " i=" << i;
    before = seen;
  }
}

void check_key_blocks(const Visibility& v, int64_t block) {
  for (int64_t begin = 0; begin < v.seq_k; begin += block) {
    const Span keys = {begin, std::min(begin + block, v.seq_k)};
    const Span expected = hull(v.seq_q, [&](int64_t i) {
      return !hull(v.seq_k, [&](int64_t j) {
                return j >= keys.begin && j < keys.end && sees(v, i, j);
              }).empty();
    });
    ASSERT_EQ(v.queries_of(keys), expected)
        << describe(v) << " keys [" << keys.begin << ", " << keys.end << ")";
  }
}

void check_key_tiles(const Visibility& v, int64_t block_q, int64_t block_k) {
  for (int64_t begin = 0; begin < v.seq_q; begin += block_q) {
    const Span rows = {begin, std::min(begin + block_q, v.seq_q)};
    const KeyTiles tiles = v.key_tiles(rows, block_k);
    const std::string where =
        fmt::format("{} rows [{}, {}) tiles of {}", describe(v), rows.begin, rows.end, block_k);
    ASSERT_LE(tiles.first, tiles.last) << where;
    if (tiles.full_begin < tiles.full_end) {
      ASSERT_LE(tiles.first, tiles.full_begin) << where;
      ASSERT_LE(tiles.full_end, tiles.last) << where;
    }
    for (int64_t tile = 0; tile * block_k < v.seq_k; ++tile) {
      int64_t seen = 0, pairs = 0;
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        for (int64_t j = tile * block_k; j < (tile + 1) * block_k; ++j, ++pairs) {
          seen += j < v.seq_k && sees(v, i, j);
        }
      }
      const bool is_listed = tiles.first <= tile && tile < tiles.last;
      const bool is_full = tiles.full_begin <= tile && tile < tiles.full_end;
      ASSERT_TRUE(is_listed || seen == 0) << where << ": tile " << tile << " is left out";
      ASSERT_TRUE(!is_full || seen == pairs) << where << ": tile " << tile << " is not full";
      // Nothing is done in vain, and no full tile is taken for a partial one.
      if (tile == tiles.first || tile == tiles.last - 1) {
        ASSERT_TRUE(!is_listed || seen > 0) << where << ": tile " << tile << " is empty";
      }
      ASSERT_TRUE(is_full || seen < pairs) << where << ": tile " << tile << " is full";
    }
  }
}

// The band of flash backward on a GPU, with queries or keys as rows: each row's columns, and what
// it says of blocks of both.
void check_band(const Visibility& v, bool rows_are_keys) {
  const Band band = rows_are_keys ? Band::of_keys(v) : Band::of_queries(v);
  const auto rows = static_cast<int>(rows_are_keys ? v.seq_k : v.seq_q);
  const auto columns = static_cast<int>(rows_are_keys ? v.seq_q : v.seq_k);
  const auto is_seen = [&](int row, int column) {
    return rows_are_keys ? sees(v, column, row) : sees(v, row, column);
  };
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) {
      ASSERT_EQ(band.begin_of(row) <= column && column < band.end_of(row), is_seen(row, column))
          << describe(v) << " keys as rows: " << rows_are_keys << ", " << row << " " << column;
    }
  }
  constexpr int kRows = 4, kColumns = 3;
  for (int row = 0; row < rows; row += kRows) {
    const int begin = band.any_begin(row), end = band.any_end(row + kRows);
    for (int column = 0; column < columns; column += kColumns) {
      int seen = 0;
      for (int r = row; r < row + kRows; ++r) {
        for (int c = column; c < column + kColumns; ++c) {
          const bool is_pair = r < rows && c < columns && is_seen(r, c);
          seen += is_pair;
          ASSERT_TRUE(!is_pair || (begin <= c && c < end)) << describe(v) << " row " << r;
        }
      }
      ASSERT_TRUE(seen == 0 || !band.hides_all(row, kRows, column, kColumns)) << describe(v);
      ASSERT_EQ(band.shows_all(row, kRows, column, kColumns), seen == kRows * kColumns)
          << describe(v) << " rows from " << row << " columns from " << column;
    }
  }
}

TEST(Mask, AgreesWithBruteForce) {
  constexpr int64_t kMost = 12, kAll = std::numeric_limits<int64_t>::max();
  const std::vector<Mask> masks = {full(),          causal(),          window(0, 0),
                                   window(1, 0),    window(0, 2),      window(3, 1),
                                   window(20, 0),   window(2, 20),     window(2, kAll),
                                   window(kAll, 1), window(kAll, kAll)};
  for (int64_t seq_q = 0; seq_q <= kMost; ++seq_q) {
    for (int64_t seq_k = 0; seq_k <= kMost; ++seq_k) {
      const std::vector<Span> queries = {{0, seq_q},
                                         {std::min<int64_t>(2, seq_q), seq_q},
                                         {0, seq_q / 2},
                                         {seq_q / 3, seq_q - seq_q / 4},
                                         {seq_q, 0}};  // begin may exceed end
      const std::vector<Span> keys = {{0, seq_k},
                                      {std::min<int64_t>(3, seq_k), seq_k},
                                      {0, seq_k - seq_k / 3},
                                      {seq_k / 2, seq_k - seq_k / 4},
                                      {seq_k, 0}};
      for (const Mask& mask : masks) {
        for (const Span& q : queries) {
          for (const Span& k : keys) {
            const Visibility v = {
                .mask = mask, .seq_q = seq_q, .seq_k = seq_k, .queries = q, .keys = k};
            check_rows(v);
            for (const bool rows_are_keys : {false, true}) check_band(v, rows_are_keys);
            for (const int64_t block : {1, 3, 4}) check_key_blocks(v, block);
            for (const auto& [block_q, block_k] :
                 {std::pair<int64_t, int64_t>{1, 1}, {2, 3}, {4, 2}, {3, 4}, {16, 5}}) {
              check_key_tiles(v, block_q, block_k);
            }
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

// The picture in mask.h.
TEST(Mask, CausalIsAlignedBottomRight) {
  const Visibility v = {
      .mask = causal(), .seq_q = 2, .seq_k = 5, .queries = {0, 2}, .keys = {0, 5}};
  EXPECT_EQ(v.keys_of(0), (Span{0, 4}));
  EXPECT_EQ(v.keys_of(1), (Span{0, 5}));
  const Visibility more_queries = {
      .mask = causal(), .seq_q = 5, .seq_k = 2, .queries = {0, 5}, .keys = {0, 2}};
  EXPECT_TRUE(more_queries.keys_of(2).empty());
  EXPECT_EQ(more_queries.keys_of(3), (Span{0, 1}));
}

}  // namespace
}  // namespace strobe
