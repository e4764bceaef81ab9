/*
 * Arguments of an append, in the order of the table below, and the parents of a
 * reordering. Key gives the sizes that the cache does not.
 */
#include "api/cache_bind.h"

#include "base/status.h"
#include "desc/binding.h"

/* Tables as in desc/binding.h, but views are members of struct bound. Of the letters, b
 * is the number of sequences, c the batch of key, j its rows and a all sequences. */
struct bound {
    struct append append;
    struct integers parents;
    bool packed;
};

#define TENSOR(member, view, axes, dtype, ...)                                         \
    ROW_IN(attn_append_args, struct bound, member, append.view, axes, 0, dtype,        \
           __VA_ARGS__)

static const struct row tensors[] = {
    TENSOR(key, part[KEYS], "cgjd", ATTN_F32 | ALSO_HALVES, BATCH, HEAD, ROW, COLUMN),
    TENSOR(value, part[VALUES], "cgjv", ATTN_F32 | ALSO_HALVES, BATCH, HEAD, ROW,
           COLUMN),
    TENSOR(sequences, sequences, "b", ATTN_I32, BATCH),
    TENSOR(lengths, lengths, "b", ATTN_I32, BATCH),
    TENSOR(starts, starts, "s", ATTN_I32, BATCH),
};

/* What attn_cache_reorder() is given, as a struct of arguments. */
struct reorder_args {
    const attn_tensor *parents;
};
static const struct row parents_row = ROW_IN(struct reorder_args, struct bound, parents,
                                             parents, "a", 0, ATTN_I32, BATCH);

struct axis {
    int64_t size;
    const char *what;
};

static struct axis axis_of(const struct bound *bound, char letter) {
    const struct attn_cache *cache = bound->append.cache;
    switch (letter) {
    case 'a':
        return (struct axis){cache->sequences, "the sequences of the cache"};
    case 'b':
        return (struct axis){bound->append.batch, "the number of sequences"};
    case 'c':
        return bound->packed ? (struct axis){1, "starts is given"}
                             : (struct axis){bound->append.batch, "the batch of key"};
    case 's':
        return (struct axis){bound->append.batch + 1, "the number of sequences and 1"};
    case 'g':
        return (struct axis){cache->kv_heads, "the heads of the cache"};
    case 'j':
        return (struct axis){bound->append.rows, "the rows of key"};
    case 'd':
        return (struct axis){cache->part[KEYS].dim, "the key_dim of the cache"};
    default:
        return (struct axis){cache->part[VALUES].dim, "the value_dim of the cache"};
    }
}

static int64_t axis_size(const void *views, char letter) {
    return axis_of(views, letter).size;
}

static attn_status check_rank(const attn_tensor *tensor, const char *name, int rank) {
    REQUIRE(tensor->rank == rank, ATTN_ERR_INVALID, "%s has rank %d, should be %d",
            name, (int)tensor->rank, rank);
    return ATTN_OK;
}

/* Looks at shapes before attn_tensor_check() does: the axes there are those of
 * attention, and have its names. */
static attn_status bind(struct binding *binding, const void *args,
                        const struct row *row) {
    const attn_tensor *tensor = attn_bind_tensor(args, row);
    const int rank = row->rank;
    if (tensor == NULL) {
        return ATTN_OK;
    }
    TRY(check_rank(tensor, row->name, rank));
    for (int i = 0; i < rank; i++) {
        const struct axis axis = axis_of(binding->views, row->axes[i]);
        REQUIRE(tensor->shape[i] == axis.size, ATTN_ERR_INVALID,
                "%s has size %lld in dimension %d, should be %lld: %s", row->name,
                (long long)tensor->shape[i], i, (long long)axis.size, axis.what);
    }
    return attn_bind_input(binding, args, row);
}

/* Batch and rows, with the facts that are not tensors. */
static attn_status take_sizes(struct bound *bound, const attn_append_args *args) {
    struct append *append = &bound->append;
    const struct attn_cache *cache = append->cache;
    REQUIRE(args->layer >= 0 && args->layer < cache->layers, ATTN_ERR_INVALID,
            "layer is %d, but the cache has %d layers", (int)args->layer,
            (int)cache->layers);
    REQUIRE(args->reserved == 0, ATTN_ERR_UNSUPPORTED, "reserved is %d, should be 0",
            (int)args->reserved);
    REQUIRE(args->key != NULL && args->value != NULL, ATTN_ERR_INVALID, "%s is missing",
            args->key == NULL ? "key" : "value");
    REQUIRE(args->lengths == NULL || args->starts == NULL, ATTN_ERR_INVALID,
            "lengths and starts are both given");
    TRY(check_rank(args->key, "key", 4));
    append->layer = args->layer;
    append->rows = args->key->shape[2];
    append->batch = args->key->shape[0];
    bound->packed = args->starts != NULL;
    if (bound->packed) {
        TRY(check_rank(args->starts, "starts", 1));
        REQUIRE(args->starts->shape[0] > 0, ATTN_ERR_INVALID,
                "starts is empty: it has one number more than there are sequences");
        append->batch = args->starts->shape[0] - 1;
    }
    REQUIRE(append->batch <= cache->sequences, ATTN_ERR_INVALID,
            "keys are given for %lld sequences, but the cache has %lld",
            (long long)append->batch, (long long)cache->sequences);
    return ATTN_OK;
}

/* How many rows go to each sequence. */
static attn_status check_values(const struct append *append) {
    const struct integers *starts = &append->starts, *lengths = &append->lengths;
    for (int64_t b = 0; lengths->data != NULL && b < append->batch; b++) {
        const int64_t length = integer_at(lengths, b, 0);
        REQUIRE(length >= 0 && length <= append->rows, ATTN_ERR_INVALID,
                "lengths[%lld] is %lld, which is not within 0 to %lld, the rows of key",
                (long long)b, (long long)length, (long long)append->rows);
    }
    int64_t longest;
    return starts->data == NULL ? ATTN_OK
                                : attn_check_starts(starts, "starts", append->batch,
                                                    append->rows, &longest);
}

attn_status attn_append_bind(struct append *append, const struct attn_cache *cache,
                             const attn_append_args *args) {
    struct bound bound = {.append = {.cache = cache}};
    struct binding binding;
    attn_binding_start(&binding, &bound, axis_size);
    TRY(take_sizes(&bound, args));
    for (size_t i = 0; i < COUNT_OF(tensors); i++) {
        TRY(bind(&binding, args, &tensors[i]));
    }
    TRY(check_values(&bound.append));
    *append = bound.append;
    return ATTN_OK;
}

attn_status attn_parents_bind(struct integers *integers, const struct attn_cache *cache,
                              const attn_tensor *parents) {
    struct bound bound = {.append = {.cache = cache}};
    struct binding binding;
    attn_binding_start(&binding, &bound, axis_size);
    const struct reorder_args args = {parents};
    TRY(bind(&binding, &args, &parents_row));
    for (int64_t s = 0; bound.parents.data != NULL && s < cache->sequences; s++) {
        const int64_t parent = integer_at(&bound.parents, s, 0);
        REQUIRE(parent >= 0 && parent < cache->sequences, ATTN_ERR_INVALID,
                "parents[%lld] is %lld, but the cache has %lld sequences", (long long)s,
                (long long)parent, (long long)cache->sequences);
    }
    *integers = bound.parents;
    return ATTN_OK;
}
