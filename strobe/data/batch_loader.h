#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "strobe/data/batch.h"

namespace strobe {

// Prepares the batches first, first + 1, … on a background thread, `ahead` of them at most, while
// the caller computes. They are exactly what make(number) returns. An Error of make() is thrown by
// next() when that batch's turn comes, and by every next() after it. One caller.
class BatchLoader {
 public:
  using Make = std::function<Batch(int64_t number)>;

  explicit BatchLoader(Make make, int64_t first = 0, int ahead = 2);
  ~BatchLoader();  // waits for the batch in hand
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;

  Batch next();

 private:
  void run(int64_t number);

  Make make_;
  size_t ahead_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> ready_;
  std::exception_ptr failure_;
  bool is_stopping_ = false;
  std::thread worker_;  // last: it uses all of the above
};

}  // namespace strobe
