/*
 * Tensors by name, with random numbers in them.
 */
#include "tests/support/layer_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/layout.h"

int layer_is_sequence(const char *name) {
    return strcmp(name, "input") == 0 || strcmp(name, "key") == 0 ||
           strcmp(name, "value") == 0;
}

void *layer_place(attn_tensor *tensor, int plain, int how, struct random *random) {
    const int32_t last = tensor->rank - 1;
    int32_t order[] = {last, last - 1, last - 2, last - 3, last - 4};
    int64_t stride = 1;
    if (how != LAYER_TABLE && tensor->rank == 3 && !plain &&
        random_percent(random, 40)) {
        order[1] = 0;
        order[2] = 1;
    }
    for (int32_t d = 0; d < tensor->rank; d++) {
        tensor->stride[order[d]] = stride;
        stride *= tensor->shape[order[d]] > 0 ? tensor->shape[order[d]] : 1;
        stride +=
            !plain && random_percent(random, 25) ? random_between(random, 1, 5) : 0;
    }
    if (how == LAYER_REPEATED && !plain && random_percent(random, 12)) {
        tensor->stride[random_between(random, 0, 1)] = 0;
    }
    return layout_place(tensor, random);
}

static struct layer_tensor *add(struct layer_call *call, struct random *random,
                                const char *prefix, const char *name,
                                const attn_tensor *shape, int how) {
    assert_true(call->tensors < LAYER_TENSORS);
    struct layer_tensor *t = &call->tensor[call->tensors++];
    *t = (struct layer_tensor){.tensor = *shape};
    snprintf(t->name, sizeof t->name, "%s%s", prefix, name);
    t->block[0] = layer_place(&t->tensor, call->problem.plain, how, random);
    return t;
}

struct layer_tensor *layer_add(struct layer_call *call, struct random *random,
                               const char *prefix, const char *name, int32_t rank,
                               int64_t n0, int64_t n1, int64_t n2, int64_t n3,
                               double size) {
    const attn_tensor shape = {
        .dtype = ATTN_F32, .rank = rank, .shape = {n0, n1, n2, n3, 0, 0}};
    struct layer_tensor *t =
        add(call, random, prefix, name, &shape,
            layer_is_sequence(name) ? LAYER_REPEATED : LAYER_TABLE);
    for (int64_t n = 0; n < element_count(&t->tensor); n++) {
        *(float *)element_nth(&t->tensor, n) = (float)size * random_float(random);
    }
    return t;
}

struct layer_tensor *layer_add_integers(struct layer_call *call, struct random *random,
                                        const char *prefix, const char *name,
                                        int32_t dtype, int32_t rank, int64_t n0,
                                        int64_t n1, int64_t n2, int64_t n3,
                                        int64_t least, int64_t most) {
    const attn_tensor shape = {
        .dtype = dtype, .rank = rank, .shape = {n0, n1, n2, n3, 0, 0}};
    struct layer_tensor *t = add(call, random, prefix, name, &shape, LAYER_TABLE);
    for (int64_t n = 0; n < element_count(&t->tensor); n++) {
        const int64_t value = random_between(random, least, most);
        void *element = element_nth(&t->tensor, n);
        if (dtype == ATTN_BOOL) {
            *(uint8_t *)element = value > 0;
        } else if (dtype == ATTN_I64) {
            *(int64_t *)element = value;
        } else {
            *(int32_t *)element = (int32_t)value;
        }
    }
    return t;
}

/* -------------------------------------------------------- inputs of attention */

int layer_tables_are_parameters(const struct layer_attention *attention) {
    return attention->options.relative == 1;
}

static int32_t integers(struct random *random) {
    return random_percent(random, 50) ? ATTN_I32 : ATTN_I64;
}

