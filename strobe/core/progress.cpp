#include "strobe/core/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace strobe {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kPlainLineSeconds = 10;
constexpr int kLongestBar = 30;
constexpr int kPlainWidth = 100;

bool can_redraw(std::FILE* out) {
  const char* term = std::getenv("TERM");
  return isatty(fileno(out)) == 1 && term != nullptr && std::string_view(term) != "dumb";
}

}  // namespace

std::string short_number(double value) {
  if (!std::isfinite(value)) return "–";
  constexpr std::string_view units[] = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  while (std::abs(value) >= 999.5 && unit + 1 < std::size(units)) {
    value /= 1000;
    ++unit;
  }
  const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", value, decimals, units[unit]);
}

std::string short_duration(double seconds) {
  const auto total = static_cast<int64_t>(std::llround(std::max(0.0, seconds)));
  if (total >= 3600) return fmt::format("{}h {:02}m", total / 3600, total / 60 % 60);
  if (total >= 60) return fmt::format("{}m {:02}s", total / 60, total % 60);
  return fmt::format("{}s", total);
}

std::string progress_line(const std::string& label, const ProgressState& state, int width) {
  const int64_t done = state.step - state.begun;
  const double left = done > 0 ? state.seconds / static_cast<double>(done) *
                                     static_cast<double>(state.steps - state.step)
                               : 0;
  const std::string count =
      fmt::format("{:>{}}/{}", state.step, fmt::formatted_size("{}", state.steps), state.steps);
  const std::string numbers =
      fmt::format("{}  loss {:.4f}  {} tokens/s  {} left", count, state.loss,
                  short_number(state.tokens_per_s), short_duration(left));
  const double share =
      state.steps > 0 ? static_cast<double>(state.step) / static_cast<double>(state.steps) : 0;
  return bar_line(label, share, numbers, width);
}

std::string bar_line(const std::string& label, double share, const std::string& numbers,
                     int width) {
  const int room = width - static_cast<int>(label.size() + numbers.size()) - 5;
  const int bar = std::min(room, kLongestBar);
  if (bar < 5) return (label + "  " + numbers).substr(0, static_cast<size_t>(std::max(width, 0)));
  const auto filled = static_cast<int>(bar * std::clamp(share, 0.0, 1.0));
  return fmt::format("{} [{}{}]  {}", label, std::string(filled, '#'),
                     std::string(bar - filled, '.'), numbers);
}

ProgressLine::ProgressLine(std::FILE* out) : out_(out), is_terminal_(can_redraw(out)) {}

ProgressLine::~ProgressLine() {
  if (!is_drawn_) draw();
  if (is_terminal_ && last_drawn_s_ >= 0) std::fputc('\n', out_);
}

int ProgressLine::width() const {
  winsize size = {};
  if (!is_terminal_) return kPlainWidth;
  // The last column stays free: some terminals wrap when it is written.
  return ioctl(fileno(out_), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col - 1
                                                                        : kPlainWidth;
}

void ProgressLine::draw() {
  const std::string line = text_(width());
  if (is_terminal_) {
    fmt::print(out_, "\r\x1b[K{}", line);
  } else {
    fmt::print(out_, "{}\n", line);
  }
  std::fflush(out_);
  is_drawn_ = true;
  last_drawn_s_ = watch_.seconds();
}

void ProgressLine::update(std::function<std::string(int)> text, bool is_last) {
  text_ = std::move(text);
  is_drawn_ = false;
  const double pause = is_terminal_ ? kRedrawSeconds : kPlainLineSeconds;
  if (last_drawn_s_ < 0 || is_last || watch_.seconds() - last_drawn_s_ >= pause) draw();
}

void ProgressLine::note(const std::string& line) {
  fmt::print(out_, "{}{}\n", is_terminal_ ? "\r\x1b[K" : "", line);
  if (is_terminal_ && last_drawn_s_ >= 0) draw();
  std::fflush(out_);
}

Progress::Progress(std::string label, int64_t steps, std::FILE* out)
    : label_(std::move(label)), line_(out) {
  state_.steps = steps;
}

void Progress::update(int64_t step, double loss, double tokens_per_s) {
  if (state_.step == 0) state_.begun = step - 1;  // a run that goes on begins later
  state_ = {.step = step,
            .steps = state_.steps,
            .loss = loss,
            .tokens_per_s = tokens_per_s,
            .seconds = watch_.seconds(),
            .begun = state_.begun};
  line_.update([this](int width) { return progress_line(label_, state_, width); },
               step == state_.steps);
}

}  // namespace strobe
