/* Strobe's attention for C, and for every language that can call C: forward, backward and decode on
 * raw pointers with strides. What they compute is defined in strobe/ops/attention/attention.h and
 * docs/attention_forward.md; this header says how they are called.
 *
 *   strobe_context* context = NULL;
 *   strobe_context_create("cpu", &context);
 *   strobe_attention attention = strobe_attention_init();
 *   attention.q = strobe_tensor_of(q, STROBE_F32, 4, shape);
 *   …
 *   if (strobe_attention_forward(context, &attention, NULL) != STROBE_OK)
 *     puts(strobe_last_error());
 *
 * Every function that can fail returns a strobe_status and, unless that is STROBE_OK, leaves one
 * readable line in strobe_last_error(). What a pointer argument points at is written on success
 * only.
 * Structs begin with their size: begin with their _init() value, and a program keeps working with
 * later versions of the library that know more fields.
 */
#ifndef STROBE_C_STROBE_H_
#define STROBE_C_STROBE_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define STROBE_API __attribute__((visibility("default")))
#else
#define STROBE_API
#endif

typedef int32_t strobe_status;
enum {
  STROBE_OK = 0,
  STROBE_ERROR = 1,         /* an argument is wrong, or nothing here can run the problem */
  STROBE_OUT_OF_MEMORY = 2, /* workspace does not fit */
  STROBE_INTERNAL = 3       /* a defect of the library */
};

typedef int32_t strobe_dtype;
enum { STROBE_F32 = 0, STROBE_F16 = 1, STROBE_BF16 = 2, STROBE_I32 = 3 };

typedef int32_t strobe_mask;
enum {
  STROBE_FULL = 0,
  STROBE_CAUSAL = 1, /* aligned with the last key: query i sees keys up to i + Tk - Tq */
  STROBE_WINDOW = 2  /* window_left keys before its own position and window_right after it */
};

/* "0.1.0", and what the last failed call on this thread had to say ("" if none has failed). Both
 * belong to the library; the second lasts until the next failure on the thread. */
STROBE_API const char* strobe_version(void);
STROBE_API const char* strobe_last_error(void);

/* A view of memory that the caller owns. Strides count elements. All zero: absent. */
typedef struct strobe_tensor {
  void* data;
  strobe_dtype dtype;
  int32_t rank;
  int64_t shape[4]; /* outermost first */
  int64_t strides[4];
} strobe_tensor;

/* A row-major tensor of up to 4 dimensions; of a rank outside 0 … 4, an absent one. */
STROBE_API strobe_tensor strobe_tensor_of(void* data, strobe_dtype dtype, int32_t rank,
                                          const int64_t* shape);

/* Where calls run, and the memory they work in, which is kept from call to call. A context is used
 * by one thread at a time; several contexts may be used at once. Calls use many threads inside.
 *
 * On a GPU, all tensors lie in its memory, and calls return once their work is in order on a
 * stream; the caller's current device stays what it is. Calls of one context share its memory:
 * whoever gives them more than one stream has to keep these in order. */
typedef struct strobe_context strobe_context;
STROBE_API strobe_status strobe_context_create(const char* device, /* "cpu", "cuda" or "cuda:N" */
                                               strobe_context** context);
STROBE_API void strobe_context_destroy(strobe_context* context); /* NULL is allowed */
/* Waits for what was put on the context's own stream. */
STROBE_API strobe_status strobe_context_synchronize(strobe_context* context);
/* Not 0: backward gives the same bits each time, where a GPU has a faster way that does not. */
STROBE_API strobe_status strobe_context_set_deterministic(strobe_context* context,
                                                          int32_t is_deterministic);
/* "any" (whatever is faster, as at first), "standard", "flash", or one implementation by name. */
STROBE_API strobe_status strobe_context_set_attention(strobe_context* context, const char* name);
/* Threads of all calls of this process, at least 1. */
STROBE_API strobe_status strobe_set_threads(int32_t threads);

/* The arguments of attention. Absent tensors (all zero) are optional unless a call needs them. The
 * last dimension of every tensor is contiguous; f32, bf16 or (on a GPU) f16, all alike, unless it
 * says otherwise.
 * B sequences, Tq queries and Tk keys, Hq query heads, Hkv key/value heads, D of a head. */
