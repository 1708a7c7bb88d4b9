#include "strobe/ops/attention/attention_probabilities.h"

#include <algorithm>
#include <cmath>

#include "strobe/core/parallel.h"
#include "strobe/ops/attention/sequence.h"

namespace strobe {
namespace {

template <class T>
double dot(const T* a, const T* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{to_f32(a[i])} * double{to_f32(b[i])};
  return sum;
}

// Row i of a head of a tensor [B, T, H, D].
template <class T>
const T* row_of(const Tensor& x, int64_t batch, int64_t i, int64_t head) {
  return x.as<T>() + batch * x.strides[0] + i * x.strides[1] + head * x.strides[2];
}

}  // namespace

void attention_probabilities(const AttentionForward& args, int64_t batch, int64_t head,
                             const Tensor& probabilities) {
  const Shape &q = args.q.shape, &k = args.k.shape;
  check(!args.bias.has_data() && !args.cu_seqlens_q.has_data(),
        "probabilities are computed without a bias and without packed sequences");
  check(batch >= 0 && batch < q[0], "sequence ", batch, ", allowed is 0 to ", q[0] - 1);
  check(head >= 0 && head < q[2], "head ", head, ", allowed is 0 to ", q[2] - 1);
  check_contiguous("lse", args.lse, DType::f32, {q[0], q[2], q[1]});
  check_contiguous("probabilities", probabilities, DType::f32, {q[1], k[1]});

  const Visibility visibility = attention_sequence(args, batch).visibility;
  const int64_t key_head = head / (q[2] / k[2]);
  const float* lse = args.lse.as<float>() + (batch * q[2] + head) * q[1];
  with_float_type(args.q.dtype, [&](auto type) {
    using T = decltype(type);
    parallel_ranges(q[1], 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float* row = probabilities.as<float>() + i * k[1];
        std::fill_n(row, k[1], 0.0f);
        const Span keys = visibility.keys_of(i);
        const T* query = row_of<T>(args.q, batch, i, head);
        for (int64_t j = keys.begin; j < keys.end; ++j) {
          const double score = args.scale * dot(query, row_of<T>(args.k, batch, j, key_head), q[3]);
          row[j] = static_cast<float>(std::exp(score - lse[i]));
        }
      }
    });
  });
}

}  // namespace strobe
