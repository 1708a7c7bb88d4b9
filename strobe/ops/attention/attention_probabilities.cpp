#include "strobe/ops/attention/attention_probabilities.h"

#include <algorithm>
#include <cmath>

#include <vector>

#include "strobe/core/copy.h"
#include "strobe/core/parallel.h"
#include "strobe/ops/attention/sequence.h"

namespace strobe {
namespace {

// A tensor as the host sees it: itself, or a copy of the memory from its first element to its last.
class OnHost {
 public:
  explicit OnHost(const Tensor& tensor) : view_(tensor) {
    if (!tensor.has_data() || tensor.device == DeviceKind::cpu) return;
    int64_t elements = tensor.numel() == 0 ? 0 : 1;
    for (int d = 0; d < tensor.rank() && elements > 0; ++d) {
      elements += (tensor.shape[d] - 1) * tensor.strides[d];
    }
    bytes_.resize(elements * size_of(tensor.dtype));
    view_.data = bytes_.data();
    view_.device = DeviceKind::cpu;
    copy_now(Tensor::contiguous(tensor.data, tensor.dtype, {elements}, tensor.device),
             Tensor::contiguous(view_.data, tensor.dtype, {elements}));
  }
  const Tensor& view() const { return view_; }

 private:
  Tensor view_;
  std::vector<char> bytes_;
};

template <class T>
double dot(const T* a, const T* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{to_f32(a[i])} * double{to_f32(b[i])};
  return sum;
}

// Row i of a head of a tensor [1, T, H, D].
template <class T>
const T* row_of(const Tensor& x, int64_t i, int64_t head) {
  return x.as<T>() + i * x.strides[1] + head * x.strides[2];
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

  const OnHost queries(args.q.slice(0, batch, batch + 1)), keys(args.k.slice(0, batch, batch + 1));
  const OnHost lse(args.lse.slice(0, batch, batch + 1));
  const OnHost key_begin(args.padding.key_begin), key_end(args.padding.key_end);
  const OnHost query_begin(args.padding.query_begin), query_end(args.padding.query_end);
  AttentionForward at_hand = args;
  at_hand.padding = {key_begin.view(), key_end.view(), query_begin.view(), query_end.view()};
  const Visibility visibility = attention_sequence(at_hand, batch).visibility;

  std::vector<float> rows(probabilities.numel(), 0.0f);
  const int64_t key_head = head / (q[2] / k[2]);
  with_float_type(args.q.dtype, [&](auto type) {
    using T = decltype(type);
    parallel_ranges(q[1], 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Span seen = visibility.keys_of(i);
        const T* query = row_of<T>(queries.view(), i, head);
        for (int64_t j = seen.begin; j < seen.end; ++j) {
          const double score = args.scale * dot(query, row_of<T>(keys.view(), j, key_head), q[3]);
          rows[i * k[1] + j] =
              static_cast<float>(std::exp(score - lse.view().as<float>()[head * q[1] + i]));
        }
      }
    });
  });
  copy_now(Tensor::of(rows.data(), probabilities.shape), probabilities);
}

}  // namespace strobe
