// The CUDA implementation of the embedding: which kernels, with which memory.
#include <algorithm>
#include <bit>
#include <cub/device/device_radix_sort.cuh>

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

template <class Table, class T>
void run_forward(Context& ctx, const EmbeddingForward& args) {
  const int64_t rows = args.tokens.numel(), columns = args.out.shape[2];
  const EmbeddingPositions positions = {
      .given = args.positions.has_data() ? args.positions.as<int32_t>() : nullptr,
      .seq = static_cast<uint32_t>(args.out.shape[1])};
  const EmbeddingTables<Table> tables = {
      .token = args.token_table.as<Table>(),
      .position = args.position_table.as<Table>(),
      .token_rows = static_cast<int32_t>(args.token_table.shape[0]),
      .position_rows = static_cast<int32_t>(args.position_table.shape[0])};
  T* out = args.out.as<T>();
  with_width<T>(columns, {tables.token, tables.position, out}, [&](auto width) {
    launch(ctx, embedding_forward_kernel<Table, T, width>,
           {.grid = dim3(blocks_of(rows * columns / width, kEmbeddingThreads)),
            .block = dim3(kEmbeddingThreads)},
           args.tokens.as<int32_t>(), positions, tables, out, rows, columns, args.dropout);
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

// Ids in their order, each with the row that it comes from, equal ones in the order of the rows.
struct SortedIds {
  Tensor keys, order;
};

SortedIds sort_ids(Context& ctx, const Tensor& ids, int64_t table_rows) {
  const int64_t count = ids.numel();
  const auto allocate = [&](int64_t elements) {
    return ctx.arena().allocate(MemoryUse::workspace, DType::i32, {elements});
  };
  const SortedIds sorted = {allocate(count), allocate(count)};
  const Arena::Scope scope(ctx.arena());
  const Tensor keys = allocate(count), order = allocate(count);
  launch(ctx, embedding_keys_kernel,
         {.grid = dim3(blocks_of(count, kEmbeddingThreads)), .block = dim3(kEmbeddingThreads)},
         ids.as<int32_t>(), table_rows, count, static_cast<uint32_t*>(keys.data),
         order.as<int32_t>());
  const auto sort = [&](void* memory, size_t& bytes) {
    const int bits = std::bit_width(static_cast<uint64_t>(table_rows));
    cuda_check(cub::DeviceRadixSort::SortPairs(
                   memory, bytes, static_cast<const uint32_t*>(keys.data),
                   static_cast<uint32_t*>(sorted.keys.data), order.as<int32_t>(),
                   sorted.order.as<int32_t>(), static_cast<int>(count), 0, bits, stream_of(ctx)),
               "sorting tokens");
  };
  size_t bytes = 0;
  sort(nullptr, bytes);
  const Tensor memory = allocate(static_cast<int64_t>(bytes + 3) / 4);
  if (!ctx.is_planning()) sort(memory.data, bytes);
  return sorted;
}

// Threads that share out a row, `width` columns each.
dim3 row_threads(int64_t columns, int width) {
  const int64_t warps = blocks_of(columns, width * kWarpSize);
  return dim3(kWarpSize * static_cast<unsigned>(std::min<int64_t>(warps, 8)));
}

// dtable[id] += the sum of the rows of Z∘dout with this id.
template <class T>
void add_by_id(Context& ctx, const Tensor& ids, const Tensor& dout, const Tensor& dtable,
               const Dropout& dropout) {
  const int64_t count = ids.numel(), columns = dtable.shape[1], table_rows = dtable.shape[0];
  const int64_t segments = blocks_of(count, kSegment);
  const Arena::Scope scope(ctx.arena());
  const SortedIds sorted = sort_ids(ctx, ids, table_rows);
  const Tensor partials =
      ctx.arena().allocate(MemoryUse::workspace, DType::f32, {segments, 2, columns});
  const auto* keys = static_cast<const uint32_t*>(sorted.keys.data);
  const T* rows = dout.as<T>();
  float* sums = dtable.as<float>();
  with_width<T>(columns, {rows, sums}, [&](auto width) {
    launch(ctx, embedding_backward_segments_kernel<T, width>,
           {.grid = dim3(segments), .block = row_threads(columns, width)}, rows, keys,
           sorted.order.as<int32_t>(), count, table_rows, columns, sums, partials.as<float>(),
           dropout);
    constexpr int kWidth = std::min<int>(width, 4);
    launch(ctx, embedding_backward_runs_kernel<kWidth>,
           {.grid = dim3(segments, blocks_of(columns, kRunLanes * kWidth)),
            .block = dim3(kRunThreads)},
           partials.as<float>(), keys, count, table_rows, columns, sums);
  });
}

template <class T>
void run_backward(Context& ctx, const EmbeddingBackward& args) {
  const int64_t batch = args.dout.shape[0], seq = args.dout.shape[1], columns = args.dout.shape[2];
  if (args.positions.has_data()) {
    if (!args.accumulate) clear(ctx, args.dposition_table);
    add_by_id<T>(ctx, args.positions, args.dout, args.dposition_table, args.dropout);
  } else {
    const T* rows = args.dout.as<T>();
    float* sums = args.dposition_table.as<float>();
    with_width<T>(columns, {rows, sums}, [&](auto width) {
      launch(ctx, embedding_backward_positions_kernel<T, width>,
             {.grid = dim3(args.dposition_table.shape[0]), .block = row_threads(columns, width)},
             rows, batch, seq, columns, sums, args.accumulate, args.dropout);
    });
  }
  add_by_id<T>(ctx, args.tokens, args.dout, args.dtoken_table, args.dropout);
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
