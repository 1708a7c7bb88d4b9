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

// The row of that name; throws an Error with its reason where it cannot run the problem, with all
// names where there is none such.
template <class Impl, class Problem>
const Impl& select_named(std::string_view op, std::span<const Impl> impls, const Problem& problem,
                         const Device& device, const std::string& name) {
  std::string names;
  for (const Impl& impl : impls) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", impl.name);
    if (impl.name != name) continue;
    const std::string reason = impl.why_not(problem, device);
    if (reason.empty()) return impl;
    throw_error(fmt::format("{} cannot be run by {}: {}", op, name, reason));
  }
  throw_error(fmt::format("{} cannot be run by {}: there are {}", op, name, names));
}

// The first row of `impls` that grants the wish and whose `why_not` is empty for the problem.
// If there is none, throws an Error that lists every row with its reason; of a row that is wished
// for by its name, that one's only.
template <class Impl, class Problem>
const Impl& select(std::string_view op, std::span<const Impl> impls, const Problem& problem,
                   const Device& device, const Wish& wish = {}) {
  if (!wish.implementation.empty()) {
    return select_named(op, impls, problem, device, wish.implementation);
  }
  std::string reasons;
  for (const Impl& impl : impls) {
    std::string reason;
    if constexpr (requires { impl.algorithm; }) {
      if (wish.algorithm != Algorithm::any && impl.algorithm != wish.algorithm) {
        reason = fmt::format("is {}, {} was asked for", impl.algorithm, wish.algorithm);
      }
    }
    if (reason.empty()) reason = impl.why_not(problem, device);
    if (reason.empty()) return impl;
    reasons += fmt::format("; {}: {}", impl.name, reason);
  }
  throw_error(fmt::format("no implementation of {} can run this{}", op, reasons));
}

}  // namespace strobe
