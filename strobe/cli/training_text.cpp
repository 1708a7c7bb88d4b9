#include "strobe/cli/training_text.h"

#include <optional>

#include "strobe/cli/work_progress.h"
#include "strobe/core/interrupt.h"
#include "strobe/train/training_data.h"

namespace strobe {

int prepare_training_text(TrainOptions& options) {
  const InterruptGuard interrupt;
  std::optional<WorkProgress> progress;
  const bool is_done = prepare_training_data(options, [&](int64_t done, int64_t bytes) {
    if (!progress) {
      fmt::print(stderr, "encoding '{}' with the tokenizer '{}', once, into {}\n", options.data,
                 options.tokenizer, options.out);
      progress.emplace("encoding", bytes);
    }
    progress->update(done);
    return !interrupt.requested();
  });
  return is_done ? 0 : interrupt.signal();
}

}  // namespace strobe
