/* The C interface, from C: every function, against plain loops in double. */
#include "strobe/c/strobe.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "strobe/c/strobe_testing.h"

enum { kBatch = 2, kTimeQ = 5, kTimeK = 9, kHeads = 3, kHeadDim = 16 };
enum { kSizeQ = kBatch * kTimeQ * kHeads * kHeadDim, kSizeK = kBatch * kTimeK * kHeads * kHeadDim };

/* The call fails with this status, and the message has this text in it. */
#define EXPECT_FAILS(call, status, text)                                                     \
  do {                                                                                       \
    EXPECT((call) == (status));                                                              \
    if (strstr(strobe_last_error(), text) == NULL) {                                         \
      printf("%s:%d: '%s' is not in '%s'\n", __FILE__, __LINE__, text, strobe_last_error()); \
      ++failures;                                                                            \
    }                                                                                        \
  } while (0)

typedef struct {
  float q[kSizeQ], k[kSizeK], v[kSizeK], out[kSizeQ], lse[kBatch * kHeads * kTimeQ];
  float dout[kSizeQ], dq[kSizeQ], dk[kSizeK], dv[kSizeK];
} Memory;

static void fill(float* x, int n, unsigned seed) {
  for (int i = 0; i < n; ++i) {
    seed = seed * 1664525u + 1013904223u;
    x[i] = (float)(seed >> 8) / (float)(1 << 23) - 1.0f;
  }
}

static const int64_t kShapeQ[4] = {kBatch, kTimeQ, kHeads, kHeadDim};
static const int64_t kShapeK[4] = {kBatch, kTimeK, kHeads, kHeadDim};

static strobe_attention attention_on(Memory* m) {
  const int64_t lse[3] = {kBatch, kHeads, kTimeQ};
  strobe_attention a = strobe_attention_init();
  a.scale = 0.25f;
  a.mask = STROBE_CAUSAL;
  a.q = strobe_tensor_of(m->q, STROBE_F32, 4, kShapeQ);
  a.k = strobe_tensor_of(m->k, STROBE_F32, 4, kShapeK);
  a.v = strobe_tensor_of(m->v, STROBE_F32, 4, kShapeK);
  a.out = strobe_tensor_of(m->out, STROBE_F32, 4, kShapeQ);
  a.lse = strobe_tensor_of(m->lse, STROBE_F32, 3, lse);
  a.dout = strobe_tensor_of(m->dout, STROBE_F32, 4, kShapeQ);
  a.dq = strobe_tensor_of(m->dq, STROBE_F32, 4, kShapeQ);
  a.dk = strobe_tensor_of(m->dk, STROBE_F32, 4, kShapeK);
  a.dv = strobe_tensor_of(m->dv, STROBE_F32, 4, kShapeK);
  return a;
}

static int at(int time, int b, int t, int h, int d) {
  return ((b * time + t) * kHeads + h) * kHeadDim + d;
}

/* sum of dout·out, the function whose gradient backward gives; out too where it is wanted. */
static double reference(const Memory* m, double* out) {
  double sum = 0;
  for (int b = 0; b < kBatch; ++b)
    for (int h = 0; h < kHeads; ++h)
      for (int i = 0; i < kTimeQ; ++i) {
        double p[kTimeK], total = 0;
        const int keys = i + kTimeK - kTimeQ + 1;
        for (int j = 0; j < keys; ++j) {
          double score = 0;
          for (int d = 0; d < kHeadDim; ++d)
            score += (double)m->q[at(kTimeQ, b, i, h, d)] * m->k[at(kTimeK, b, j, h, d)];
          total += p[j] = exp(0.25 * score);
        }
        for (int d = 0; d < kHeadDim; ++d) {
          double x = 0;
          for (int j = 0; j < keys; ++j) x += p[j] / total * m->v[at(kTimeK, b, j, h, d)];
          if (out != NULL) out[at(kTimeQ, b, i, h, d)] = x;
          sum += x * m->dout[at(kTimeQ, b, i, h, d)];
        }
      }
  return sum;
}

static void expect_gradient(Memory* m, float* x, const float* gradient, int index) {
  const float middle = x[index], step = 1.0f / 512;
  x[index] = middle + step;
  const double above = reference(m, NULL);
  x[index] = middle - step;
  const double below = reference(m, NULL);
  x[index] = middle;
  EXPECT(fabs((above - below) / (2 * step) - gradient[index]) <= 1e-4);
}

