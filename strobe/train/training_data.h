#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "strobe/data/batch.h"
#include "strobe/train/train_options.h"

namespace strobe {

// The text of a run, cut into samples and split.
class TrainingData {
 public:
  explicit TrainingData(const TrainOptions& options);
  TrainingData(const TrainingData&) = delete;  // the datasets refer to its members
  TrainingData& operator=(const TrainingData&) = delete;

  const Split& split() const { return split_; }
  Batch training_batch(int64_t number) const { return training_->at(number); }
  int64_t validation_batches() const { return validation_ ? validation_->size() : 0; }
  Batch validation_batch(int64_t number) const { return validation_->at(number); }

 private:
  std::unique_ptr<Corpus> corpus_;
  ByteTokenizer tokenizer_;
  std::unique_ptr<Dataset> samples_;
  Split split_;
  std::optional<ShuffledBatches> training_;
  std::optional<OrderedBatches> validation_;
};

}  // namespace strobe
