// layernorm
//
// Computes    mean = Σx/C,  rstd = 1/sqrt(Σ(x − mean)²/C + ε),  y = x̂·weight + bias          (1)
//             with x̂ = (x − mean)·rstd                                    Ba et al. 2016, eq. 4
//             dx = rstd·(g − Σg/C − x̂·Σ(g·x̂)/C) + dresidual,  g = dy·weight                  (2)
//             dweight = Σ_rows dy·x̂,  dbias = Σ_rows dy                                       (3)
//             before (1), where it is asked for, x = residual + Z∘branch; after (2) dbranch = Z∘dx
// Mapping     one thread, a range of rows; a row stays in the L1 cache between the passes over it
// Numerics    all in f32; the variance in a second pass, so that a large mean does not cancel it
#include "strobe/ops/layernorm/layernorm_kernels.h"

#include "strobe/simd/dropout.h"
#include "strobe/simd/loop.h"

namespace strobe::STROBE_ISA {
namespace {

template <class T>
void forward(T* x, const T* branch, const T* residual, const float* weight, const float* bias, T* y,
             float* mean, float* rstd, int64_t first, int64_t rows, int64_t columns, float epsilon,
             const Dropout& dropout) {
  const float scale = 1.0f / static_cast<float>(columns);
  for (int64_t row = 0; row < rows; ++row, x += columns, y += columns) {
    if (branch != nullptr) {
      const int64_t skipped = row * columns;
      add_dropped(branch + skipped, residual == nullptr ? nullptr : residual + skipped, x,
                  (first + row) * columns, columns, dropout);
    }
    const float m =
        scale * sum_vectors(columns, [&](int64_t i, auto lanes) { return lanes.load(x + i); });
    const float variance = scale * sum_vectors(columns, [&](int64_t i, auto lanes) {
                             const F32 centred = lanes.or_else(lanes.load(x + i) - broadcast(m), 0);
                             return centred * centred;
                           });
    const float r = 1.0f / __builtin_sqrtf(variance + epsilon);
    for_vectors(columns, [&](int64_t i, auto lanes) {
      const F32 normal = (lanes.load(x + i) - broadcast(m)) * broadcast(r);
      lanes.store(y + i, fma(normal, lanes.load(weight + i), lanes.load(bias + i)));
    });
    mean[row] = m;
    rstd[row] = r;
  }
}

template <class T>
void backward(const T* x, const float* weight, const float* mean, const float* rstd, const T* dy,
              const T* dresidual, T* dx, T* dbranch, float* dweight, float* dbias, int64_t first,
              int64_t rows, int64_t columns, const Dropout& dropout) {
  for_vectors(columns, [&](int64_t i, auto lanes) {
    lanes.store(dweight + i, zero());
    lanes.store(dbias + i, zero());
  });
  const float scale = 1.0f / static_cast<float>(columns);
  for (int64_t row = 0; row < rows; ++row, x += columns, dy += columns, dx += columns) {
    const F32 m = broadcast(mean[row]), r = broadcast(rstd[row]);
    F32 sum_g = zero(), sum_gx = zero();
    for_vectors(columns, [&](int64_t i, auto lanes) {
      const F32 normal = (lanes.load(x + i) - m) * r;
      const F32 grad = lanes.load(dy + i);
      const F32 g = grad * lanes.load(weight + i);  // 0 in lanes without an element
      sum_g += g;
      sum_gx = fma(g, normal, sum_gx);
      lanes.store(dweight + i, fma(grad, normal, lanes.load(dweight + i)));
      lanes.store(dbias + i, lanes.load(dbias + i) + grad);
    });
    const F32 mean_g = broadcast(scale * sum_lanes(sum_g));
    const F32 mean_gx = broadcast(scale * sum_lanes(sum_gx));
    for_vectors(columns, [&](int64_t i, auto lanes) {
      const F32 normal = (lanes.load(x + i) - m) * r;
      const F32 g = lanes.load(dy + i) * lanes.load(weight + i);
      const F32 bypass = dresidual == nullptr ? zero() : lanes.load(dresidual + i);
      lanes.store(dx + i, fma(r, g - mean_g - normal * mean_gx, bypass));
    });
    if (dresidual != nullptr) dresidual += columns;
    if (dbranch != nullptr) {
      add_dropped(dx, static_cast<const T*>(nullptr), dbranch + row * columns,
                  (first + row) * columns, columns, dropout);
    }
  }
}

}  // namespace

constinit const KernelTable<LayernormKernels> layernorm_kernels = {
    {&forward<float>, &backward<float>},
    {&forward<bf16>, &backward<bf16>},
};

}  // namespace strobe::STROBE_ISA
