#pragma once

#include <cstdint>
#include <cstdio>
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
};

// "train [#####..............]  120/500  loss 2.3456  12.3k tokens/s  1m 23s left", at most
// `width` columns (the bar shrinks first). The time left assumes the mean speed so far.
std::string progress_line(const std::string& label, const ProgressState& state, int width);

// "12.3k" for 12345: three digits and k, M or G.
std::string short_number(double value);

// "2h 05m", "1m 23s", "4s".
std::string short_duration(double seconds);

// Shows how far long work is: on a terminal one line that is redrawn at most ten times a second,
// elsewhere (a pipe, a file, TERM=dumb) a plain line every ten seconds, and the first and the last.
class Progress {
 public:
  Progress(std::string label, int64_t steps, std::FILE* out = stderr);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(int64_t step, double loss, double tokens_per_s);
  // Prints a line of its own, above the bar.
  void note(const std::string& line);

 private:
  int width() const;
  void draw(int64_t step);

  std::string label_;
  std::FILE* out_;
  bool is_terminal_;
  ProgressState state_;
  Stopwatch watch_;
  double last_drawn_s_ = -1;
  int64_t drawn_step_ = -1;
};

}  // namespace strobe
