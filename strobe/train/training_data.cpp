#include "strobe/train/training_data.h"

namespace strobe {

TrainingData::TrainingData(const TrainOptions& options)
    : corpus_(open_corpus(options.data)),
      tokenizer_(options.vocab_size),
      samples_(options.batching == Batching::packed
                   ? packed_windows(*corpus_, tokenizer_, options.seq)
                   : padded_lines(*corpus_, tokenizer_, options.seq)),
      split_(split_samples(samples_->size(), options.validation_fraction)) {
  training_.emplace(*samples_, split_.train, options.batch, options.seq, options.seed);
  if (split_.validation.size() > 0) {
    validation_.emplace(*samples_, split_.validation, options.batch, options.seq);
  }
}

}  // namespace strobe
