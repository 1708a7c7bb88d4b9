#include "strobe/core/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "strobe/core/check.h"

namespace strobe {
namespace {

// Runs each test on 1, 2, 3 and 8 threads, and puts the count back.
class Parallel : public ::testing::TestWithParam<int> {
 protected:
  Parallel() { set_thread_count(GetParam()); }
  ~Parallel() override { set_thread_count(before_); }

 private:
  int before_ = thread_count();
};
INSTANTIATE_TEST_SUITE_P(Threads, Parallel, ::testing::Values(1, 2, 3, 8));

// Plain ints, not atomics: the thread sanitizer sees a body that is not ordered with the caller.
TEST_P(Parallel, TeamRunsEveryThreadOnceAndWaits) {
  std::vector<int> calls(GetParam());
  for (int repeat = 0; repeat < 20; ++repeat) {
    parallel_team([&](int thread, int threads) {
      EXPECT_EQ(threads, GetParam());
      ++calls.at(thread);
    });
    for (const int count : calls) EXPECT_EQ(count, repeat + 1);
  }
}

TEST_P(Parallel, DynamicRunsEveryIndexOnce) {
  for (const int64_t count : {0, 1, 2, 7, 1000}) {
    std::vector<int> calls(count);
    std::vector<int64_t> sums(GetParam());
    parallel_for_dynamic(count, [&](int64_t index, int thread) {
      ++calls.at(index);
      sums.at(thread) += index;
    });
    for (const int n : calls) EXPECT_EQ(n, 1);
    EXPECT_EQ(std::accumulate(sums.begin(), sums.end(), int64_t{0}), count * (count - 1) / 2);
  }
}

TEST_P(Parallel, RangesCoverEveryIndexOnceInGrains) {
  for (const int64_t grain : {1, 16, 64}) {
    for (const int64_t count : {0, 1, 15, 16, 17, 63, 64, 65, 1000}) {
      std::vector<int> calls(count);
      parallel_ranges(count, grain, [&](int64_t begin, int64_t end) {
        EXPECT_LT(begin, end);
        EXPECT_EQ(begin % grain, 0);
        EXPECT_TRUE(end == count || end % grain == 0) << end;
        for (int64_t i = begin; i < end; ++i) ++calls.at(i);
      });
      for (const int n : calls) EXPECT_EQ(n, 1) << "count " << count << ", grain " << grain;
    }
  }
}

TEST_P(Parallel, ExceptionsOfABodyReachTheCaller) {
  const auto loop = [](int64_t bad) {
    parallel_for_dynamic(100, [bad](int64_t index, int) {
      if (index == bad) throw std::runtime_error("index " + std::to_string(index));
    });
  };
  for (int repeat = 0; repeat < 10; ++repeat) {
    try {
      loop(57);
      ADD_FAILURE() << "the exception was lost";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "index 57");
    }
    loop(-1);  // and the next loop is whole again
  }
}

TEST_P(Parallel, ALoopInsideABodyIsRefused) {
  const auto nested = [] { parallel_team([](int, int) { parallel_team([](int, int) {}); }); };
  EXPECT_THROW(nested(), Error);
  int calls = 0;
  parallel_ranges(1, 1, [&](int64_t, int64_t) { ++calls; });
  EXPECT_EQ(calls, 1);
}

// A data loader's thread may compute while the trainer does.
TEST_P(Parallel, TwoCallersDoNotDisturbEachOther) {
  std::vector<int> first(500), second(500);
  const auto count_up = [](std::vector<int>& calls) {
    for (int repeat = 0; repeat < 5; ++repeat) {
      parallel_for_dynamic(static_cast<int64_t>(calls.size()),
                           [&](int64_t index, int) { ++calls[index]; });
    }
  };
  std::thread other([&] { count_up(second); });
  count_up(first);
  other.join();
  EXPECT_EQ(std::set<int>(first.begin(), first.end()), std::set<int>{5});
  EXPECT_EQ(std::set<int>(second.begin(), second.end()), std::set<int>{5});
}

// Loops with a team at hand are loops like others: each index once, exceptions reach the caller, of
// a loop and of the body, and afterwards all is as before.
TEST_P(Parallel, ATeamAtHandRunsLoops) {
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::vector<int> calls(100);
    std::set<int> threads;
    std::mutex mutex;
    with_team_at_hand([&] {
      for (int loop = 0; loop < 50; ++loop) {
        parallel_for_dynamic(100, [&](int64_t index, int) { ++calls[index]; });
        parallel_team([&](int thread, int count) {
          EXPECT_EQ(count, thread_count());
          const std::lock_guard lock(mutex);
          threads.insert(thread);
        });
      }
      with_team_at_hand([&] { parallel_team([](int, int) {}); });
      EXPECT_THROW(parallel_team([](int, int) { parallel_team([](int, int) {}); }), Error);
    });
    EXPECT_EQ(std::set<int>(calls.begin(), calls.end()), std::set<int>{50});
    EXPECT_EQ(static_cast<int>(threads.size()), thread_count());
    EXPECT_THROW(with_team_at_hand([] {
                   parallel_for_dynamic(100, [](int64_t index, int) {
                     if (index == 57) throw std::runtime_error("of a loop");
                   });
                 }),
                 std::runtime_error);
    EXPECT_THROW(with_team_at_hand([] { throw std::runtime_error("of the body"); }),
                 std::runtime_error);
    EXPECT_THROW(parallel_team([](int, int) { with_team_at_hand([] {}); }), Error);
  }
}

// Whoever waits long falls asleep and is woken.
TEST_P(Parallel, ATeamAtHandMayWaitLong) {
  std::atomic<int> calls = 0;
  with_team_at_hand([&] {
    for (int loop = 0; loop < 3; ++loop) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      parallel_team([&](int thread, int) {
        if (thread > 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
        ++calls;
      });
    }
  });
  EXPECT_EQ(calls, 3 * thread_count());
}

TEST(ThreadCount, IsCheckedAndRemembered) {
  const int before = thread_count();
  EXPECT_GE(before, 1);
  set_thread_count(3);
  EXPECT_EQ(thread_count(), 3);
  for (const int bad : {0, -1, 1025}) {
    try {
      set_thread_count(bad);
      ADD_FAILURE() << bad << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()),
                "threads is " + std::to_string(bad) + ", allowed is 1 to 1024");
    }
  }
  EXPECT_EQ(thread_count(), 3);
  set_thread_count(before);
}

}  // namespace
}  // namespace strobe
