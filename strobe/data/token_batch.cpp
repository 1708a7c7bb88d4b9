#include "strobe/data/token_batch.h"

#include <algorithm>

#include "strobe/core/check.h"

namespace strobe {

TokenBatch encode_batch(const Tokenizer& tokenizer, std::span<const std::string> texts,
                        const TokenBatchOptions& options) {
  check(options.longest >= 0 && options.length >= 0, "rows of at most ", options.longest,
        " tokens, filled up to ", options.length, "; allowed is 0 (no limit) and more");
  check(options.multiple >= 1, "rows of a multiple of ", options.multiple,
        " tokens, allowed is at least 1");
  std::vector<std::vector<int32_t>> rows;
  size_t seq = static_cast<size_t>(options.length);
  for (const std::string& text : texts) {
    std::vector<int32_t> row = tokenizer.encode(text, options.special);
    const auto longest = static_cast<size_t>(options.longest);
    if (longest > 0 && row.size() > longest) {
      const auto surplus = static_cast<std::ptrdiff_t>(row.size() - longest);
      const auto from = options.cut == Side::left ? row.begin() : row.end() - surplus;
      row.erase(from, from + surplus);
    }
    seq = std::max(seq, row.size());
    rows.push_back(std::move(row));
  }
  const auto multiple = static_cast<size_t>(options.multiple);
  seq = (seq + multiple - 1) / multiple * multiple;

  TokenBatch batch = {.batch = static_cast<int64_t>(rows.size()), .seq = static_cast<int64_t>(seq)};
  for (const std::vector<int32_t>& row : rows) {
    const size_t begin = options.padding == Side::left ? seq - row.size() : 0;
    batch.begin.push_back(static_cast<int32_t>(begin));
    batch.end.push_back(static_cast<int32_t>(begin + row.size()));
  }
  const bool is_full =
      std::ranges::all_of(rows, [&](const auto& row) { return row.size() == seq; });
  const int32_t padding = is_full                 ? 0
                          : options.padding_token ? *options.padding_token
                                                  : tokenizer.end_of_text();
  batch.tokens.assign(rows.size() * seq, padding);
  for (size_t row = 0; row < rows.size(); ++row) {
    std::ranges::copy(rows[row],
                      batch.tokens.begin() + static_cast<int64_t>(row * seq) + batch.begin[row]);
  }
  return batch;
}

}  // namespace strobe
