#pragma once

#include <cuda.h>

#include "strobe/ops/attention/cuda/attention_params.h"
#include "strobe/ops/attention/cuda/portable/forward_grid.cuh"

namespace strobe {

// What the forward kernel of sm_90 is given of a call.
template <class T>
struct FlashForwardSm90Params {
  CUtensorMap q, k, v;  // boxes of a tile's rows
  CUtensorMap out;      // boxes of 16 rows, those of a warp
  AttentionForwardParams<T> call;
  ForwardGrid grid;
  int tiles = 0;             // of the whole grid
  int* counter = nullptr;    // of the tiles taken, 0 at first
  float exponent_scale = 0;  // |scale|·log2 e, or log2 e at scale 0
  int score_sign = 1;        // of scale: the largest score must come of the largest product
};

}  // namespace strobe
