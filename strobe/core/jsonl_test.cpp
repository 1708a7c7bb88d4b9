#include "strobe/core/jsonl.h"

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "strobe/core/check.h"
#include "strobe/core/dtype.h"
#include "strobe/core/interrupt.h"
#include "strobe/core/options.h"
#include "strobe/core/peak_memory.h"

namespace strobe {
namespace {

std::string content_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::string test_folder() {
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  return ::testing::TempDir() + "strobe_" + test->name() + "_" + std::to_string(getpid());
}

TEST(JsonlTest, WritesALineForEachObjectAtOnce) {
  create_folder(test_folder() + "/a/b");
  const std::string path = test_folder() + "/a/b/rows.jsonl";
  JsonlWriter writer(path);
  writer.write({{"kind", "step"}, {"loss", 0.5}});
  EXPECT_EQ(content_of(path), "{\"kind\":\"step\",\"loss\":0.5}\n");
  writer.write({{"loss", std::nan("")}, {"text", "a\xff\n"}});
  EXPECT_EQ(content_of(path),
            "{\"kind\":\"step\",\"loss\":0.5}\n{\"loss\":null,\"text\":\"a\xEF\xBF\xBD\\n\"}\n");
  std::filesystem::remove_all(test_folder());
}

TEST(JsonlTest, AppendsWhereAskedTo) {
  create_folder(test_folder());
  const std::string path = test_folder() + "/rows.jsonl";
  JsonlWriter(path).write({{"n", 1}});
  JsonlWriter(path, JsonlMode::append).write({{"n", 2}});
  EXPECT_EQ(content_of(path), "{\"n\":1}\n{\"n\":2}\n");
  JsonlWriter(path).write({{"n", 3}});
  EXPECT_EQ(content_of(path), "{\"n\":3}\n");
}

TEST(JsonlTest, AFullDiskIsAnErrorThatNamesTheFile) {
  JsonlWriter writer("/dev/full");
  try {
    writer.write({{"loss", 1}});
    FAIL() << "no Error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "cannot write '/dev/full': No space left on device");
  }
}

// The disk fills up in the middle of a line: what the file system took of it is taken back.
TEST(JsonlTest, NoHalfLineStays) {
  create_folder(test_folder());
  const std::string path = test_folder() + "/rows.jsonl";
  JsonlWriter writer(path);
  const Json row = {{"kind", "step"}, {"step", 1}};
  writer.write(row);
  rlimit before = {};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit tight = {.rlim_cur = row.dump().size() + 10, .rlim_max = before.rlim_max};
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &tight);
  EXPECT_THROW(writer.write(row), Error);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, previous);
  EXPECT_EQ(content_of(path), row.dump() + "\n");
  writer.write(row);
  EXPECT_EQ(content_of(path), row.dump() + "\n" + row.dump() + "\n") << "when there is room again";
  std::filesystem::remove_all(test_folder());
}

TEST(JsonlTest, PlacesThatCannotBeWrittenAreErrors) {
  EXPECT_THROW(JsonlWriter("/proc/nowhere/rows.jsonl"), Error);
  EXPECT_THROW(JsonlWriter("/tmp"), Error);
  EXPECT_THROW(create_folder("/proc/nowhere"), Error);
  EXPECT_THROW(create_folder("/dev/null"), Error);
}

struct SomeOptions {
  int64_t steps = 3;
  double rate = 0.5;
  bool is_quiet = false;
  std::string data = "lab";
  DType dtype = DType::bf16;
  template <class Visitor>
  void visit(Visitor&& visit) {
    visit.group("All");
    visit(steps, {.name = "steps"});
    visit(rate, {.name = "rate"});
    visit(is_quiet, {.name = "is_quiet"});
    visit(data, {.name = "data"});
    visit(dtype, {.name = "dtype"}, {DType::f32, DType::bf16});
  }
};

TEST(OptionsTest, JsonHoldsEveryOptionInOrder) {
  EXPECT_EQ(options_json(SomeOptions()).dump(),
            R"({"steps":3,"rate":0.5,"is_quiet":false,"data":"lab","dtype":"bf16"})");
}

TEST(InterruptTest, KeepsTheSignalInsteadOfEnding) {
  const InterruptGuard guard;
  EXPECT_FALSE(guard.requested());
  std::raise(SIGINT);
  EXPECT_EQ(guard.signal(), SIGINT);
}

TEST(InterruptTest, ASecondOneEndsTheProcess) {
  EXPECT_EXIT(
      {
        const InterruptGuard guard;
        std::raise(SIGINT);
        std::raise(SIGINT);
      },
      ::testing::KilledBySignal(SIGINT), "");
}

TEST(PeakMemoryTest, CountsWhatIsTouched) {
  const int64_t before = peak_rss_bytes();
  const std::vector<char> block(int64_t{64} << 20, 'x');
  EXPECT_GT(before, 0);
  EXPECT_GE(peak_rss_bytes(), std::max<int64_t>(before, static_cast<int64_t>(block.size())));
}

}  // namespace
}  // namespace strobe
