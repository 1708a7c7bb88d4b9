#include "strobe/ops/embedding/embedding.h"

namespace strobe {
namespace {

// Every element of `ids` must be a row of a table with `rows` rows, if the host can read them.
void check_ids(const char* name, const Tensor& ids, int64_t rows) {
  if (ids.device != DeviceKind::cpu) return;
  const int32_t* values = ids.as<int32_t>();
  for (int64_t i = 0; i < ids.numel(); ++i) {
    check(values[i] >= 0 && values[i] < rows, "embedding: ", name, " ", values[i], " at [",
          i / ids.shape[1], ", ", i % ids.shape[1], "], allowed are 0 to ", rows - 1);
  }
}

// What both passes have in common; `tables` and `out` stand for values or for gradients.
void validate(const Tensor& tokens, const Tensor& positions, const Tensor& out,
              const Tensor& token_table, const Tensor& position_table, DType table_dtype,
              const Dropout& dropout) {
  check(out.rank() == 3, "embedding out has shape ", out.shape, ", expected [B, T, C]");
  const int64_t batch = out.shape[0], seq = out.shape[1], columns = out.shape[2];
  check(token_table.rank() == 2 && position_table.rank() == 2, "embedding tables have shapes ",
        token_table.shape, " and ", position_table.shape, ", expected [V, C] and [P, C]");
  const int64_t vocab = token_table.shape[0], position_rows = position_table.shape[0];
  check_contiguous("embedding out", out, out.dtype, {batch, seq, columns});
  check_contiguous("embedding token table", token_table, table_dtype, {vocab, columns});
  check_contiguous("embedding position table", position_table, table_dtype,
                   {position_rows, columns});
  check_contiguous("embedding tokens", tokens, DType::i32, {batch, seq});
  check_ids("token", tokens, vocab);
  if (positions.has_data()) {
    check_contiguous("embedding positions", positions, DType::i32, {batch, seq});
    check_ids("position", positions, position_rows);
  } else {
    check(seq <= position_rows, "embedding: ", seq, " positions, the table has ", position_rows);
  }
  check(dropout.threshold < 256, "embedding dropout threshold is ", dropout.threshold,
        ", allowed is 0 to 255");
}

const EmbeddingImpl& select_embedding(const Context& ctx, DType dtype) {
  return select("embedding", embedding_impls(), dtype, ctx.device(), ctx.wish("embedding"));
}

}  // namespace

void embedding_forward(Context& ctx, const EmbeddingForward& args) {
  check_on_device(ctx, {{"embedding tokens", args.tokens},
                        {"embedding positions", args.positions},
                        {"embedding token table", args.token_table},
                        {"embedding position table", args.position_table},
                        {"embedding out", args.out}});
  const DType dtype = args.out.dtype, table_dtype = args.token_table.dtype;
  check(table_dtype == dtype || (dtype == DType::f32 && table_dtype != DType::i32),
        "embedding token table is ", table_dtype, ", allowed with out in ", dtype,
        dtype == DType::f32 ? " are f32, f16 and bf16" : " is the same type");
  validate(args.tokens, args.positions, args.out, args.token_table, args.position_table,
           table_dtype, args.dropout);
  select_embedding(ctx, args.out.dtype).forward(ctx, args);
}

void embedding_backward(Context& ctx, const EmbeddingBackward& args) {
  check_on_device(ctx, {{"embedding tokens", args.tokens},
                        {"embedding positions", args.positions},
                        {"embedding dout", args.dout},
                        {"embedding dtoken_table", args.dtoken_table},
                        {"embedding dposition_table", args.dposition_table}});
  validate(args.tokens, args.positions, args.dout, args.dtoken_table, args.dposition_table,
           DType::f32, args.dropout);
  select_embedding(ctx, args.dout.dtype).backward(ctx, args);
}

std::span<const EmbeddingImpl> embedding_impls() {
  static const auto rows = join_impls(embedding_impls_cpu(), embedding_impls_cuda());
  return rows;
}

}  // namespace strobe
