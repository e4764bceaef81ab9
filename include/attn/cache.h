/*
 * attn/cache.h - keys and values that stay, for inference one token at a time.
 *
 * A cache keeps the keys and values of sequences that grow, for all layers of a model.
 * A step of a layer is attn_cache_append() with the new tokens' keys and values, then
 * attn_plan_forward() with the cache in place of key and value (attn/sdpa.h). Prompts
 * (many tokens at once) and single tokens are the same step.
 *
 * The keys lie in pages, each with room for some tokens in all layers. Either each
 * sequence has one page, as long as its capacity (page_keys 0: contiguous), or all take
 * small pages from one pool as they grow (paged; Kwon et al. 2023, PagedAttention).
 * Sequences may have pages in common: attn_cache_fork() copies nothing, and who writes
 * into a shared page first gets one of its own, with a copy of what it keeps there. A
 * ring forgets: what is appended beyond the capacity takes the place of the oldest
 * keys.
 *
 * In each layer a sequence has a length, the number of tokens that were appended to it,
 * and a first key that it still keeps. Positions count from the first token that was
 * ever appended, so they stay as they are whatever is forgotten.
 *
 * Calls that read one cache, attn_plan_forward() among them, may run at the same time.
 * Those that change it (append, truncate, evict, fork, reorder, load, destroy) need it
 * alone. A call that fails changes nothing.
 */
#ifndef ATTN_CACHE_H
#define ATTN_CACHE_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct attn_cache attn_cache;

/** What a cache is for. Set up with attn_cache_options_init(), then fill in. */
typedef struct attn_cache_options {
    int64_t size; /* sizeof(attn_cache_options) as the caller knows it */

    int32_t layers;    /* 1 or more; set to 1 by attn_cache_options_init() */
    int32_t kv_heads;  /* 1 or more */
    int32_t key_dim;   /* 1 to 65536 */
    int32_t value_dim; /* 1 to 65536 */
    /* how numbers are stored: ATTN_F32, ATTN_F16, ATTN_BF16, or ATTN_I8 with a scale
     * for each key and head: the largest number of the row / 127, but 2^-126 at least,
     * and so rounded that 127 times it is finite; set to ATTN_F32 by init */
    int32_t dtype;
    /* 1: at the capacity, the oldest keys make room; 0: an error. They go when tokens
     * are appended, before the attention of that step. So a step of a window of w keys,
     * the query's own included (attn_desc_set_window(desc, w - 1, 0)), appends at most
     * capacity - w + 1 tokens, and a longer prompt goes in several steps. */
    int32_t ring;
    int64_t sequences; /* 1 to 2^31 - 1 */
    int64_t capacity;  /* the most keys that a layer keeps of a sequence, 1 to 2^53 */
    int64_t page_keys; /* 0: contiguous; else keys of a page, 1 to capacity */
    /* of all sequences together, if page_keys is not 0: 1 to 2^31 - 1; else 0. A
     * sequence never has more than capacity / page_keys of them, rounded up. */
    int64_t pages;
} attn_cache_options;

/** As attn_forward_args_init() does it; layers 1, dtype ATTN_F32, else zero. Since 0.1.
 */
ATTN_API attn_status attn_cache_options_init(attn_cache_options *options, size_t size);

/**
 * A cache of empty sequences. Its memory comes from the context, at once and whole:
 * what attn_cache_bytes() says, and some bytes for each page and sequence. Pages are
 * taken from the first on; where memory comes from malloc, most systems provide it only
 * when it is touched, and are asked for huge pages. The cache keeps the context alive.
 * ATTN_ERR_INVALID, ATTN_ERR_NO_MEMORY; *cache is NULL then. Since 0.1.
 */
ATTN_API attn_status attn_cache_create(attn_cache **cache, attn_context *context,
                                       const attn_cache_options *options);

/** NULL is allowed. No call may be reading the cache. Since 0.1. */
ATTN_API void attn_cache_destroy(attn_cache *cache);

/**
 * What one call appends. Set up with attn_append_args_init(), then fill in. The forward
 * call after it gets the same sequences, and lengths as q_lengths or starts as
 * q_starts. Where positions are rotated (attn/rotary.h), keys are so before they are
 * appended.
 */
typedef struct attn_append_args {
    int64_t size;           /* sizeof(attn_append_args) as the caller knows it */
    int32_t layer;          /* 0 to layers - 1 */
    int32_t reserved;       /* 0 */
    const attn_tensor *key; /* F32, F16 or BF16 (B, Hkv, n, D), or (1, Hkv, rows, D) */
    ATTN_PAD_POINTER(0)
    const attn_tensor *value; /* likewise (B, Hkv, n, Dv), or (1, Hkv, rows, Dv) */
    ATTN_PAD_POINTER(1)
    const attn_tensor *sequences; /* I32 or I64 (B), each once; NULL: b */
    ATTN_PAD_POINTER(2)
    const attn_tensor *lengths; /* I32 or I64 (B), 0 to n: rows that count; NULL: n,
                                   or what starts says */
    ATTN_PAD_POINTER(3)
    const attn_tensor *starts; /* I32 or I64 (B + 1), ascending: the rows are packed, as
                                  in attn_desc_set_packed(); NULL: they are not */
    ATTN_PAD_POINTER(4)
} attn_append_args;