typedef struct strobe_attention {
  size_t struct_size;
  float scale; /* of the scores, usually 1/sqrt(D) */
  strobe_mask mask;
  int64_t window_left, window_right;

  strobe_tensor q;     /* [B, Tq, Hq, D] */
  strobe_tensor k, v;  /* [B, Tk, Hkv, D] */
  strobe_tensor out;   /* [B, Tq, Hq, D]            set by forward, read by backward */
  strobe_tensor lse;   /* [B, Hq, Tq] f32, row-major  set by forward, read by backward */
  strobe_tensor saved; /* f32, strobe_attention_saved_bytes() of memory that forward fills for
                           backward; absent where that is 0 or no backward follows */

  /* i32 [B]: positions outside [begin, end) are padding. Absent: 0 and the length. */
  strobe_tensor key_begin, key_end, query_begin, query_end;
  strobe_tensor bias; /* f32 [B or 1, Hq or 1, Tq or 1, Tk], added to the scaled scores */
  /* Packed sequences, i32 [sequences + 1]: then q is [1, sum of Tq, Hq, D], and so on. */
  strobe_tensor cu_seqlens_q, cu_seqlens_k;

  /* The probability of dropping, in steps of 1/256; 0: no dropout. The same four numbers drop the
   * same elements in forward and backward, on every device. */
  double dropout;
  uint64_t dropout_seed, dropout_step;
  uint32_t dropout_site; /* tells apart the dropouts of one step */

  /* Of backward only. */
  strobe_tensor dout;       /* like out */
  strobe_tensor dq, dk, dv; /* like q, k, v               set */
  strobe_tensor dbias;      /* f32 in the bias' shape, or absent   set */
} strobe_attention;

/* Zero but for struct_size: the scale and the tensors must be set. */
static inline strobe_attention strobe_attention_init(void) {
  strobe_attention attention;
  memset(&attention, 0, sizeof(attention));
  attention.struct_size = sizeof(attention);
  return attention;
}

/* `stream` is a cudaStream_t on a GPU, of its device, or NULL: the context's own. On the CPU it is
 * NULL, and calls return when done. A call may be recorded in a CUDA graph once the same one has
 * run before, so that its memory is there. */
STROBE_API strobe_status strobe_attention_forward(strobe_context* context,
                                                  const strobe_attention* attention, void* stream);
STROBE_API strobe_status strobe_attention_backward(strobe_context* context,
                                                   const strobe_attention* attention, void* stream);

/* How large `saved` must be for a backward to follow; how much of the context's memory a forward
 * and a backward take while they run, at most, beside the scratch of oneDNN and cuBLAS (32 MiB);
 * and the name of what would run, which belongs to the library. They read shapes and options, and
 * cu_seqlens on the CPU; on a GPU they take for packed sequences what the worst lengths would
 * need. */
STROBE_API strobe_status strobe_attention_saved_bytes(strobe_context* context,
                                                      const strobe_attention* attention,
                                                      int64_t* bytes);
STROBE_API strobe_status strobe_attention_workspace_bytes(strobe_context* context,
                                                          const strobe_attention* attention,
                                                          int64_t* bytes);
STROBE_API strobe_status strobe_attention_implementation(strobe_context* context,
                                                         const strobe_attention* attention,
                                                         const char** name);

/* The Tq newest positions of each sequence against its cache of keys and values. */
typedef struct strobe_decode {
  size_t struct_size;
  float scale;
  strobe_mask mask; /* causal or window */
  int64_t window_left, window_right;
  strobe_tensor q; /* [B, Tq, Hq, D] f32, bf16 or (on a GPU) f16 */
  /* [B, capacity, Hkv, D], f32, f16 or bf16 with q in f32, else as q */
  strobe_tensor k_cache, v_cache;
  strobe_tensor cache_lengths; /* i32 [B]: keys of each sequence, the newest Tq included */
  strobe_tensor out;           /* like q                set */
} strobe_decode;
static inline strobe_decode strobe_decode_init(void) {
  strobe_decode decode;
  memset(&decode, 0, sizeof(decode));
  decode.struct_size = sizeof(decode);
  return decode;
}

STROBE_API strobe_status strobe_attention_decode(strobe_context* context,
                                                 const strobe_decode* decode, void* stream);

#ifdef __cplusplus
}
#endif

#endif /* STROBE_C_STROBE_H_ */