static void test_forward_and_backward(strobe_context* context, Memory* m, const char* name) {
  EXPECT(strobe_context_set_attention(context, name) == STROBE_OK);
  strobe_attention a = attention_on(m);
  int64_t bytes = -1, workspace = -1;
  EXPECT(strobe_attention_saved_bytes(context, &a, &bytes) == STROBE_OK);
  EXPECT(strobe_attention_workspace_bytes(context, &a, &workspace) == STROBE_OK && workspace >= 0);
  EXPECT((bytes > 0) == (strcmp(name, "standard") == 0));
  const char* implementation = "";
  EXPECT(strobe_attention_implementation(context, &a, &implementation) == STROBE_OK);
  EXPECT(strstr(implementation, name) != NULL);

  const int64_t words = (bytes + 3) / 4;
  float* saved = malloc((size_t)bytes + 4);
  if (bytes > 0) a.saved = strobe_tensor_of(saved, STROBE_F32, 1, &words);
  EXPECT(strobe_attention_forward(context, &a, NULL) == STROBE_OK);
  EXPECT(strobe_attention_backward(context, &a, NULL) == STROBE_OK);
  free(saved);

  double out[kSizeQ];
  reference(m, out);
  for (int i = 0; i < kSizeQ; ++i) EXPECT(fabs(out[i] - m->out[i]) <= 1e-6);
  for (int i = 0; i < kSizeQ; i += 7) expect_gradient(m, m->q, m->dq, i);
  for (int i = 0; i < kSizeK; i += 7) expect_gradient(m, m->k, m->dk, i);
  for (int i = 0; i < kSizeK; i += 7) expect_gradient(m, m->v, m->dv, i);
}

static void test_dropout(strobe_context* context, Memory* m) {
  Memory other;
  memcpy(&other, m, sizeof(other));
  strobe_attention a = attention_on(m), b = attention_on(&other);
  a.dropout = b.dropout = 0.5;
  a.dropout_seed = b.dropout_seed = 7;
  EXPECT(strobe_context_set_attention(context, "flash") == STROBE_OK);
  EXPECT(strobe_attention_forward(context, &a, NULL) == STROBE_OK);
  EXPECT(strobe_context_set_attention(context, "standard") == STROBE_OK);
  EXPECT(strobe_attention_forward(context, &b, NULL) == STROBE_OK);
  for (int i = 0; i < kSizeQ; ++i) EXPECT(fabsf(m->out[i] - other.out[i]) <= 1e-6f);
  b.dropout_step = 1; /* drops other elements */
  EXPECT(strobe_attention_forward(context, &b, NULL) == STROBE_OK);
  EXPECT(memcmp(m->out, other.out, sizeof(other.out)) != 0);
}

/* The last query of every sequence, against its keys as a cache. */
static void test_decode(strobe_context* context, Memory* m) {
  const int64_t shape[4] = {kBatch, 1, kHeads, kHeadDim}, batch = kBatch;
  int32_t lengths[kBatch] = {kTimeK, kTimeK};
  float out[kBatch * kHeads * kHeadDim];
  strobe_decode d = strobe_decode_init();
  d.scale = 0.25f;
  d.mask = STROBE_CAUSAL;
  d.q = strobe_tensor_of(m->q + at(kTimeQ, 0, kTimeQ - 1, 0, 0), STROBE_F32, 4, shape);
  d.q.strides[0] = (int64_t)kTimeQ * kHeads * kHeadDim;
  d.k_cache = strobe_tensor_of(m->k, STROBE_F32, 4, kShapeK);
  d.v_cache = strobe_tensor_of(m->v, STROBE_F32, 4, kShapeK);
  d.cache_lengths = strobe_tensor_of(lengths, STROBE_I32, 1, &batch);
  d.out = strobe_tensor_of(out, STROBE_F32, 4, shape);
  EXPECT(strobe_attention_decode(context, &d, NULL) == STROBE_OK);
  double expected[kSizeQ];
  reference(m, expected);
  for (int b = 0; b < kBatch; ++b)
    for (int i = 0; i < kHeads * kHeadDim; ++i)
      EXPECT(fabs(out[b * kHeads * kHeadDim + i] - expected[at(kTimeQ, b, kTimeQ - 1, 0, i)]) <=
             1e-6);
  lengths[1] = kTimeK + 1;
  EXPECT_FAILS(strobe_attention_decode(context, &d, NULL), STROBE_ERROR, "10");
}

/* The bias' gradient: a constant added to a row of scores changes nothing, so each row adds up to 0. */
static void test_bias(strobe_context* context, Memory* m) {
  enum { kScores = kHeads * kTimeQ * kTimeK };
  static float bias[kScores], dbias[kScores];
  const int64_t shape[4] = {1, kHeads, kTimeQ, kTimeK};
  fill(bias, kScores, 5);
  strobe_attention a = attention_on(m);
  a.bias = strobe_tensor_of(bias, STROBE_F32, 4, shape);
  a.dbias = strobe_tensor_of(dbias, STROBE_F32, 4, shape);
  EXPECT(strobe_context_set_attention(context, "standard") == STROBE_OK);
  int64_t bytes = 0;
  EXPECT(strobe_attention_saved_bytes(context, &a, &bytes) == STROBE_OK);
  const int64_t words = (bytes + 3) / 4;
  float* saved = malloc((size_t)bytes + 4);
  a.saved = strobe_tensor_of(saved, STROBE_F32, 1, &words);
  EXPECT(strobe_attention_forward(context, &a, NULL) == STROBE_OK);
  EXPECT(strobe_attention_backward(context, &a, NULL) == STROBE_OK);
  free(saved);
  double largest = 0;
  for (int row = 0; row < kHeads * kTimeQ; ++row) {
    double sum = 0;
    for (int j = 0; j < kTimeK; ++j) {
      sum += dbias[row * kTimeK + j];
      largest = fmax(largest, fabs(dbias[row * kTimeK + j]));
    }
    EXPECT(fabs(sum) <= 1e-5);
  }
  EXPECT(largest > 0.01);
}

