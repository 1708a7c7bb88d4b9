#include "strobe/ops/linear/linear_few_rows.h"

#include <algorithm>
#include <numeric>

#include "strobe/core/parallel.h"
#include "strobe/simd/onednn_matmul.h"

namespace strobe {
namespace {

constexpr int64_t kColumnGrain = 32;  // columns of a thread: whole cache lines of a 16-bit weight
// What is worth another thread: elements of the weight to read, of y to join.
constexpr int64_t kReadElements = 16384, kJoinedElements = 1024;

// A weight [K, N] is cut into so many parts of K, which are summed by themselves, so that a thread
// reads contiguous rows; where its rows are long enough for that without, it is not cut. The order
// of the sums depends on this, so it must not depend on the number of threads or of rows of x.
int64_t parts_of(int64_t inner, int64_t columns) {
  constexpr int64_t kMostParts = 8, kLeastInner = 64, kLongRow = 8192;
  return columns >= kLongRow ? 1 : std::clamp<int64_t>(inner / kLeastInner, 1, kMostParts);
}

// How many groups of columns each part is cut into, so that all threads have equally many.
int64_t groups_of(int64_t parts, int64_t columns) {
  constexpr int64_t kLeastColumns = 256;
  const int64_t threads = thread_count();
  return std::clamp<int64_t>(columns / kLeastColumns, 1, threads / std::gcd(threads, parts));
}

char* element(const Tensor& t, int64_t row, int64_t column) {
  const int64_t offset = row * t.strides[0] + column * t.strides[1];
  return static_cast<char*>(t.data) + offset * static_cast<int64_t>(size_of(t.dtype));
}

const FewRowsKernels& kernels_for(const LinearForward& args, const FewRowsTable& table) {
  switch (args.weight.dtype) {
    case DType::f16: return table.f16_f32;
    case DType::bf16: return args.y.dtype == DType::f32 ? table.bf16_f32 : table.bf16_bf16;
    default: return table.f32_f32;
  }
}

bool is_by_rows(const Tensor& weight) { return weight.strides[1] == 1; }

// x in f32, rows contiguous: itself, or a copy in `workspace`.
Tensor widened_rows(Arena& arena, const Tensor& x, const FewRowsTable& table) {
  if (x.dtype == DType::f32) return x;
  const Tensor wide = arena.allocate(MemoryUse::workspace, DType::f32, x.shape);
  for (int64_t row = 0; row < x.shape[0]; ++row) {
    table.widen(element(x, row, 0), x.dtype, wide.as<float>() + row * x.shape[1], x.shape[1]);
  }
  return wide;
}

// What a call's tasks are cut from.
struct Call {
  const LinearForward& args;
  const Tensor& x;  // f32

  FewRowsTask task(int64_t begin, int64_t end) const {
    const bool keeps = args.pre_activation.has_data();
    return {.x = x.as<float>(),
            .x_stride = x.strides[0],
            .rows = static_cast<int>(x.shape[0]),
            .inner = x.shape[1],
            .weight = element(args.weight, 0, begin),
            .weight_stride = args.weight.strides[is_by_rows(args.weight) ? 0 : 1],
            .bias = args.bias.has_data() ? args.bias.as<float>() + begin : nullptr,
            .y = element(args.y, 0, begin),
            .y_stride = args.y.strides[0],
            .pre_activation = keeps ? element(args.pre_activation, 0, begin) : nullptr,
            .pre_activation_stride = keeps ? args.pre_activation.strides[0] : 0,
            .gelu = args.gelu,
            .columns = end - begin};
  }
};

// Columns [begin, end) of a 16-bit weight, in f32 and the same layout.
Tensor widened_columns(const Tensor& weight, int64_t begin, int64_t end, const Tensor& memory,
                       const FewRowsTable& table) {
  const int64_t inner = weight.shape[0], columns = end - begin;
  const bool by_rows = is_by_rows(weight);
  const Shape shape = by_rows ? Shape{inner, columns} : Shape{columns, inner};
  const Tensor wide = Tensor::contiguous(memory.data, DType::f32, shape);
  parallel_ranges(shape[0], 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const char* from = by_rows ? element(weight, i, begin) : element(weight, 0, begin + i);
      table.widen(from, weight.dtype, wide.as<float>() + i * shape[1], shape[1]);
    }
  });
  return by_rows ? wide : wide.transpose(0, 1);
}

}  // namespace

void few_rows_forward(Context& ctx, const LinearForward& args, const FewRowsTable& table) {
  const Arena::Scope scope(ctx.arena());
  const Tensor x = widened_rows(ctx.arena(), args.x, table);
  const FewRowsKernels& kernels = kernels_for(args, table);
  const Call call = {args, x};
  const int64_t inner = x.shape[1], columns = args.weight.shape[1];
  if (!is_by_rows(args.weight)) {
    const int64_t grain =
        std::max(kColumnGrain, kReadElements / inner / kColumnGrain * kColumnGrain);
    return parallel_ranges(columns, grain, [&](int64_t begin, int64_t end) {
      kernels.by_columns(call.task(begin, end));
    });
  }
  const int64_t parts = parts_of(inner, columns), groups = groups_of(parts, columns);
  const int64_t grains = (columns + kColumnGrain - 1) / kColumnGrain;
  const int64_t width = (grains + groups - 1) / groups * kColumnGrain;
  const Tensor memory =
      ctx.arena().allocate(MemoryUse::workspace, DType::f32, {parts, x.shape[0], columns});
  const auto sums = [&](int64_t part, int64_t column) -> FewRowsSums {
    return {memory.as<float>() + part * memory.strides[0] + column, memory.strides[1],
            memory.strides[0]};
  };
  const int64_t tasks = parts * groups;
  const int64_t task_grain = std::max<int64_t>(1, kReadElements * tasks / (inner * columns));
  parallel_ranges(tasks, task_grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t part = i / groups, begin = i % groups * width;
      const int64_t end = std::min(columns, begin + width);
      if (begin >= end) continue;
      kernels.add_rows(call.task(begin, end), inner * part / parts, inner * (part + 1) / parts,
                       sums(part, begin));
    }
  });
  const int64_t grain = std::max(kColumnGrain, kJoinedElements / x.shape[0]);
  parallel_ranges(columns, grain, [&](int64_t begin, int64_t end) {
    kernels.join(call.task(begin, end), sums(0, begin), static_cast<int>(parts));
  });
}

void widened_forward(Context& ctx, const LinearForward& args, const FewRowsTable& table) {
  constexpr int64_t kPieceFloats = int64_t{1} << 20;
  const int64_t inner = args.weight.shape[0], columns = args.weight.shape[1];
  const int64_t width = std::max<int64_t>(64, kPieceFloats / inner / 64 * 64);
  const Arena::Scope scope(ctx.arena());
  const Tensor memory =
      ctx.arena().allocate(MemoryUse::workspace, DType::f32, {inner * std::min(width, columns)});
  for (int64_t begin = 0; begin < columns; begin += width) {
    const int64_t end = std::min(columns, begin + width);
    onednn_matmul(ctx, {.a = args.x,
                        .b = widened_columns(args.weight, begin, end, memory, table),
                        .c = args.y.slice(1, begin, end),
                        .bias = args.bias.has_data() ? args.bias.slice(0, begin, end) : Tensor(),
                        .gelu = args.gelu});
  }
}

}  // namespace strobe
