// The CPU implementations of the embedding. Forward, threads share out the rows of the output.
// Backward, each thread owns a range of columns and walks all tokens in their order: no two threads
// write one address, and the sums do not depend on the number of threads.
#include <cstring>

#include "strobe/core/parallel.h"
#include "strobe/ops/embedding/embedding.h"
#include "strobe/ops/embedding/embedding_kernels.h"
#include "strobe/simd/cpu_row.h"

namespace strobe {
namespace {

constexpr int64_t kRowGrain = 8;      // rows forward, fewer are not worth another thread
constexpr int64_t kColumnGrain = 64;  // columns backward: whole cache lines

int64_t position_of(const Tensor& positions, int64_t seq, int64_t i) {
  return positions.has_data() ? positions.as<int32_t>()[i] : i % seq;
}

template <class T>
void run_forward(const EmbeddingKernels<T>& kernels, const EmbeddingForward& args) {
  const int64_t seq = args.out.shape[1], columns = args.out.shape[2];
  const int32_t* tokens = args.tokens.as<int32_t>();
  const DType type = args.token_table.dtype;
  const auto row_of = [&](const Tensor& table, int64_t row) {
    return static_cast<const char*>(table.data) +
           row * columns * static_cast<int64_t>(size_of(type));
  };
  parallel_ranges(args.tokens.numel(), kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      kernels.add(row_of(args.token_table, tokens[i]),
                  row_of(args.position_table, position_of(args.positions, seq, i)), type,
                  args.out.as<T>() + i * columns, i * columns, columns,
                  args.dropout.with_key_at_hand());
    }
  });
}

template <class T>
void run_backward(const EmbeddingKernels<T>& kernels, const EmbeddingBackward& args) {
  const int64_t seq = args.dout.shape[1], columns = args.dout.shape[2];
  const int64_t position_rows = args.dposition_table.shape[0];
  const int32_t* tokens = args.tokens.as<int32_t>();
  const T* dout = args.dout.as<T>();
  float* dtokens = args.dtoken_table.as<float>();
  float* dpositions = args.dposition_table.as<float>();
  parallel_ranges(columns, kColumnGrain, [&](int64_t begin, int64_t end) {
    const int64_t width = end - begin;
    for (int64_t row = 0; row < position_rows && !args.accumulate; ++row) {
      std::memset(dpositions + row * columns + begin, 0, width * sizeof(float));
    }
    for (int64_t i = 0; i < args.tokens.numel(); ++i) {
      const int64_t first = i * columns + begin;
      const int64_t position = position_of(args.positions, seq, i);
      for (float* sums : {dtokens + tokens[i] * columns, dpositions + position * columns}) {
        kernels.accumulate(dout + first, sums + begin, first, width,
                           args.dropout.with_key_at_hand());
      }
    }
  });
}

template <const KernelTable<EmbeddingKernels>& kKernels>
void forward(Context&, const EmbeddingForward& args) {
  with_f32_or_bf16(args.out.dtype,
                   [&](auto type) { run_forward(kKernels.of<decltype(type)>(), args); });
}

template <const KernelTable<EmbeddingKernels>& kKernels>
void backward(Context&, const EmbeddingBackward& args) {
  with_f32_or_bf16(args.dout.dtype,
                   [&](auto type) { run_backward(kKernels.of<decltype(type)>(), args); });
}

template <Isa kIsa, const KernelTable<EmbeddingKernels>& kKernels>
constexpr EmbeddingImpl row(std::string_view name) {
  return {name, &why_not_f32_bf16<kIsa>, &forward<kKernels>, &backward<kKernels>};
}

}  // namespace

std::span<const EmbeddingImpl> embedding_impls_cpu() {
  static constexpr EmbeddingImpl kRows[] = {
      row<Isa::avx512_bf16, avx512_bf16::embedding_kernels>("cpu_avx512_bf16"),
      row<Isa::avx512, avx512::embedding_kernels>("cpu_avx512"),
      row<Isa::avx2, avx2::embedding_kernels>("cpu_avx2"),
      row<Isa::scalar, scalar::embedding_kernels>("cpu_scalar"),
  };
  return kRows;
}

}  // namespace strobe
