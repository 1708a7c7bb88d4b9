/* The C interface with memory of a GPU: the same results as on the CPU, on the context's own stream
 * and on the caller's. */
#include <cuda_runtime_api.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "strobe/c/strobe.h"
#include "strobe/c/strobe_testing.h"

enum { kBatch = 2, kTime = 70, kHeads = 3, kHeadDim = 64 };
enum { kSize = kBatch * kTime * kHeads * kHeadDim, kRows = kBatch * kHeads * kTime };
enum { kNew = 3, kNewSize = kBatch * kNew * kHeads * kHeadDim }; /* positions that decode adds */

/* q, k, v, out, dout, dq, dk, dv, in either type. */
enum { kQ, kK, kV, kOut, kDout, kDq, kDk, kDv, kTensors };

static const int64_t kShape[4] = {kBatch, kTime, kHeads, kHeadDim};
static const int64_t kLseShape[3] = {kBatch, kHeads, kTime};
static const int64_t kNewShape[4] = {kBatch, kNew, kHeads, kHeadDim}, kLengthsShape[1] = {kBatch};
static int32_t lengths[kBatch] = {kTime, 33};

/* Multiples of 1/64 from -2 to 2: exact in f16. */
static void fill(float* x, unsigned seed) {
  for (int i = 0; i < kSize; ++i) {
    seed = seed * 1664525u + 1013904223u;
    x[i] = (float)((int)(seed >> 24) - 128) / 64.0f;
  }
}

static uint16_t half_of(float exact) {
  uint32_t bits;
  memcpy(&bits, &exact, sizeof(bits));
  if (exact == 0) return 0;
  return (uint16_t)((bits >> 16 & 0x8000u) | (((bits >> 23 & 0xffu) - 112) << 10) |
                    (bits >> 13 & 0x3ffu));
}

static float float_of(uint16_t half) {
  const int exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
  const float size = exponent == 0 ? ldexpf((float)fraction, -24)
                                   : ldexpf((float)(fraction + 1024), exponent - 25);
  return (half & 0x8000) != 0 ? -size : size;
}

static strobe_attention attention_on(void* const* tensors, void* lse, strobe_dtype dtype) {
  strobe_attention a = strobe_attention_init();
  strobe_tensor* const fields[kTensors] = {&a.q, &a.k, &a.v, &a.out, &a.dout, &a.dq, &a.dk, &a.dv};
  for (int t = 0; t < kTensors; ++t) *fields[t] = strobe_tensor_of(tensors[t], dtype, 4, kShape);
  a.lse = strobe_tensor_of(lse, STROBE_F32, 3, kLseShape);
  a.scale = 0.125f;
  a.mask = STROBE_CAUSAL;
  a.dropout = 0.25;
  a.dropout_seed = 7;
  return a;
}

/* The first rows of q against k and v as a cache. */
static strobe_decode decode_on(void* const* tensors, void* cache_lengths, void* out,
                               strobe_dtype dtype) {
  strobe_decode d = strobe_decode_init();
  d.q = strobe_tensor_of(tensors[kQ], dtype, 4, kNewShape);
  d.k_cache = strobe_tensor_of(tensors[kK], dtype, 4, kShape);
  d.v_cache = strobe_tensor_of(tensors[kV], dtype, 4, kShape);
  d.cache_lengths = strobe_tensor_of(cache_lengths, STROBE_I32, 1, kLengthsShape);
  d.out = strobe_tensor_of(out, dtype, 4, kNewShape);
  d.scale = 0.125f;
  d.mask = STROBE_CAUSAL;
  return d;
}

/* All passes on the host: what the GPU is held against. */
static void run_on_cpu(float host[kTensors][kSize], float* lse, float* decoded) {
  strobe_context* context = NULL;
  void* tensors[kTensors];
  for (int t = 0; t < kTensors; ++t) tensors[t] = host[t];
  EXPECT(strobe_context_create("cpu", &context) == STROBE_OK);
  EXPECT(strobe_context_set_attention(context, "flash") == STROBE_OK);
  const strobe_attention a = attention_on(tensors, lse, STROBE_F32);
  EXPECT(strobe_attention_forward(context, &a, NULL) == STROBE_OK);
  EXPECT(strobe_attention_backward(context, &a, NULL) == STROBE_OK);
  const strobe_decode d = decode_on(tensors, lengths, decoded, STROBE_F32);
  EXPECT(strobe_attention_decode(context, &d, NULL) == STROBE_OK);
  strobe_context_destroy(context);
}

static void* device_memory(size_t bytes) {
  void* memory = NULL;
  EXPECT(cudaMalloc(&memory, bytes) == cudaSuccess);
  EXPECT(cudaMemset(memory, 0xff, bytes) == cudaSuccess); /* NaN */
  return memory;
}

static void upload(void* device, const float* host, strobe_dtype dtype) {
  static uint16_t halves[kSize];
  for (int i = 0; i < kSize; ++i) halves[i] = half_of(host[i]);
  const int is_half = dtype == STROBE_F16;
  EXPECT(cudaMemcpy(device, is_half ? (const void*)halves : host,
                    is_half ? sizeof(halves) : kSize * sizeof(float),
                    cudaMemcpyHostToDevice) == cudaSuccess);
}

