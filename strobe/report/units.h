#pragma once

#include <string>

namespace strobe {

// Numbers with units for people, mostly three significant digits.
std::string bytes_text(double bytes);       // "512 B", "1.25 MB", "3.10 GB"; powers of 1000
std::string milliseconds_text(double ms);   // "0.85 ms", "412 ms", "13.2 s"
std::string mean_text(double mean, double deviation);  // "0.53 ± 0.02", "3351 ± 270"
std::string percent_text(double fraction);  // 0.613 → "61.3%"
std::string small_text(double value);       // "0", "1.2e-07"

}  // namespace strobe
