#include "strobe/data/batch.h"

#include <algorithm>
#include <cmath>

#include "strobe/core/check.h"
#include "strobe/core/random.h"
#include "strobe/data/permutation.h"

namespace strobe {
namespace {

// Reads the samples that index_of(row) names into a batch.
template <class IndexOf>
Batch read_batch(const Dataset& dataset, int64_t batch, int64_t seq, const IndexOf& index_of) {
  Batch result{.batch = batch, .seq = seq};
  result.tokens.resize(static_cast<size_t>(batch * seq));
  result.labels.resize(static_cast<size_t>(batch * seq));
  for (int64_t row = 0; row < batch; ++row) {
    const auto begin = static_cast<size_t>(row * seq), length = static_cast<size_t>(seq);
    const int64_t real =
        dataset.read(index_of(row), std::span(result.tokens).subspan(begin, length),
                     std::span(result.labels).subspan(begin, length));
    result.lengths.push_back(static_cast<int32_t>(real));
  }
  return result;
}

void count_predictions(Batch& batch) {
  for (int64_t row = 0; row < batch.batch; ++row) {
    const auto begin = batch.labels.begin() + row * batch.seq;
    batch.predictions += batch.seq - 1 - std::count(begin + 1, begin + batch.seq, kNoLabel);
  }
}

void check_sizes(const SampleRange& range, int64_t batch, int64_t seq) {
  check(range.size() > 0, "there is no sample to make batches of");
  check(batch >= 1, "batch is ", batch, ", allowed is at least 1");
  check(seq >= 2, "seq is ", seq, ", allowed is at least 2");
}

}  // namespace

Split split_samples(int64_t samples, double validation_fraction) {
  check(validation_fraction >= 0 && validation_fraction < 1, "validation_fraction is ",
        validation_fraction, ", allowed is [0, 1)");
  const auto wanted =
      static_cast<int64_t>(std::ceil(validation_fraction * static_cast<double>(samples)));
  const int64_t validation = std::clamp<int64_t>(wanted, 0, std::max<int64_t>(0, samples - 1));
  return {.train = {0, samples - validation}, .validation = {samples - validation, samples}};
}

ShuffledBatches::ShuffledBatches(const Dataset& dataset, SampleRange range, int64_t batch,
                                 int64_t seq, uint64_t seed)
    : dataset_(dataset), range_(range), batch_(batch), seq_(seq), seed_(seed) {
  check_sizes(range, batch, seq);
}

Batch ShuffledBatches::at(int64_t number) const {
  const auto index_of = [&](int64_t row) {
    const int64_t drawn = number * batch_ + row;
    const int64_t epoch = drawn / range_.size();
    const Permutation order(range_.size(),
                            random_key(seed_, static_cast<uint64_t>(epoch), kSiteShuffle));
    return range_.begin + order.at(drawn % range_.size());
  };
  Batch batch = read_batch(dataset_, batch_, seq_, index_of);
  count_predictions(batch);
  return batch;
}

OrderedBatches::OrderedBatches(const Dataset& dataset, SampleRange range, int64_t batch,
                               int64_t seq)
    : dataset_(dataset), range_(range), batch_(batch), seq_(seq) {
  check_sizes(range, batch, seq);
}

Batch OrderedBatches::at(int64_t number) const {
  check(number >= 0 && number < size(), "batch ", number, " of ", size());
  const int64_t first = range_.begin + number * batch_;
  Batch batch = read_batch(dataset_, batch_, seq_,
                           [&](int64_t row) { return std::min(first + row, range_.end - 1); });
  const int64_t rows = std::min(batch_, range_.end - first);
  std::fill(batch.labels.begin() + rows * seq_, batch.labels.end(), kNoLabel);
  count_predictions(batch);
  return batch;
}

}  // namespace strobe
