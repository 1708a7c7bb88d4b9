#pragma once

#include "strobe/ops/attention/attention.h"

namespace strobe {

// P of equation 3 for one query head of one sequence of the batch, to be looked at: attention
// itself need not hold it. From q, k and the log-sum-exp that attention_forward left in args.lse:
//
//   probabilities[i,j] = exp(scale · q[i]·k[j] − lse[i])  where key j is visible to query i, else 0
//
// `probabilities` is [Tq, Tk] f32, contiguous   set. Without dropout: P is what dropout is applied
// to. It is computed on the CPU: tensors on a GPU are copied there, after what the GPU is at.
//
// Throws Error for a call with a bias or packed sequences, and for an index out of range.
void attention_probabilities(const AttentionForward& args, int64_t batch, int64_t head,
                             const Tensor& probabilities);

}  // namespace strobe
