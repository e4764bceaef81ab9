/*
 * The cache: keys and values of sequences, in pages.
 *
 * A page has room for the keys and values of all layers at page_rows positions. The
 * rows of a head lie in blocks there (kernel/block.h): tokens are written one by one
 * and read by the thousand.
 *
 * A sequence has `slots` places for pages, in which its positions go round: position p
 * lies in slot p / page_rows % slots, in row p % page_rows of the page there. What a
 * layer keeps are the positions of one range of at most `capacity` <= slots *
 * page_rows, so no two of them meet, whatever was forgotten before them and however far
 * other layers are ahead. A contiguous cache has one slot for each sequence and as many
 * pages as sequences; nothing else sets it apart.
 *
 * The table of a sequence lists its slots twice: the range, wherever it starts, is a
 * row of entries then, which is what struct source of core/source.h wants.
 *
 * A page may be in the slots of several sequences, always in the same slot. Who writes
 * to one that others have copies what it keeps there first.
 */
#ifndef ATTN_CACHE_CACHE_H
#define ATTN_CACHE_CACHE_H

#include "attn/cache.h"
#include "core/call.h"
#include "exec/context.h"
#include "kernel/kernel.h"

/* Positions and lengths, 0 to this: no tensor has more rows. */
#define LENGTH_MAX (INT64_C(1) << 53)

enum { KEYS, VALUES, PARTS };

/* Keys or values of one layer: where they start in the layer's share of a page. */
struct part {
    int32_t dim;
    enum order order; /* of the blocks of a head's rows */
    int64_t rows;     /* [kv_heads][page_rows, dim] numbers */
    int64_t scales;   /* of int8: [kv_heads][page_rows] floats */
};

struct page {
    int64_t owners;  /* sequences that have it */
    int64_t writers; /* of one append; 0 between calls */
};

struct attn_cache {
    struct attn_context *context;
    const struct kernels *kernels;
    int32_t layers, kv_heads, dtype;
    bool ring;
    int64_t sequences, capacity;
    int64_t page_rows, pages;
    int64_t slots; /* of a sequence */
    struct part part[PARTS];
    int64_t layer_bytes, page_bytes; /* multiples of MEM_ALIGNMENT */
    char *pool;                      /* all pages */
    /*
     * Of every layer, of every sequence and one that helps to reorder them. Where they
     * and the tables lie never changes: struct cached points to them.
     */
    struct kept *kept;
    int32_t *tables; /* 2 * slots for each sequence; -1: no page */
    struct page *page;
    int32_t *free_list; /* the last is taken first */
    int64_t free_pages;
    int64_t *marks;  /* one a sequence, for the call that runs; 0 between calls */
    float *scratch;  /* rows on their way from one type to another */
    char *converted; /* those that got there; as large */
    int64_t scratch_floats;
};

/* What a layer keeps of a sequence. position + rows is its length. */
static inline struct kept *kept_of(const struct attn_cache *cache, int64_t layer,
                                   int64_t sequence) {
    return &cache->kept[layer * (cache->sequences + 1) + sequence];
}

static inline int64_t length_of(const struct kept *kept) {
    return kept->position + kept->rows;
}

static inline int32_t *table_of(const struct attn_cache *cache, int64_t sequence) {
    return cache->tables + sequence * 2 * cache->slots;
}

/* The rows of a head of a layer's keys or values in a page; they lie in blocks. */
static inline char *blocks_at(const struct attn_cache *cache, int64_t page,
                              int64_t layer, const struct part *part, int64_t head) {
    return cache->pool + page * cache->page_bytes + layer * cache->layer_bytes +
           part->rows +
           head * cache->page_rows * part->dim * source_bytes(cache->dtype);
}

static inline float *scales_at(const struct attn_cache *cache, int64_t page,
                               int64_t layer, const struct part *part, int64_t head,
                               int64_t row) {
    char *scales = cache->pool + page * cache->page_bytes + layer * cache->layer_bytes +
                   part->scales;
    return (float *)(void *)scales + head * cache->page_rows + row;
}

/* Positions that follow each other in one page. */
struct stretch {
    int64_t slot, row, rows;
};

/* The first of the stretches that positions `begin` to `end` consist of. */
static inline struct stretch stretch_at(const struct attn_cache *cache, int64_t begin,
                                        int64_t end) {
    const int64_t row = begin % cache->page_rows, left = cache->page_rows - row;
    return (struct stretch){
        .slot = begin / cache->page_rows % cache->slots,
        .row = row,
        .rows = end - begin < left ? end - begin : left,
    };
}

/*
 * Makes *cache ready, in place, but for its hold on the context: everything is
 * allocated, and attn_cache_clear() frees it, also after a failure.
 */
attn_status attn_cache_setup(struct attn_cache *cache, struct attn_context *context,
                             const attn_cache_options *options);
void attn_cache_clear(struct attn_cache *cache);

/* Fills in what the cache keeps of a layer; it stays true when the cache changes. */
attn_status attn_cache_view(const struct attn_cache *cache, int32_t layer,
                            struct cached *cached);

/* Fails unless there is such a sequence, which a message calls `name`. */
attn_status attn_cache_check_sequence(const struct attn_cache *cache, int64_t sequence,
                                      const char *name);

/* Says that a layer keeps positions `begin` to `end`, and that `end` is its length. */
void attn_kept_set(struct attn_cache *cache, int64_t layer, int64_t sequence,
                   int64_t begin, int64_t end);

/* The arguments of attn_cache_append(), each checked for itself. */
struct append {
    const struct attn_cache *cache;
    int32_t layer;
    int64_t batch;
    int64_t rows;            /* of the tensors: of a sequence, or packed of all */
    struct view part[PARTS]; /* key, value */
    struct integers sequences, lengths, starts; /* without data: not there */
};

attn_status attn_cache_run_append(struct attn_cache *cache,
                                  const struct append *append);

attn_status attn_cache_run_truncate(struct attn_cache *cache, int64_t sequence,
                                    int64_t length);
attn_status attn_cache_run_evict(struct attn_cache *cache, int64_t sequence,
                                 int64_t first);

/* A sequence as new. */
void attn_cache_run_clear(struct attn_cache *cache, int64_t sequence);

/* Makes `to` what `from` is. */
void attn_cache_run_fork(struct attn_cache *cache, int64_t from, int64_t to);

/* Parents are sequences of the cache. */
void attn_cache_run_reorder(struct attn_cache *cache, const struct integers *parents);

attn_status attn_cache_run_save(const struct attn_cache *cache, int64_t sequence,
                                const char *path);
attn_status attn_cache_run_load(struct attn_cache *cache, int64_t sequence,
                                const char *path);

#endif
