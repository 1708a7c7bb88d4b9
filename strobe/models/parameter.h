#pragma once

#include <string>

#include "strobe/core/context.h"
#include "strobe/core/random.h"
#include "strobe/core/tensor.h"
#include "strobe/ops/adamw/adamw.h"

namespace strobe {

// How a parameter begins: all zeros, all ones, or normal with mean 0.
struct Init {
  enum class Kind : unsigned char { zeros, ones, normal };
  Kind kind = Kind::zeros;
  double deviation = 0;  // of normal
};

// One trainable tensor of a model. A model shows all of its parameters through one visitor,
// for_each_parameter(f), and everything that concerns all parameters is written as such an f:
// initialisation, AdamW, the gradient norm, reading and writing checkpoints.
//
// Matrices decay and have a working copy in the model's type; vectors (biases, layernorm) do not
// decay and stay f32. Gradient, master and moments are f32 always.
struct Parameter {
  std::string hf_name;  // as in Hugging Face's checkpoints: "transformer.h.0.attn.c_attn.weight"
  Shape shape;          // likewise: linear weights are [inputs, outputs] (Conv1D)
  Init init;

  Tensor value;   // what ops read: f32, or the model's 16-bit type for a matrix
  Tensor master;  // f32: what AdamW updates; `value` itself where that is f32
  Tensor grad;    // f32
  Tensor m, v;    // f32: AdamW's moments, zero before the first step

  bool decays() const { return shape.rank == 2; }
  // What AdamW calls `working`: absent where master and value are the same memory.
  Tensor working() const { return value.data == master.data ? Tensor{} : value; }
  // A trainable one as AdamW takes it.
  AdamWParameter for_adamw() const {
    return {.master = master,
            .working = working(),
            .gradient = grad,
            .m = m,
            .v = v,
            .decays = decays()};
  }
};

// Takes the parameter's memory from the context's arena, its values left unspecified. One that is
// not trainable has no gradient, no moments, and no master beside a 16-bit value.
void allocate(Context& ctx, Parameter& parameter, DType dtype, bool is_trainable);

// Sets the moments of a trainable parameter to zero.
void clear_moments(Context& ctx, Parameter& parameter);

// Sets value and master to `values`, f32 of the parameter's shape, in host memory or on the device.
void assign(Context& ctx, Parameter& parameter, const Tensor& values);

// Sets value and master as `parameter.init` says, from `key`: the same numbers on any number of
// threads, and whatever other parameters there are.
void initialize(Context& ctx, Parameter& parameter, PhiloxKey key);

}  // namespace strobe
