#pragma once

#include <type_traits>

#include "strobe/core/dtype.h"

namespace strobe {

// The kernels of one op on one instruction set: `Kernels<T>` holds the function pointers for
// tensors of T. Each namespace scalar, avx2, avx512, avx512_bf16 exports one such table.
template <template <class T> class Kernels>
struct KernelTable {
  Kernels<float> for_f32;
  Kernels<bf16> for_bf16;

  template <class T>
  const Kernels<T>& of() const {
    if constexpr (std::is_same_v<T, float>) {
      return for_f32;
    } else {
      return for_bf16;
    }
  }
};

}  // namespace strobe
