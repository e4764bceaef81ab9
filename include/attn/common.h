/*
 * attn/common.h - status codes, tensors, and the context that work runs in.
 */
#ifndef ATTN_COMMON_H
#define ATTN_COMMON_H

#include <stddef.h>
#include <stdint.h>

#include "version.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A pointer member of a public struct takes 8 bytes on every platform, so that
 * a struct has the same layout for 32-bit and 64-bit programs.
 */
#if UINTPTR_MAX == 0xffffffffu
#define ATTN_PAD_POINTER(n) uint32_t pad##n;
#else
#define ATTN_PAD_POINTER(n)
#endif

/* ------------------------------------------------------------------ status */

/**
 * Result of a call. The values never change. Every function that can fail returns one,
 * and whatever it returns other than ATTN_OK, attn_last_error() of the same thread says
 * which rule was broken, with the numbers.
 *
 * A failed call has changed nothing, wherever its arguments point, with two exceptions:
 * after ATTN_ERR_CANCELLED the output tensors, gradients and a layer's state hold
 * unspecified values, and functions that create set *plan, *layer or *cache to NULL.
 */
typedef int32_t attn_status;
enum {
    ATTN_OK = 0,
    ATTN_ERR_INVALID = 1,            /* an argument breaks a rule of this header */
    ATTN_ERR_UNSUPPORTED = 2,        /* sensible, but this library cannot do it */
    ATTN_ERR_NOT_DIFFERENTIABLE = 3, /* no gradient exists */
    ATTN_ERR_NO_MEMORY = 4,          /* an allocation failed */
    ATTN_ERR_CANCELLED = 5,          /* should_stop asked to stop */
    ATTN_ERR_IO = 6                  /* a file cannot be read or written, or is torn */
};

/**
 * The name of a status, "ATTN_ERR_INVALID"; "unknown status" for any other. Since
 * 0.1.
 */
ATTN_API const char *attn_status_string(attn_status status);

/**
 * One sentence about the last call that failed on this thread; "" if none has.
 * A call that succeeds leaves it alone. The text stays valid until the next
 * call that fails on the same thread. Since 0.1.
 */
ATTN_API const char *attn_last_error(void);

/* ------------------------------------------------------------------ tensor */

/** Element types. The values never change; 0 is no type. */
enum {
    ATTN_F32 = 1,
    ATTN_F16 = 2,  /* IEEE binary16; storage only, arithmetic is float32 */
    ATTN_BF16 = 3, /* bfloat16; likewise */
    ATTN_BOOL = 4, /* one byte, 0 is false, any other value is true */
    ATTN_I32 = 5,
    ATTN_I64 = 6,
    ATTN_I8 = 7 /* signed byte; keys and values of attn/sdpa.h with scales */
};

/**
 * A view of the caller's memory: never owned, never kept beyond the call it is
 * passed to, but for the parameters of layers. Data of inputs is never written. The
 * layout is frozen. Element (i0, i1, ...) lies at
 *
 *     data + (i0 * stride[0] + i1 * stride[1] + ...) * (size of an element)
 *
 * Strides are free, so (batch, heads, sequence, dim) may lie in memory in any
 * order of the first three. Rules, unless a field says otherwise:
 *   - the last stride is 1 (any value where the last dimension is 0 or 1);
 *   - no stride is negative; the stride of a dimension of size 1 is ignored;
 *   - stride 0 repeats an input; an output must not overlap itself (in order of
 *     their strides, each dimension must step over all of the smaller ones), and its
 *     byte range, first to last element, must not meet that of an input, even if no
 *     element is shared, nor that of another output, except that outputs may share
 *     rows: the same strides from row to row and beyond, and ranges within a row that
 *     do not meet (gradients of query, key and value in one packed array); not those
 *     of layers;
 *   - data is aligned to its element; NULL only if some dimension is 0;
 *   - the reserved words are 0.
 */
