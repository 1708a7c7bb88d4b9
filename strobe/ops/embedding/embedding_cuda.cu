// The CUDA implementation of the embedding: which kernels, with which memory.
#include <algorithm>

#include "strobe/core/copy.h"
#include "strobe/gpu/cuda_row.h"
#include "strobe/ops/embedding/embedding.h"
#include "strobe/ops/embedding/embedding_backward.cuh"
#include "strobe/ops/embedding/embedding_forward.cuh"

namespace strobe {
namespace {

// Calls f(width): the constant kVectorWidth<T> where rows of so many columns can be taken in
// vectors of it at all addresses, which are multiples of 16 then, else 1.
template <class T, class F>
void with_width(int64_t columns, std::initializer_list<const void*> tensors, const F& f) {
  constexpr int kWidth = kVectorWidth<T>;
  const bool is_aligned = std::ranges::all_of(
      tensors, [](const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; });
  if (is_aligned && columns % kWidth == 0) {
    f(std::integral_constant<int, kWidth>{});
  } else {
    f(std::integral_constant<int, 1>{});
  }
}

unsigned blocks_of(int64_t count, int64_t size) {
  return static_cast<unsigned>((count + size - 1) / size);
}

// Threads that share out a row, `width` columns each.
dim3 row_threads(int64_t columns, int width) {
  const int64_t warps = blocks_of(columns, width * kWarpSize);
  return dim3(kWarpSize * static_cast<unsigned>(std::min<int64_t>(warps, 8)));
}

template <class Table, class T>
void run_forward(Context& ctx, const EmbeddingForward& args) {
  const int64_t rows = args.tokens.numel(), columns = args.out.shape[2];
  const EmbeddingPositions positions = {
      .given = args.positions.has_data() ? args.positions.as<int32_t>() : nullptr,
      .seq = args.out.shape[1]};
  const EmbeddingTables<Table> tables = {
      .token = args.token_table.as<Table>(),
      .position = args.position_table.as<Table>(),
      .token_rows = static_cast<int32_t>(args.token_table.shape[0]),
      .position_rows = static_cast<int32_t>(args.position_table.shape[0])};
  T* out = args.out.as<T>();
  with_width<T>(columns, {tables.token, tables.position, out}, [&](auto width) {
    launch(ctx, embedding_forward_kernel<Table, T, width>,
           {.grid = dim3(rows), .block = row_threads(columns, width)}, args.tokens.as<int32_t>(),
           positions, tables, out, columns, args.dropout);
  });
}

void forward(Context& ctx, const EmbeddingForward& args) {
  with_float_type(args.out.dtype, [&](auto type) {
    using T = decltype(type);
    if constexpr (std::is_same_v<T, float>) {
      with_float_type(args.token_table.dtype,
                      [&](auto table) { run_forward<decltype(table), T>(ctx, args); });
    } else {
      run_forward<T, T>(ctx, args);
    }
  });
}

// dtable[id] += the sum of the rows of Z∘dout with this id; and `positions` beside it.
template <class T>
void add_by_id(Context& ctx, const Tensor& ids, const Tensor& dout, const Tensor& dtable,
               const EmbeddingPositionSums<T>& positions, const Dropout& dropout) {
  const int64_t count = ids.numel(), columns = dtable.shape[1], table_rows = dtable.shape[0];
  const int64_t windows = blocks_of(count, kChunk);
  const Arena::Scope scope(ctx.arena());
  const auto allocate = [&](DType dtype, const Shape& shape) {
    return ctx.arena().allocate(MemoryUse::workspace, dtype, shape);
  };
  const Tensor keys = allocate(DType::i32, {count}), order = allocate(DType::i32, {count}),
               starts = allocate(DType::i32, {count});
  const Tensor partials = allocate(DType::f32, {windows, 2, columns});
  const EmbeddingSort sort = {.ids = ids.as<int32_t>(),
                              .keys = static_cast<uint32_t*>(keys.data),
                              .order = order.as<int32_t>(),
                              .starts = starts.as<int32_t>(),
                              .count = static_cast<int32_t>(count),
                              .table_rows = static_cast<uint32_t>(table_rows),
                              .shift = EmbeddingSort::shift_of(table_rows)};
  const EmbeddingRuns runs = {.keys = sort.keys,
                              .order = sort.order,
                              .starts = sort.starts,
                              .count = sort.count,
                              .table_rows = sort.table_rows};
  const T* rows = dout.as<T>();
  float* sums = dtable.as<float>();
  with_width<T>(columns, {rows, sums, positions.dposition_table}, [&](auto width) {
    const int64_t position_vectors =
        positions.dout == nullptr ? 0 : positions.rows * columns / width;
    launch(ctx, embedding_backward_begin_kernel<T, width>,
           {.grid = dim3(sort.blocks() + blocks_of(position_vectors, EmbeddingSort::kThreads)),
            .block = dim3(EmbeddingSort::kThreads)},
           sort, positions, dropout);
    launch(ctx, embedding_backward_chunks_kernel<T, width>,
           {.grid = dim3(windows), .block = row_threads(columns, width)}, rows, runs, columns, sums,
           partials.as<float>(), dropout);
    constexpr int kWidth = std::min<int>(width, 4);
    launch(ctx, embedding_backward_runs_kernel<kWidth>,
           {.grid = dim3(blocks_of(windows, kRunWindows), blocks_of(columns, kRunLanes * kWidth)),
            .block = dim3(kRunThreads)},
           partials.as<float>(), runs, columns, sums);
  });
}

template <class T>
void run_backward(Context& ctx, const EmbeddingBackward& args) {
  EmbeddingPositionSums<T> positions = {};
  if (args.positions.has_data()) {
    if (!args.accumulate) clear(ctx, args.dposition_table);
    add_by_id<T>(ctx, args.positions, args.dout, args.dposition_table, {}, args.dropout);
  } else {
    positions = {.dout = args.dout.as<T>(),
                 .dposition_table = args.dposition_table.as<float>(),
                 .batch = args.dout.shape[0],
                 .seq = args.dout.shape[1],
                 .rows = args.dposition_table.shape[0],
                 .columns = args.dout.shape[2],
                 .accumulate = args.accumulate};
  }
  add_by_id<T>(ctx, args.tokens, args.dout, args.dtoken_table, positions, args.dropout);
}

void backward(Context& ctx, const EmbeddingBackward& args) {
  with_float_type(args.dout.dtype, [&](auto type) { run_backward<decltype(type)>(ctx, args); });
}

}  // namespace

std::span<const EmbeddingImpl> embedding_impls_cuda() {
  static constexpr EmbeddingImpl kRows[] = {{"cuda", &why_not_cuda_floats, &forward, &backward}};
  return kRows;
}

}  // namespace strobe