/* A mask or a bias, of one of the shapes that broadcast. */
static void add_of_shape(struct layer_call *call, struct random *random,
                         const char *prefix, const char *name, int shape, int64_t heads,
                         int64_t keys) {
    const int64_t batch = call->problem.batch, rows = call->problem.q_length;
    const int64_t shapes[LAYER_SHAPES][4] = {{0, 0, 0, 0},
                                             {batch, heads, rows, keys},
                                             {1, heads, rows, keys},
                                             {rows, keys, 0, 0},
                                             {batch, 1, 1, keys}};
    const int64_t *n = shapes[shape];
    const int32_t rank = shape == LAYER_OF_ROW ? 2 : 4;
    if (strcmp(name, "mask") == 0) {
        layer_add_integers(call, random, prefix, name, ATTN_BOOL, rank, n[0], n[1],
                           n[2], n[3], -1, 2);
    } else {
        layer_add(call, random, prefix, name, rank, n[0], n[1], n[2], n[3], 1);
    }
}

static void add_lengths(struct layer_call *call, struct random *random,
                        const struct layer_attention *attention, const char *prefix,
                        int64_t keys) {
    const int64_t batch = call->problem.batch, rows = call->problem.q_length;
    if (attention->q_lengths) {
        layer_add_integers(call, random, prefix, "q_lengths", integers(random), 1,
                           batch, 0, 0, 0, 0, rows);
    }
    if (attention->kv_lengths) {
        layer_add_integers(call, random, prefix, "kv_lengths", integers(random), 1,
                           batch, 0, 0, 0, 0, keys);
    }
    if (attention->align == ATTN_ALIGN_OFFSETS) {
        layer_add_integers(call, random, prefix, "query_offsets", integers(random), 1,
                           batch, 0, 0, 0, -2, 3);
    }
}

/* Tables of relative positions and segments that are inputs. */
static void add_tables(struct layer_call *call, struct random *random,
                       const struct layer_attention *attention, const char *prefix) {
    const struct layer_sizes n = layer_sizes(&attention->options);
    if (attention->relative_keys) {
        const int64_t rows = attention->zero_row + 1 + attention->rows_after;
        const int shared = random_percent(random, 50);
        layer_add(call, random, prefix, "relative_keys", shared ? 2 : 3,
                  shared ? rows : n.heads, shared ? n.key_dim : rows, n.key_dim, 0, 1);
    }
    if (attention->content) {
        layer_add(call, random, prefix, "content_bias", 2, n.heads, n.key_dim, 0, 0, 1);
    }
    if (attention->position) {
        layer_add(call, random, prefix, "position_bias", 2, n.heads, n.key_dim, 0, 0,
                  1);
    }
    if (attention->segments) {
        layer_add(call, random, prefix, "segment_keys", 3, 2, n.heads, n.key_dim, 0, 1);
        if (random_percent(random, 60)) {
            layer_add(call, random, prefix, "segment_bias", 2, n.heads, n.key_dim, 0, 0,
                      1);
        }
    }
}

void layer_add_inputs(struct layer_call *call, struct random *random,
                      const struct layer_attention *attention, const char *prefix,
                      int64_t keys) {
    const struct layer_sizes n = layer_sizes(&attention->options);
    const int64_t batch = call->problem.batch, rows = call->problem.q_length;
    add_lengths(call, random, attention, prefix, keys);
    if (attention->mask != LAYER_OF_NOTHING) {
        add_of_shape(call, random, prefix, "mask", attention->mask, n.heads, keys);
    }
    if (attention->bias != LAYER_OF_NOTHING) {
        add_of_shape(call, random, prefix, "bias", attention->bias, n.heads, keys);
    }
    if (attention->alibi) {
        const int of_batch = random_percent(random, 50);
        layer_add(call, random, prefix, "alibi_slopes", of_batch ? 2 : 1,
                  of_batch ? batch : n.heads, n.heads, 0, 0, 0.5);
    }
    if (attention->sinks) {
        layer_add(call, random, prefix, "sinks", 1, n.heads, 0, 0, 0, 1);
    }
    if (attention->buckets > 0) {
        layer_add(call, random, prefix, "relative_bias", 2, attention->buckets, n.heads,
                  0, 0, 1);
    }
    if (attention->segments) {
        const int one = random_percent(random, 50);
        layer_add_integers(call, random, prefix, "q_segments", integers(random), 2,
                           one ? 1 : batch, rows, 0, 0, 0, 1);
        layer_add_integers(call, random, prefix, "k_segments", integers(random), 2,
                           batch, keys, 0, 0, 0, 1);
    }
    if (!layer_tables_are_parameters(attention)) {
        add_tables(call, random, attention, prefix);
    }
}
