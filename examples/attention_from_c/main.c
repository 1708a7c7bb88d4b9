/* Causal attention over one sequence, from C. */
#include <math.h>
#include <stdio.h>
#include <strobe/c/strobe.h>

enum { kTime = 64, kHeads = 2, kHeadDim = 32, kNumbers = kTime * kHeads * kHeadDim };

static float q[kNumbers], k[kNumbers], v[kNumbers], out[kNumbers], lse[kHeads * kTime];

int main(void) {
  for (int i = 0; i < kNumbers; ++i) {
    q[i] = sinf((float)i);
    k[i] = cosf((float)i);
    v[i] = (float)(i % 7);
  }
  const int64_t shape[4] = {1, kTime, kHeads, kHeadDim}, lse_shape[3] = {1, kHeads, kTime};
  strobe_attention attention = strobe_attention_init();
  attention.scale = 1 / sqrtf(kHeadDim);
  attention.mask = STROBE_CAUSAL;
  attention.q = strobe_tensor_of(q, STROBE_F32, 4, shape);
  attention.k = strobe_tensor_of(k, STROBE_F32, 4, shape);
  attention.v = strobe_tensor_of(v, STROBE_F32, 4, shape);
  attention.out = strobe_tensor_of(out, STROBE_F32, 4, shape);
  attention.lse = strobe_tensor_of(lse, STROBE_F32, 3, lse_shape);

  strobe_context* context = NULL;
  if (strobe_context_create("cpu", &context) != STROBE_OK ||
      strobe_attention_forward(context, &attention, NULL) != STROBE_OK) {
    fprintf(stderr, "%s\n", strobe_last_error());
    return 1;
  }
  const char* name = "";
  strobe_attention_implementation(context, &attention, &name);
  strobe_context_destroy(context);

  /* The first query sees the first key only, so its result is that key's value. */
  printf("strobe %s, %s: out[1] = %g, v[1] = %g\n", strobe_version(), name, out[1], v[1]);
  return fabsf(out[1] - v[1]) <= 1e-6f ? 0 : 1;
}
