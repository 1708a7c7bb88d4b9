#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "strobe/core/check.h"
#include "strobe/core/device.h"
#include "strobe/core/dtype.h"

namespace strobe {

class Context;

// What a user may ask for by kind rather than by name. `any`: whatever the table lists first.
enum class Algorithm : unsigned char { any, standard, flash };

constexpr std::string_view to_text(Algorithm algorithm) {
  constexpr std::string_view names[] = {"any", "standard", "flash"};
  return names[static_cast<int>(algorithm)];
}

// A wish for one op: an algorithm, or one implementation by its exact name (which then decides).
struct Wish {
  Algorithm algorithm = Algorithm::any;
  std::string implementation;

  bool is_any() const { return implementation.empty() && algorithm == Algorithm::any; }
};

// A row of the table of an op that has one algorithm: everything but attention.
template <class Forward, class Backward>
struct OpImpl {
  std::string_view name;                                      // "cpu_avx512"
  std::string (*why_not)(DType dtype, const Device& device);  // empty: can run
  void (*forward)(Context&, const Forward&);
  void (*backward)(Context&, const Backward&);
};

// The rows of two devices in one table.
template <class Impl>
std::vector<Impl> join_impls(std::span<const Impl> first, std::span<const Impl> second) {
  std::vector<Impl> rows(first.begin(), first.end());
  rows.insert(rows.end(), second.begin(), second.end());
  return rows;
}

// The first row of `impls` that grants the wish and whose `why_not` is empty for the problem.
// If there is none, throws an Error that lists every row with its reason.
template <class Impl, class Problem>
const Impl& select(std::string_view op, std::span<const Impl> impls, const Problem& problem,
                   const Device& device, const Wish& wish = {}) {
  std::string reasons;
  for (const Impl& impl : impls) {
    std::string reason;
    if (!wish.implementation.empty() && impl.name != wish.implementation) {
      reason = fmt::format("'{}' was asked for", wish.implementation);
    } else {
      if constexpr (requires { impl.algorithm; }) {
        if (wish.implementation.empty() && wish.algorithm != Algorithm::any &&
            impl.algorithm != wish.algorithm) {
          reason = fmt::format("is {}, {} was asked for", impl.algorithm, wish.algorithm);
        }
      }
      if (reason.empty()) reason = impl.why_not(problem, device);
    }
    if (reason.empty()) return impl;
    reasons += fmt::format("; {}: {}", impl.name, reason);
  }
  throw_error(fmt::format("no implementation of {} can run this{}", op, reasons));
}

}  // namespace strobe
