#include "strobe/data/bpe_merges.h"

#include <algorithm>
#include <bit>
#include <queue>
#include <string>
#include <unordered_map>

#include "strobe/core/check.h"

namespace strobe {
namespace {

// Up to here all pairs are looked at for each merge; beyond, a heap finds the next one.
constexpr size_t kLongWord = 48;

}  // namespace

BpeMerges::BpeMerges(const BpeVocabulary& vocabulary) {
  std::unordered_map<std::string_view, int32_t> ids;
  std::unordered_map<int32_t, std::string_view> names;
  for (const BpeVocabulary::Token& token : vocabulary.tokens) {
    ids.emplace(token.name, token.id);
    names.emplace(token.id, token.name);
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const std::string name = bpe_name({&c, 1});
    const auto found = ids.find(name);
    check(found != ids.end(), "the vocabulary has no token '", name, "' for the byte ", byte,
          "; a byte-level BPE has one for each of the 256");
    byte_ids_[byte] = found->second;
  }
  table_.assign(std::bit_ceil(2 * vocabulary.merges.size() + 2), {-1, -1, kNoRank, -1});
  uint32_t rank = 0;
  for (const auto& [left, right] : vocabulary.merges) {
    const std::string name = std::string(names.at(left)) + std::string(names.at(right));
    const auto found = ids.find(name);
    check(found != ids.end(), "merge ", rank + 1, ", '", names.at(left), "' and '", names.at(right),
          "', gives '", name, "', which is not in the vocabulary");
    table_[place_of(left, right)] = {left, right, rank++, found->second};  // of equal ones the last
  }
}

size_t BpeMerges::place_of(int32_t left, int32_t right) const {
  const size_t mask = table_.size() - 1;
  const uint64_t key = uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  size_t place = (key * 0x9e3779b97f4a7c15u >> 32) & mask;
  while (table_[place].rank != kNoRank &&
         (table_[place].left != left || table_[place].right != right)) {
    place = (place + 1) & mask;
  }
  return place;
}

void BpeMerges::append(std::string_view word, Scratch& scratch,
                       std::vector<int32_t>& tokens) const {
  scratch.ids.clear();
  for (const char byte : word) scratch.ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
  if (word.size() <= kLongWord) {
    merge_short(scratch);
  } else {
    merge_long(scratch);
  }
  tokens.insert(tokens.end(), scratch.ids.begin(), scratch.ids.end());
}

void BpeMerges::merge_short(Scratch& scratch) const {
  std::vector<int32_t>& ids = scratch.ids;
  std::vector<uint32_t>& ranks = scratch.ranks;  // of the pair that begins here
  const auto rank_at = [&](size_t i) { return find(ids[i], ids[i + 1]).rank; };
  ranks.clear();
  for (size_t i = 0; i + 1 < ids.size(); ++i) ranks.push_back(rank_at(i));
  while (!ranks.empty()) {
    const auto lowest = std::ranges::min_element(ranks);
    if (*lowest == kNoRank) return;
    const auto at = static_cast<size_t>(lowest - ranks.begin());
    ids[at] = find(ids[at], ids[at + 1]).result;
    ids.erase(ids.begin() + static_cast<int64_t>(at) + 1);
    ranks.erase(lowest);
    if (at > 0) ranks[at - 1] = rank_at(at - 1);
    if (at < ranks.size()) ranks[at] = rank_at(at);
  }
}

// The same with a list of the tokens that are left and a heap of candidates, of which those that
// are out of date are passed over: n·log n for the runs of a million spaces that texts have.
void BpeMerges::merge_long(Scratch& scratch) const {
  std::vector<int32_t>& ids = scratch.ids;
  const auto size = static_cast<int64_t>(ids.size());
  std::vector<int64_t>&next = scratch.next, &previous = scratch.previous;
  next.resize(ids.size());
  previous.resize(ids.size());
  struct Candidate {
    uint32_t rank;
    int64_t at;
    int32_t left, right;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap;
  const auto offer = [&](int64_t at) {
    if (at < 0 || next[static_cast<size_t>(at)] == size) return;
    const int32_t left = ids[static_cast<size_t>(at)];
    const int32_t right = ids[static_cast<size_t>(next[static_cast<size_t>(at)])];
    const uint32_t rank = find(left, right).rank;
    if (rank != kNoRank) heap.push({rank, at, left, right});
  };
  for (int64_t i = 0; i < size; ++i) {
    next[static_cast<size_t>(i)] = i + 1;
    previous[static_cast<size_t>(i)] = i - 1;
  }
  for (int64_t i = 0; i < size; ++i) offer(i);
  constexpr int32_t gone = -1;
  while (!heap.empty()) {
    const Candidate top = heap.top();
    heap.pop();
    const auto at = static_cast<size_t>(top.at);
    if (ids[at] != top.left || next[at] == size) continue;
    const auto right = static_cast<size_t>(next[at]);
    if (ids[right] != top.right) continue;
    ids[at] = find(top.left, top.right).result;
    ids[right] = gone;
    next[at] = next[right];
    if (next[at] < size) previous[static_cast<size_t>(next[at])] = top.at;
    offer(previous[at]);
    offer(top.at);
  }
  std::erase(ids, gone);
}

}  // namespace strobe