/* The first `count` elements in the GPU's memory. */
static void expect_near(const void* device, const float* expected, int count, strobe_dtype dtype) {
  const double tolerance = dtype == STROBE_F16 ? 3e-2 : 5e-5;
  static float floats[kSize];
  static uint16_t halves[kSize];
  const int is_half = dtype == STROBE_F16;
  EXPECT(cudaMemcpy(is_half ? (void*)halves : floats, device, (size_t)count * (is_half ? 2 : 4),
                    cudaMemcpyDeviceToHost) == cudaSuccess);
  int wrong = 0;
  for (int i = 0; i < count; ++i) {
    const double actual = is_half ? float_of(halves[i]) : floats[i];
    wrong += !(fabs(actual - expected[i]) <= tolerance);
  }
  EXPECT(wrong == 0);
}

static void wait_for(strobe_context* context, cudaStream_t stream) {
  EXPECT(stream != NULL ? cudaStreamSynchronize(stream) == cudaSuccess
                        : strobe_context_synchronize(context) == STROBE_OK);
}

static void test_passes(strobe_context* context, const char* name, strobe_dtype dtype,
                        float host[kTensors][kSize], cudaStream_t stream) {
  const size_t bytes = kSize * (dtype == STROBE_F16 ? 2 : 4);
  void *tensors[kTensors], *lse = device_memory(kRows * sizeof(float)), *saved = NULL;
  for (int t = 0; t < kTensors; ++t) tensors[t] = device_memory(bytes);
  const int inputs[] = {kQ, kK, kV, kDout};
  for (int i = 0; i < 4; ++i) upload(tensors[inputs[i]], host[inputs[i]], dtype);

  strobe_attention a = attention_on(tensors, lse, dtype);
  int64_t saved_bytes = -1;
  EXPECT(strobe_context_set_attention(context, name) == STROBE_OK);
  const char* implementation = "";
  EXPECT(strobe_attention_implementation(context, &a, &implementation) == STROBE_OK);
  EXPECT(strncmp(implementation, "cuda", 4) == 0);
  EXPECT(strobe_attention_saved_bytes(context, &a, &saved_bytes) == STROBE_OK);
  if (saved_bytes > 0) {
    const int64_t words = (saved_bytes + 3) / 4;
    saved = device_memory((size_t)saved_bytes + 4);
    a.saved = strobe_tensor_of(saved, STROBE_F32, 1, &words);
  }
  EXPECT(cudaDeviceSynchronize() == cudaSuccess);
  EXPECT(strobe_attention_forward(context, &a, stream) == STROBE_OK);
  EXPECT(strobe_attention_backward(context, &a, stream) == STROBE_OK);
  wait_for(context, stream);
  const int outputs[] = {kOut, kDq, kDk, kDv};
  for (int i = 0; i < 4; ++i) expect_near(tensors[outputs[i]], host[outputs[i]], kSize, dtype);

  for (int t = 0; t < kTensors; ++t) cudaFree(tensors[t]);
  cudaFree(lse);
  cudaFree(saved);
}

static void test_decode(strobe_context* context, const char* name, strobe_dtype dtype,
                        float host[kTensors][kSize], const float* decoded, cudaStream_t stream) {
  const size_t element = dtype == STROBE_F16 ? 2 : 4;
  void *tensors[kTensors] = {NULL}, *cache_lengths = device_memory(sizeof(lengths));
  void* out = device_memory(kNewSize * element);
  const int inputs[] = {kQ, kK, kV};
  for (int i = 0; i < 3; ++i) {
    tensors[inputs[i]] = device_memory(kSize * element);
    upload(tensors[inputs[i]], host[inputs[i]], dtype);
  }
  EXPECT(cudaMemcpy(cache_lengths, lengths, sizeof(lengths), cudaMemcpyHostToDevice) ==
         cudaSuccess);
  EXPECT(cudaDeviceSynchronize() == cudaSuccess);
  EXPECT(strobe_context_set_attention(context, name) == STROBE_OK);
  const strobe_decode d = decode_on(tensors, cache_lengths, out, dtype);
  EXPECT(strobe_attention_decode(context, &d, stream) == STROBE_OK);
  wait_for(context, stream);
  expect_near(out, decoded, kNewSize, dtype);

  for (int i = 0; i < 3; ++i) cudaFree(tensors[inputs[i]]);
  cudaFree(cache_lengths);
  cudaFree(out);
}

int main(void) {
  static float host[kTensors][kSize], lse[kRows], decoded[kNewSize];
  strobe_context* context = NULL;
  if (strobe_context_create("cuda", &context) != STROBE_OK) {
    printf("every test was skipped: %s\n", strobe_last_error());
    return 0;
  }
  fill(host[kQ], 1);
  fill(host[kK], 2);
  fill(host[kV], 3);
  fill(host[kDout], 4);
  run_on_cpu(host, lse, decoded);
  cudaStream_t stream = NULL;
  EXPECT(cudaStreamCreate(&stream) == cudaSuccess);
  const char* names[] = {"flash", "standard"};
  for (int i = 0; i < 2; ++i) {
    test_passes(context, names[i], STROBE_F32, host, NULL);
    test_passes(context, names[i], STROBE_F16, host, stream);
    test_decode(context, names[i], STROBE_F32, host, decoded, NULL);
    test_decode(context, names[i], STROBE_F16, host, decoded, stream);
  }
  EXPECT(strobe_context_create("cuda:99", &context) == STROBE_ERROR);
  strobe_context_destroy(context);
  EXPECT(cudaStreamDestroy(stream) == cudaSuccess);
  EXPECT(cudaGetLastError() == cudaSuccess);
  printf(failures == 0 ? "all as expected\n" : "%d expectations failed\n", failures);
  return failures != 0;
}
