#pragma once

#include <cstddef>
#include <string>

#include "strobe/report/html_messages.h"

namespace strobe {

// What the pictures share: one look, and the way to gnuplot.

// Okabe and Ito's colours, told apart with any colour vision, each with a light tint of itself.
struct Colour {
  const char* strong;
  const char* light;
};
const Colour& colour_of(size_t run);

// A gnuplot string. In labels of tics, which are formats, percent signs are special too.
std::string quoted(const std::string& text, bool is_format = false);

struct PictureSize {
  int width, height;  // pixels
};

// The family that pictures in this language are set in; empty if no font here has its characters.
std::string picture_font(Language language);

// Runs `script` twice, to write `path`.png and `path`.svg. Returns an empty text, or why there are
// no pictures (gnuplot is missing, or what it complained about).
std::string draw_pictures(const std::string& path, PictureSize size, const std::string& script,
                          const std::string& font = "DejaVu Sans");

}  // namespace strobe