typedef struct attn_tensor {
    void *data;
    ATTN_PAD_POINTER(0)
    int64_t shape[6];
    int64_t stride[6]; /* in elements */
    int32_t dtype;     /* ATTN_F32 ... */
    int32_t rank;      /* 1 to 6: entries of shape and stride in use */
    int64_t reserved[2];
} attn_tensor;

/**
 * Fills *tensor with a contiguous view of data (last dimension fastest). For another
 * order in memory, overwrite the strides: (B, H, S, D) stored as (B, S, H, D) has
 *
 *     stride[0] = S * H * D, stride[1] = D, stride[2] = H * D, stride[3] = 1.
 *
 * dtype is one of ATTN_F32 ... ATTN_I8; rank 1 to 6; shape holds rank sizes,
 * each 0 or more, where 0 counts as 1 for the strides and the limit on bytes.
 * ATTN_ERR_INVALID for anything else and where the number of bytes exceeds what
 * ptrdiff_t holds. data is checked by the call it is used in. Since 0.1.
 */
ATTN_API attn_status attn_tensor_init(attn_tensor *tensor, int32_t dtype, int32_t rank,
                                      const int64_t *shape, void *data);

/* ----------------------------------------------------------------- context */

/**
 * Where work runs: threads, memory, instruction set, BLAS policy. Create one
 * per application or one per thread, as you like; nothing is global.
 *
 * The setters must not run at the same time as other calls on the same context, and
 * fail with ATTN_ERR_INVALID once a plan, layer or cache has been made with it or
 * another call has used it. Everything else may be called from any thread at any time.
 * Work of two threads on one context is safe: the one that finds the context's threads
 * busy runs entirely on its own thread, also inside an OpenMP region or a thread pool
 * of the application. However many call, a context starts at most one thread less than
 * attn_context_set_threads() says; a context of one thread starts none.
 */
typedef struct attn_context attn_context;

/**
 * A new context: one thread per processor this process may run on (started
 * when first needed, asleep when idle), memory from malloc, the best kernels
 * of this processor, ATTN_BLAS_SAFE.
 *
 * The environment variable ATTN_ISA (scalar, avx2, avx512, neon, amx), read once, is
 * an upper limit on the kernels used; pieces chooses ATTN_ISA_PIECES. Another text
 * limits nothing, which attn_context_explain() says. ATTN_ERR_NO_MEMORY. Since 0.1.
 */
ATTN_API attn_status attn_context_create(attn_context **context);

/**
 * Gives up the caller's hold on a context. It lives on until the last plan,
 * layer or cache made with it is destroyed. NULL is allowed. Since 0.1.
 */
ATTN_API void attn_context_destroy(attn_context *context);

/**
 * At most this many threads, the caller's included: 1 to 1024, or 0 for one per
 * processor this process may run on. The number of threads never changes a bit
 * of any result. If threads cannot be created, fewer are used. They may run on the
 * processors of the thread whose call creates them. On Linux, unless there are more of
 * them than processors, one that slept where the caller runs is kept off that
 * processor; one that has been given others by somebody else is left alone. Since 0.1.
 */
ATTN_API attn_status attn_context_set_threads(attn_context *context, int32_t threads);

/** One piece of work: run(argument, index) for one index. */
typedef void attn_task(void *argument, int32_t index);

/**
 * Runs task(argument, i) once for every i in 0 <= i < count, in any order, on
 * any threads, at the same time or not, and returns when all are done.
 */
typedef void attn_parallel_for(void *user, int32_t count, attn_task *task,
                               void *argument);

/**
 * Uses the application's threads instead of the context's own. count is never
 * more than the number of threads of attn_context_set_threads(); no task waits
 * for another. parallel_for must be safe to call from every thread that uses the
 * context. NULL goes back to the context's own threads. Since 0.1.
 */
ATTN_API attn_status attn_context_set_parallel_for(attn_context *context,
                                                   attn_parallel_for *parallel_for,
                                                   void *user);

/**
 * bytes (more than 0) of memory aligned to alignment (a power of two, 64 or
 * less), or NULL. Must be safe to call from any thread.
 */
