// Cuts a task's scratch memory into arrays. A layout is a struct whose constructor takes its arrays
// from a Scratch; constructed on null it gives the size.
#pragma once

#include <cstdint>

#include "strobe/simd/vec.h"

namespace strobe::STROBE_ISA {

class Scratch {
 public:
  explicit Scratch(char* base) : base_(reinterpret_cast<uintptr_t>(base)) {}

  template <class T>
  T* take(int64_t count) {
    const uintptr_t taken = base_ + static_cast<uintptr_t>(used_);
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return reinterpret_cast<T*>(taken);
  }
  int64_t bytes() const { return used_; }

 private:
  uintptr_t base_;  // arithmetic on a null pointer is not defined
  int64_t used_ = 0;
};

}  // namespace strobe::STROBE_ISA
