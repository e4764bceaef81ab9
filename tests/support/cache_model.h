/*
 * A cache as simple as can be, to compare with: every layer of every sequence has its
 * own array of rows in the bits that attn/cache.h says are stored, and every slot of a
 * sequence the number of the page that it should have.
 */
#ifndef TEST_CACHE_MODEL_H
#define TEST_CACHE_MODEL_H

#include "tests/support/test.h"

/* What a layer keeps of a sequence. */
struct model_rows {
    int64_t first, length;
    unsigned char *data; /* rows of positions first to length */
};

struct cache_model {
    attn_cache_options options;
    int64_t page_rows, pages, slots;
    size_t element;          /* bytes of a stored number */
    size_t row;              /* bytes of a stored row of all heads */
    struct model_rows *rows; /* [layers][sequences] */
    int64_t *page;           /* [sequences][slots]; 0: none */
    int64_t last_page;       /* numbers are given once */
};

void model_open(struct cache_model *model, const attn_cache_options *options);
void model_close(struct cache_model *model);

struct model_rows *model_rows(const struct cache_model *model, int64_t layer,
                              int64_t sequence);

/* Where a head's key (part 0) or value (1) lies in a stored row, and its scale. */
size_t model_at(const struct cache_model *model, int part, int64_t head);
size_t model_scale_at(const struct cache_model *model, int part, int64_t head);

/* Stores a head's key or value: what numbers of this type, given as bits, become. */
void model_store(const struct cache_model *model, unsigned char *row, int part,
                 int64_t head, int32_t dtype, const uint32_t *bits);

/* Bytes of all pages by the layout: parts of layers are multiples of 64. */
int64_t model_bytes(const struct cache_model *model);

int64_t model_free_pages(const struct cache_model *model);

/* Gives a sequence pages of its own for n more rows of a layer. They may be more than
 * there are: see model_free_pages(), and copy model->page to take it back. */
void model_touch(struct cache_model *model, int64_t layer, int64_t sequence, int64_t n);

/* Appends n stored rows. */
void model_append(struct cache_model *model, int64_t layer, int64_t sequence,
                  const unsigned char *rows, int64_t n);
void model_keep(struct cache_model *model, int64_t layer, int64_t sequence,
                int64_t first, int64_t length);
/* Takes pages away from where nothing is kept any more. */
void model_trim(struct cache_model *model, int64_t sequence);
/* Gives it pages, of its own, where it keeps something and has none. */
void model_place(struct cache_model *model, int64_t sequence);
/* With data of its own. */
struct model_rows model_copy(const struct cache_model *model,
                             const struct model_rows *rows);
void model_fork(struct cache_model *model, int64_t from, int64_t to);

#endif
