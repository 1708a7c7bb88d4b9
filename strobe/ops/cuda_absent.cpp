// In place of the ops' CUDA files where Strobe is built without CUDA.
#include "strobe/ops/adamw/adamw.h"
#include "strobe/ops/cast/cast.h"
#include "strobe/ops/cross_entropy/cross_entropy.h"
#include "strobe/ops/embedding/embedding.h"
#include "strobe/ops/gather_rows/gather_rows.h"
#include "strobe/ops/gelu/gelu.h"
#include "strobe/ops/grad_norm/grad_norm.h"
#include "strobe/ops/grad_scaler/grad_scaler.h"
#include "strobe/ops/kv_append/kv_append.h"
#include "strobe/ops/layernorm/layernorm.h"
#include "strobe/ops/linear/linear.h"
#include "strobe/ops/sample/sample.h"

namespace strobe {

std::span<const AdamWImpl> adamw_impls_cuda() { return {}; }
std::span<const CastImpl> cast_impls_cuda() { return {}; }
std::span<const CrossEntropyImpl> cross_entropy_impls_cuda() { return {}; }
std::span<const EmbeddingImpl> embedding_impls_cuda() { return {}; }
std::span<const GatherRowsImpl> gather_rows_impls_cuda() { return {}; }
std::span<const GeluImpl> gelu_impls_cuda() { return {}; }
std::span<const GradNormImpl> grad_norm_impls_cuda() { return {}; }
std::span<const GradScalerImpl> grad_scaler_impls_cuda() { return {}; }
std::span<const KvAppendImpl> kv_append_impls_cuda() { return {}; }
std::span<const LayernormImpl> layernorm_impls_cuda() { return {}; }
std::span<const LinearImpl> linear_impls_cuda() { return {}; }
std::span<const SampleImpl> sample_impls_cuda() { return {}; }

}  // namespace strobe
