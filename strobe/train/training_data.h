#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "strobe/data/batch.h"
#include "strobe/train/train_options.h"

namespace strobe {

// The text of a run, cut into samples and split. `options.data` is a text, or a file of tokens that
// the tokenizer made. Packed windows of a text with a tokenizer other than the bytes are read from
// OUT/data.tokens, which is made when it is not there yet, or of another text or tokenizer.
class TrainingData {
 public:
  explicit TrainingData(const TrainOptions& options);
  TrainingData(const TrainingData&) = delete;  // the datasets refer to its members
  TrainingData& operator=(const TrainingData&) = delete;

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const Split& split() const { return split_; }
  Batch training_batch(int64_t number) const { return training_->at(number); }
  int64_t validation_batches() const { return validation_ ? validation_->size() : 0; }
  Batch validation_batch(int64_t number) const { return validation_->at(number); }

 private:
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Corpus> corpus_;  // none where the data are tokens
  std::unique_ptr<Dataset> samples_;
  Split split_;
  std::optional<ShuffledBatches> training_;
  std::optional<OrderedBatches> validation_;
};

// Called before a text is encoded, and then now and then: bytes that have become tokens, of all.
// False stops the work there.
using EncodingProgress = std::function<bool(int64_t done, int64_t bytes)>;

// What has to be done once before a run: makes the vocabulary at least as large as the tokenizer's,
// and OUT/data.tokens where TrainingData will want it, which may take minutes. False when it was
// stopped.
bool prepare_training_data(TrainOptions& options, const EncodingProgress& progress);

}  // namespace strobe
