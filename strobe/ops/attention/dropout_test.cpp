// Attention's dropout mapping: fixed for every kernel to come, so its values are pinned here.
#include "strobe/ops/attention/dropout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <tuple>
#include <vector>

#include "strobe/ops/attention/attention_reference.h"

namespace strobe {
namespace {

const Dropout kHalf = Dropout::with(0.5, random_key(1234, 5, 6));

TEST(AttentionDropout, IsTheMappingOfItsText) {
  AttentionReferenceCase c;
  c.heads_q = 3;
  c.sequence = 2;
  for (const double p : {0.1, 0.5, 0.9}) {
    const Dropout dropout = Dropout::with(p, random_key(77, 1, 2));
    c.dropout_threshold = dropout.threshold;
    c.dropout_key[0] = dropout.key.word[0];
    c.dropout_key[1] = dropout.key.word[1];
    for (uint32_t query = 0; query < 100; ++query) {
      for (uint32_t key = 0; key < 100; ++key) {
        ASSERT_EQ(dropout_keeps(dropout, 2 * 3 + 1, query, key),
                  attention_reference_keeps(c, 1, query, key))
            << "query " << query << " key " << key;
      }
    }
  }
}

// A change of these is a change of every trained model's dropout: never edit, only add.
TEST(AttentionDropout, KnownValues) {
  const Dropout dropout = Dropout::with(0.5, PhiloxKey{{0x01234567u, 0x89abcdefu}});
  const auto bits_of_row = [&](uint32_t head, uint32_t query, uint32_t key) {
    uint32_t bits = 0;
    for (uint32_t j = 0; j < 32; ++j)
      bits |= uint32_t{dropout_keeps(dropout, head, query, key + j)} << j;
    return bits;
  };
  EXPECT_EQ(bits_of_row(0, 0, 0), 3598808007u);
  EXPECT_EQ(bits_of_row(0, 1, 0), 3724772583u);
  EXPECT_EQ(bits_of_row(0, 9, 16), 2543831575u);
  EXPECT_EQ(bits_of_row(5, 1000, 4096), 1898838567u);
  EXPECT_EQ(bits_of_row(11, 8191, 8160), 2976040993u);
}

// Every byte of a block's 16 counters decides exactly one of its 256 elements.
TEST(AttentionDropout, NoRandomBitIsUsedTwice) {
  for (const auto& [q16, k16] : {std::pair<uint32_t, uint32_t>{0, 0}, {1, 0}, {0, 1}, {5, 3}}) {
    std::set<std::tuple<uint32_t, int, int>> bytes;
    for (uint32_t i = 0; i < 16; ++i) {
      for (uint32_t j = 0; j < 16; ++j) {
        const DropoutPosition p = dropout_position(9, 16 * q16 + i, 16 * k16 + j);
        ASSERT_EQ(p.counter.word[0], q16);
        ASSERT_EQ(p.counter.word[1], k16);
        ASSERT_LT(p.counter.word[2], 16u);
        ASSERT_EQ(p.counter.word[3], 9u);
        ASSERT_TRUE(p.word >= 0 && p.word < 4 && p.byte >= 0 && p.byte < 4);
        bytes.insert({p.counter.word[2], p.word, p.byte});
      }
    }
    EXPECT_EQ(bytes.size(), 256u);
  }
}

// Which of a matrix instruction's 32 lanes holds an element of a 16×16 block of S in its fragment.
int lane_of(uint32_t row, uint32_t column) {
  return static_cast<int>(4 * (row % 8) + column / 2 % 4);
}

// The claim of dropout.h, both for S (forward) and for Sᵀ (backward, rows and columns exchanged).
TEST(AttentionDropout, TwoLanesShareTheirCounters) {
  for (const bool is_transposed : {false, true}) {
    for (int lane = 0; lane < 32; ++lane) {
      // Of two neighbouring blocks along the fragment's columns.
      std::set<uint32_t> counters_here, counters_partner;
      std::set<int> words_here[2], words_partner[2];
      for (int block = 0; block < 2; ++block) {
        int elements = 0;
        for (uint32_t r = 0; r < 16; ++r) {
          for (uint32_t c = 0; c < 16; ++c) {
            const int owner = lane_of(r, c);
            if (owner != lane && owner != (lane ^ 4)) continue;
            const uint32_t along = 16 * static_cast<uint32_t>(block) + c;
            const DropoutPosition p =
                is_transposed ? dropout_position(0, along, r) : dropout_position(0, r, along);
            (owner == lane ? counters_here : counters_partner).insert(p.counter.word[2]);
            (owner == lane ? words_here : words_partner)[block].insert(p.word);
            elements += owner == lane;
          }
        }
        EXPECT_EQ(elements, 8);
      }
      // One counter of each block serves both lanes. A lane makes that of the block whose parity is
      // its row's, keeps one fixed pair of words and sends the other.
      EXPECT_EQ(counters_here.size(), 1u) << "lane " << lane << " transposed " << is_transposed;
      EXPECT_EQ(counters_here, counters_partner) << "lane " << lane;
      const std::set<int> kept = is_transposed ? std::set{0, 2} : std::set{0, 1};
      const std::set<int> sent = is_transposed ? std::set{1, 3} : std::set{2, 3};
      for (int block = 0; block < 2; ++block) {
        const bool is_own = block == lane / 4 % 2;
        EXPECT_EQ(words_here[block], is_own ? kept : sent) << "lane " << lane;
        EXPECT_EQ(words_partner[block], is_own ? sent : kept) << "lane " << lane;
      }
    }
  }
}

TEST(AttentionDropout, KeepsTheStatedShare) {
  constexpr uint32_t kSize = 1024;
  for (const double p : {0.1, 0.25, 0.5, 0.9}) {
    const Dropout dropout = Dropout::with(p, random_key(3, 1, 4));
    int64_t kept = 0;
    for (uint32_t i = 0; i < kSize; ++i) {
      for (uint32_t j = 0; j < kSize; ++j) kept += dropout_keeps(dropout, 3, i, j);
    }
    const double n = kSize * kSize, rate = 1 - dropout.probability();
    EXPECT_NEAR(static_cast<double>(kept) / n, rate, 4.5 * std::sqrt(rate * (1 - rate) / n)) << p;
    EXPECT_NEAR(dropout.keep_scale() * rate, 1, 1e-6);
  }
}

// Decisions at any small distance, across block borders, and in other heads, are independent: the
// share of equal ones is ½ within 4.5 standard deviations.
TEST(AttentionDropout, IsIndependentAlongRowsColumnsDiagonalsAndHeads) {
  constexpr uint32_t kSize = 512;
  std::vector<char> keeps(kSize * kSize), other_head(kSize * kSize);
  for (uint32_t i = 0; i < kSize; ++i) {
    for (uint32_t j = 0; j < kSize; ++j) {
      keeps[i * kSize + j] = dropout_keeps(kHalf, 0, i, j);
      other_head[i * kSize + j] = dropout_keeps(kHalf, 1, i, j);
    }
  }
  const auto share_of_equal = [&](const std::vector<char>& other, int di, int dj) {
    int64_t equal = 0, pairs = 0;
    for (int i = std::max(0, -di); i < static_cast<int>(kSize) - std::max(0, di); ++i) {
      for (int j = std::max(0, -dj); j < static_cast<int>(kSize) - std::max(0, dj); ++j, ++pairs) {
        equal += keeps[i * kSize + j] == other[(i + di) * static_cast<int>(kSize) + j + dj];
      }
    }
    EXPECT_NEAR(static_cast<double>(equal) / static_cast<double>(pairs), 0.5,
                4.5 * 0.5 / std::sqrt(static_cast<double>(pairs)))
        << "distance " << di << ", " << dj;
  };
  for (int di = 0; di <= 17; ++di) {
    for (int dj = -17; dj <= 17; ++dj) {
      if (di == 0 && dj <= 0) continue;
      share_of_equal(keeps, di, dj);
    }
  }
  share_of_equal(other_head, 0, 0);
  share_of_equal(other_head, 1, 1);
  share_of_equal(other_head, 16, -16);
}

TEST(AttentionDropout, StepsAndSitesDiffer) {
  const auto differing = [](PhiloxKey a, PhiloxKey b) {
    int64_t count = 0;
    for (uint32_t i = 0; i < 64; ++i) {
      for (uint32_t j = 0; j < 64; ++j) {
        count += dropout_keeps(Dropout::with(0.5, a), 0, i, j) !=
                 dropout_keeps(Dropout::with(0.5, b), 0, i, j);
      }
    }
    return count;
  };
  EXPECT_NEAR(differing(random_key(1, 0, 0), random_key(1, 1, 0)), 2048, 150);
  EXPECT_NEAR(differing(random_key(1, 0, 0), random_key(1, 0, 1)), 2048, 150);
  EXPECT_NEAR(differing(random_key(1, 0, 0), random_key(2, 0, 0)), 2048, 150);
  EXPECT_EQ(differing(random_key(1, 2, 3), random_key(1, 2, 3)), 0);
}

}  // namespace
}  // namespace strobe
