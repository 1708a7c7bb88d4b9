#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

#include "strobe/core/clock.h"

namespace strobe {

// What a progress line shows.
struct ProgressState {
  int64_t step = 0;  // done
  int64_t steps = 0;
  double loss = 0;
  double tokens_per_s = 0;
  double seconds = 0;  // since the beginning
  int64_t begun = 0;   // steps that were done before it
};

// "train [#####..............]  120/500  loss 2.3456  12.3k tokens/s  1m 23s left", at most
// `width` columns. The time left assumes the mean speed so far.
std::string progress_line(const std::string& label, const ProgressState& state, int width);

// "label [#####.....]  numbers" with this share of the bar filled, at most `width` columns: the bar
// shrinks first.
std::string bar_line(const std::string& label, double share, const std::string& numbers, int width);

// "12.3k" for 12345: three digits and k, M or G.
std::string short_number(double value);

// "2h 05m", "1m 23s", "4s".
std::string short_duration(double seconds);

// One line that shows how far long work is: on a terminal redrawn at most ten times a second,
// elsewhere (a pipe, a file, TERM=dumb) a plain line every ten seconds, and the first and the last.
class ProgressLine {
 public:
  explicit ProgressLine(std::FILE* out = stderr);
  ~ProgressLine();  // draws what is not drawn yet
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // text(width) is the line in at most `width` columns; it may be asked again until the next
  // update. The last line of the work is drawn at once.
  void update(std::function<std::string(int)> text, bool is_last);
  // Prints a line of its own, above the bar.
  void note(const std::string& line);

 private:
  int width() const;
  void draw();

  std::FILE* out_;
  bool is_terminal_;
  std::function<std::string(int)> text_;
  Stopwatch watch_;
  double last_drawn_s_ = -1;
  bool is_drawn_ = true;  // text_ is
};

// The progress of a training.
class Progress {
 public:
  Progress(std::string label, int64_t steps, std::FILE* out = stderr);

  void update(int64_t step, double loss, double tokens_per_s);
  // Prints a line of its own, above the bar.
  void note(const std::string& line) { line_.note(line); }

 private:
  std::string label_;
  ProgressState state_;
  Stopwatch watch_;
  ProgressLine line_;  // ends first: it may still ask for the text
};

}  // namespace strobe
