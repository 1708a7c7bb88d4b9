#include "strobe/ops/gather_rows/gather_rows.h"

namespace strobe {
namespace {

void validate(const GatherRows& args) {
  check(args.x.rank() == 2, "gather_rows x has shape ", args.x.shape, ", expected [rows, C]");
  check(args.indices.rank() == 1, "gather_rows indices have shape ", args.indices.shape,
        ", expected [count]");
  const int64_t rows = args.x.shape[0], columns = args.x.shape[1], count = args.indices.shape[0];
  check_contiguous("gather_rows x", args.x, args.x.dtype, {rows, columns});
  check_contiguous("gather_rows indices", args.indices, DType::i32, {count});
  check_contiguous("gather_rows out", args.out, args.x.dtype, {count, columns});
  if (args.indices.device != DeviceKind::cpu) return;
  const int32_t* indices = args.indices.as<int32_t>();
  for (int64_t i = 0; i < count; ++i) {
    check(indices[i] >= 0 && indices[i] < rows, "gather_rows: index ", indices[i], " at ", i,
          ", allowed are 0 to ", rows - 1);
  }
}

}  // namespace

std::span<const GatherRowsImpl> gather_rows_impls() {
  static const auto rows = join_impls(gather_rows_impls_cpu(), gather_rows_impls_cuda());
  return rows;
}

void gather_rows(Context& ctx, const GatherRows& args) {
  check_on_device(ctx, {{"gather_rows x", args.x},
                        {"gather_rows indices", args.indices},
                        {"gather_rows out", args.out}});
  validate(args);
  select("gather_rows", gather_rows_impls(), args.x.dtype, ctx.device(), ctx.wish("gather_rows"))
      .run(ctx, args);
}

}  // namespace strobe
