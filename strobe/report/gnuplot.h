#pragma once

#include <cstddef>
#include <string>

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

// Runs `script` twice, to write `path`.png and `path`.svg. Returns an empty text, or why there are
// no pictures (gnuplot is missing, or what it complained about).
std::string draw_pictures(const std::string& path, PictureSize size, const std::string& script);

}  // namespace strobe