static void* expect_no_error(void* unused) {
  EXPECT(strcmp(strobe_last_error(), "") == 0);
  return unused;
}

static void test_errors(strobe_context* context, Memory* m) {
  strobe_context* none = NULL;
  EXPECT_FAILS(strobe_context_create("tpu", &none), STROBE_ERROR, "device is 'tpu'");
  EXPECT_FAILS(strobe_context_create(NULL, &none), STROBE_ERROR, "device is 'NULL'");
  EXPECT_FAILS(strobe_context_create("cuda:99", &none), STROBE_ERROR, "cuda");
  EXPECT_FAILS(strobe_context_create("cpu", NULL), STROBE_ERROR, "context is NULL");
  EXPECT(none == NULL);
  strobe_context_destroy(NULL);
  EXPECT_FAILS(strobe_context_set_attention(context, "quick"), STROBE_ERROR, "'quick'");
  EXPECT_FAILS(strobe_set_threads(0), STROBE_ERROR, "0");

  strobe_attention a = attention_on(m);
  EXPECT_FAILS(strobe_attention_forward(NULL, &a, NULL), STROBE_ERROR, "context is NULL");
  EXPECT_FAILS(strobe_attention_forward(context, NULL, NULL), STROBE_ERROR, "attention is NULL");
  EXPECT_FAILS(strobe_attention_forward(context, &a, m), STROBE_ERROR, "stream");
  EXPECT_FAILS(strobe_attention_saved_bytes(context, &a, NULL), STROBE_ERROR, "bytes is NULL");
  a.mask = 3;
  EXPECT_FAILS(strobe_attention_forward(context, &a, NULL), STROBE_ERROR, "mask is 3");
  a = attention_on(m);
  a.k.shape[2] = 0;
  int64_t bytes = 0;
  EXPECT_FAILS(strobe_attention_workspace_bytes(context, &a, &bytes), STROBE_ERROR, "k has 0 heads");
  a = attention_on(m);
  a.k.shape[3] = 8;
  EXPECT_FAILS(strobe_attention_forward(context, &a, NULL), STROBE_ERROR, "8");
  a = attention_on(m);
  a.v.dtype = 9;
  EXPECT_FAILS(strobe_attention_backward(context, &a, NULL), STROBE_ERROR, "v.dtype is 9");
  a = attention_on(m);
  a.q.rank = 5;
  EXPECT_FAILS(strobe_attention_forward(context, &a, NULL), STROBE_ERROR, "q.rank is 5");
  a = attention_on(m);
  a.out.data = NULL;
  EXPECT_FAILS(strobe_attention_forward(context, &a, NULL), STROBE_ERROR, "out");
  a = attention_on(m);
  a.dropout = 1;
  EXPECT_FAILS(strobe_attention_forward(context, &a, NULL), STROBE_ERROR, "1");
  a = attention_on(m);
  a.struct_size += 1;
  EXPECT_FAILS(strobe_attention_forward(context, &a, NULL), STROBE_ERROR, "struct_size");

  pthread_t thread; /* an error is the thread's own */
  if (pthread_create(&thread, NULL, expect_no_error, NULL) == 0) pthread_join(thread, NULL);
}

/* A program compiled against a version without the fields from `dropout` on. */
static void test_older_struct(strobe_context* context, Memory* m) {
  strobe_attention a = attention_on(m);
  a.struct_size = offsetof(strobe_attention, dropout);
  a.dropout = 0.5; /* what lies behind is not read */
  EXPECT(strobe_context_set_attention(context, "flash") == STROBE_OK);
  EXPECT(strobe_attention_forward(context, &a, NULL) == STROBE_OK);
  double out[kSizeQ];
  reference(m, out);
  for (int i = 0; i < kSizeQ; ++i) EXPECT(fabs(out[i] - m->out[i]) <= 1e-6);
}

int main(void) {
  static Memory memory;
  fill(memory.q, kSizeQ, 1);
  fill(memory.k, kSizeK, 2);
  fill(memory.v, kSizeK, 3);
  fill(memory.dout, kSizeQ, 4);
  strobe_context* context = NULL;
  EXPECT(strcmp(strobe_version(), "") != 0);
  EXPECT(strcmp(strobe_last_error(), "") == 0);
  EXPECT(strobe_context_create("cpu", &context) == STROBE_OK);
  if (context == NULL) return 1;
  EXPECT(strobe_set_threads(2) == STROBE_OK);
  EXPECT(strobe_context_set_deterministic(context, 1) == STROBE_OK);
  test_forward_and_backward(context, &memory, "flash");
  test_forward_and_backward(context, &memory, "standard");
  test_dropout(context, &memory);
  test_bias(context, &memory);
  test_decode(context, &memory);
  test_older_struct(context, &memory);
  test_errors(context, &memory);
  strobe_context_destroy(context);
  printf(failures == 0 ? "all as expected\n" : "%d expectations failed\n", failures);
  return failures != 0;
}
