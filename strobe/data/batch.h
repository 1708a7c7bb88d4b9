#pragma once

#include <cstdint>
#include <vector>

#include "strobe/data/dataset.h"

namespace strobe {

constexpr int32_t kNoLabel = -100;  // a label that is not trained on

// What one micro-batch of training reads.
struct Batch {
  int64_t batch = 0, seq = 0;
  std::vector<int32_t> tokens;   // [batch, seq]
  std::vector<int32_t> labels;   // [batch, seq]; label t + 1 is what position t predicts
  std::vector<int32_t> lengths;  // [batch]: positions from here on are padding
  int64_t predictions = 0;       // labels that count

  bool operator==(const Batch& other) const = default;
};

// The samples [begin, end) of a dataset.
struct SampleRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};

// The last `validation_fraction` of the samples is kept from training: rounded up, but never all.
struct Split {
  SampleRange train, validation;
};
Split split_samples(int64_t samples, double validation_fraction);

// Training's batches, without end: every epoch is all samples of the range in a new random order, a
// batch may end one epoch and begin the next. Batch n is a function of (seed, n) alone, so a run
// can continue at any place.
class ShuffledBatches {
 public:
  ShuffledBatches(const Dataset& dataset, SampleRange range, int64_t batch, int64_t seq,
                  uint64_t seed);
  Batch at(int64_t number) const;

 private:
  const Dataset& dataset_;
  SampleRange range_;
  int64_t batch_, seq_;
  uint64_t seed_;
};

// Validation's batches: the samples of the range in order, each once. Rows of the last batch that
// are left over repeat the last sample with labels −100.
class OrderedBatches {
 public:
  OrderedBatches(const Dataset& dataset, SampleRange range, int64_t batch, int64_t seq);
  int64_t size() const { return (range_.size() + batch_ - 1) / batch_; }
  Batch at(int64_t number) const;

 private:
  const Dataset& dataset_;
  SampleRange range_;
  int64_t batch_, seq_;
};

}  // namespace strobe
