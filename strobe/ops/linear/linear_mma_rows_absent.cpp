// In place of linear_mma_rows_cuda.cu where nothing is compiled for sm_80 or newer.
#include "strobe/ops/linear/linear_mma_rows_cuda.h"

namespace strobe {

bool can_use_mma_rows(const Context&, const LinearForward&) { return false; }
void mma_rows_forward(Context&, const LinearForward&) {}

}  // namespace strobe
