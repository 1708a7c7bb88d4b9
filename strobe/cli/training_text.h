#pragma once

#include "strobe/train/train_options.h"

namespace strobe {

// prepare_training_data() in front of a user: says what takes long and shows how far it is.
// Returns the signal that stopped it, 0 when it is done.
int prepare_training_text(TrainOptions& options);

}  // namespace strobe