ATTN_API attn_status attn_append_args_init(attn_append_args *args, size_t size);

/**
 * Appends keys and values to sequences of one layer: the rows of batch element b to
 * sequence sequences[b]. Numbers are converted to the cache's type, rounded to nearest
 * even; of I8, a row with NaN or infinity reads as NaN. Rows that do not count are not
 * read, nor are those that a ring forgets at once. key and value must not lie in the
 * cache's own memory.
 *
 * Layers grow one after the other: within a step each may be at another length. A page
 * has room for all layers, so of a step only the first layer can lack pages. If the
 * forward call fails that was to follow, attn_cache_truncate() to the length before
 * takes the step back, but for what a ring has forgotten.
 *
 * ATTN_ERR_INVALID: also where a sequence would keep more keys than its capacity (and
 * the cache is no ring), or where there are not enough free pages, for new keys and for
 * the copies of pages that are shared; the message says how many there are. A
 * contiguous cache has always enough of them. ATTN_ERR_UNSUPPORTED: a reserved word is
 * not 0. Since 0.1.
 */
ATTN_API attn_status attn_cache_append(attn_cache *cache, const attn_append_args *args);

/** Tokens appended to a sequence of a layer, forgotten ones included; -1 if there is no
 * such layer or sequence. Since 0.1. */
ATTN_API int64_t attn_cache_length(const attn_cache *cache, int32_t layer,
                                   int64_t sequence);

/** The position of the oldest key that is kept; the length if none is; -1 if there is
 * no such layer or sequence. Since 0.1. */
ATTN_API int64_t attn_cache_first(const attn_cache *cache, int32_t layer,
                                  int64_t sequence);

/**
 * Shortens a sequence to `length` tokens, in all layers, taking back the last ones
 * (those that speculative decoding refused, say); no layer is longer afterwards. With 0
 * the sequence is empty, and as new. ATTN_ERR_INVALID: a length that is negative,
 * beyond that of every layer, or not 0 and below the first key of some layer, since
 * what is forgotten does not come back. Since 0.1.
 */
ATTN_API attn_status attn_cache_truncate(attn_cache *cache, int64_t sequence,
                                         int64_t length);

/**
 * Forgets the keys of a sequence before this position, in all layers, and frees the
 * pages that nothing else needs. first is 0 up to the length of the shortest layer;
 * where a layer has forgotten more, that stays. ATTN_ERR_INVALID. Since 0.1.
 */
ATTN_API attn_status attn_cache_evict(attn_cache *cache, int64_t sequence,
                                      int64_t first);

/**
 * Makes sequence `to` what sequence `from` is; what `to` was is forgotten. Pages are
 * shared until one of them writes. If both are the same, nothing happens.
 * ATTN_ERR_INVALID. Since 0.1.
 */
ATTN_API attn_status attn_cache_fork(attn_cache *cache, int64_t from, int64_t to);

/**
 * Makes sequence i what sequence parents[i] was, for all at once (beam search).
 * parents: I32 or I64 (sequences of the cache), each a sequence of the cache.
 * ATTN_ERR_INVALID. Since 0.1.
 */
ATTN_API attn_status attn_cache_reorder(attn_cache *cache, const attn_tensor *parents);

/** Bytes of keys, values and scales that the cache has room for, and of them, in *used
 * (may be NULL), those of pages that hold something. 0 for NULL. Since 0.1. */
ATTN_API size_t attn_cache_bytes(const attn_cache *cache, size_t *used);

/** Pages that no sequence has, of as many as there are sequences in a contiguous cache;
 * 0 for NULL. Since 0.1. */
ATTN_API int64_t attn_cache_free_pages(const attn_cache *cache);

/**
 * Writes what is kept of a sequence to a file: the state after a prompt, say. All
 * layers must have the same length, which they have between steps. The file appears
 * whole or not at all: it is written beside `path`, to a name that starts with it and
 * ends with ".tmp", and renamed; what was at `path` stays until then. ATTN_ERR_IO with
 * the system's reason, ATTN_ERR_INVALID, ATTN_ERR_NO_MEMORY. Since 0.1.
 */
ATTN_API attn_status attn_cache_save(const attn_cache *cache, int64_t sequence,
                                     const char *path);

/**
 * Reads such a file into a sequence that is empty: it has length 0 in all layers. The
 * sequence is then what the saved one was, first keys and positions too. Layers, heads,
 * dims and type must be those of the cache; its kind may be another, and its capacity
 * and free pages must be enough for the keys that the file has. Nothing in the file is
 * believed before a checksum says that it is as it was written.
 *
 * ATTN_ERR_IO: the file cannot be read, is torn, or was changed; ATTN_ERR_INVALID: it
 * is no such file, is of another shape, or there is no room; ATTN_ERR_UNSUPPORTED: a
 * later version of libattn wrote it; ATTN_ERR_NO_MEMORY. The sequence is empty then.
 * Since 0.1.
 */
ATTN_API attn_status attn_cache_load(attn_cache *cache, int64_t sequence,
                                     const char *path);

#ifdef __cplusplus
}
#endif

#endif