typedef void *attn_allocate(void *user, size_t bytes, size_t alignment);

/** Frees what attn_allocate returned. Never NULL. */
typedef void attn_release(void *user, void *memory);

/**
 * Memory for plans, layers, caches and workspace made with this context. Both functions
 * or, for malloc and free, neither. The context itself and descriptors use malloc.
 * Since 0.1.
 */
ATTN_API attn_status attn_context_set_allocator(attn_context *context,
                                                attn_allocate *allocate,
                                                attn_release *release, void *user);

/**
 * Kernel sets: libattn's own inner loops, written once and built for several
 * instruction sets. The values never change.
 *
 * Tiles of AMX multiply float32 in three pieces of bfloat16, which add up to it (Henry,
 * Tang and Heinecke, 2019): attention of long sequences, forwards, and layers of many
 * rows; numbers stored in BF16 are one piece each. The bound on errors is that of the
 * others, but where query, key, value and out are BF16 (attn/sdpa.h). Linux lets a
 * process use tiles once it has asked for it, which the first context does unless
 * ATTN_ISA is less; after that sigaltstack() refuses stacks without room for tiles,
 * some 12 KB, and where there is a smaller one before, tiles are not used.
 */
enum {
    ATTN_ISA_AUTO = 0,   /* the best that this processor runs */
    ATTN_ISA_SCALAR = 1, /* plain C */
    ATTN_ISA_AVX2 = 2,   /* x86: AVX2, FMA and F16C */
    ATTN_ISA_AVX512 = 3, /* x86: AVX-512 F, BW, DQ, VL */
    ATTN_ISA_NEON = 4,   /* 64-bit ARM */
    ATTN_ISA_AMX = 5,    /* x86: AVX-512, and tiles of AMX */
    ATTN_ISA_PIECES = 6  /* plain C that multiplies as those tiles do, to the bit: for
                            tests where there are none, slower than all others */
};

/**
 * Uses this kernel set. ATTN_ERR_UNSUPPORTED if the processor, the build or
 * ATTN_ISA rules it out. BLAS chooses its own kernels. Since 0.1.
 */
ATTN_API attn_status attn_context_set_isa(attn_context *context, int32_t isa);

/** What libattn may assume of the BLAS library. The values never change. */
enum {
    ATTN_BLAS_SAFE = 0,      /* nothing: products of attention stay so small that
                                the BLAS library computes them in the calling
                                thread, or it is not asked; layers make large
                                ones, see attn/layer.h */
    ATTN_BLAS_SINGLE = 1,    /* the caller promises that BLAS runs with one
                                thread as long as the context lives */
    ATTN_BLAS_SET_SINGLE = 2 /* libattn may set BLAS to one thread, for the
                                whole process; it does so in this call */
};

/**
 * ATTN_BLAS_SAFE is right everywhere. The others allow OpenBLAS larger products,
 * which are faster where it has no kernels for small matrices: on 64-bit ARM, and
 * on x86 with ATTN_ISA_SCALAR. With AVX2 or AVX-512, kernels of our own multiply
 * there, whatever the policy, unless attn_context_tune() finds BLAS to be faster.
 * ATTN_BLAS_SET_SINGLE is ATTN_ERR_UNSUPPORTED where the BLAS in use offers no
 * such setting. The policy is part of what decides the bits of a result. Since
 * 0.1.
 */
ATTN_API attn_status attn_context_set_blas_policy(attn_context *context,
                                                  int32_t policy);

/**
 * Describes the context for people, a "name: value" line each: threads, isa,
 * blas, policy, whether products are reproducible. Works like snprintf: writes
 * at most size bytes with the terminating 0, returns the length of the whole
 * text without it. context may be NULL: a new context's values. Names and
 * order of the lines may grow. Since 0.1.
 */
ATTN_API size_t attn_context_explain(const attn_context *context, char *text,
                                     size_t size);

#ifdef __cplusplus
}
#endif

#endif
