#include "strobe/data/batch_loader.h"

#include <utility>

#include "strobe/core/check.h"

namespace strobe {

BatchLoader::BatchLoader(Make make, int64_t first, int ahead)
    : make_(std::move(make)), ahead_(static_cast<size_t>(ahead)) {
  check(ahead >= 1, "a loader that prepares ", ahead, " batches ahead, at least 1");
  worker_ = std::thread([this, first] { run(first); });
}

BatchLoader::~BatchLoader() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

void BatchLoader::run(int64_t number) {
  for (;; ++number) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return is_stopping_ || ready_.size() < ahead_; });
      if (is_stopping_) return;
    }
    try {
      Batch batch = make_(number);
      const std::lock_guard lock(mutex_);
      ready_.push_back(std::move(batch));
    } catch (...) {
      const std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
    }
    changed_.notify_all();
    if (failure_) return;  // only this thread writes it
  }
}

Batch BatchLoader::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !ready_.empty() || failure_ != nullptr; });
  if (ready_.empty()) std::rethrow_exception(failure_);
  Batch batch = std::move(ready_.front());
  ready_.pop_front();
  lock.unlock();
  changed_.notify_all();
  return batch;
}

}  // namespace strobe
