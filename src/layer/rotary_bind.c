/*
 * Arguments of a rotation: the tensors in the order of the tables below, facts between
 * them, then the positions. Input gives the sizes.
 */
#include <math.h>
#include <string.h>

#include "base/arith.h"
#include "base/status.h"
#include "desc/binding.h"
#include "layer/rotary.h"

/* Positions 0 to 2^53: all integers up to there are float64 numbers. */
#define POSITIONS_MAX ((INT64_C(1) << 53) + 1)

#define BASE_DEFAULT 10000.0

/*
 * Tables as in desc/binding.h, but views are members of struct rotary. Of the letters,
 * p is the positions that cosines has and r half of rotary_dim.
 */
#define TENSOR(member, axes, optional, dtype, ...)                                     \
    ROW_IN(attn_rotary_args, struct rotary, member, member, axes, optional, dtype,     \
           __VA_ARGS__)

static const struct row input =
    TENSOR(input, "bhid", 0, ATTN_F32, BATCH, HEAD, ROW, COLUMN);
static const struct row output =
    TENSOR(output, "bhid", 0, ATTN_F32, BATCH, HEAD, ROW, COLUMN);
static const struct row positions[] = {
    TENSOR(position_ids, "bi", 1, ATTN_I32, BATCH, COLUMN),
    TENSOR(offsets, "b", 0, ATTN_I32, BATCH),
};
static const struct row by_position[] = {
    TENSOR(cosines, "pr", 0, ATTN_F32, ROW, COLUMN),
    TENSOR(sines, "pr", 0, ATTN_F32, ROW, COLUMN),
};
static const struct row by_row[] = {
    TENSOR(cosines, "bir", 1, ATTN_F32, BATCH, ROW, COLUMN),
    TENSOR(sines, "bir", 1, ATTN_F32, BATCH, ROW, COLUMN),
};

struct axis {
    int64_t size;
    const char *what;
};

static struct axis axis_of(const struct rotary *rotary, char letter) {
    switch (letter) {
    case 'b':
        return (struct axis){rotary->batch, "the batch of input"};
    case 'h':
        return (struct axis){rotary->heads, "the heads of input"};
    case 'i':
        return (struct axis){rotary->rows, "the length of input"};
    case 'd':
        return (struct axis){rotary->dim, "the dim of input"};
    case 'p':
        return (struct axis){rotary->positions, "the rows of cosines"};
    default:
        return (struct axis){rotary->pairs, "half of rotary_dim"};
    }
}

/* Looks at shapes before attn_tensor_check() does: the axes there are those of
 * attention, and have its names. */
static attn_status check_shape(const attn_tensor *tensor, const struct row *row,
                               const struct rotary *rotary) {
    const int rank = row->rank, missing = rank - tensor->rank;
    REQUIRE(missing >= 0 && missing <= row->optional, ATTN_ERR_INVALID,
            "%s has rank %d, should be %d%s", row->name, (int)tensor->rank, rank,
            row->optional > 0 ? " or 1" : "");
    for (int i = missing; i < rank; i++) {
        const struct axis axis = axis_of(rotary, row->axes[i]);
        const int64_t size = tensor->shape[i - missing];
        REQUIRE(size == axis.size || (size == 1 && i < row->optional), ATTN_ERR_INVALID,
                "%s has size %lld in dimension %d, should be %lld: %s", row->name,
                (long long)size, i - missing, (long long)axis.size, axis.what);
    }
    return ATTN_OK;
}

static int64_t axis_size(const void *views, char letter) {
    return axis_of(views, letter).size;
}

/* Checks the tensor of a row of the tables, if it is there, and fills in its view. */
static attn_status bind(struct binding *binding, const attn_rotary_args *args,
                        const struct row *row) {
    const attn_tensor *tensor = attn_bind_tensor(args, row);
    if (tensor != NULL) {
        TRY(check_shape(tensor, row, binding->views));
    }
    return attn_bind_input(binding, args, row);
}

static attn_status bind_input(struct binding *binding, struct rotary *rotary,
                              const attn_rotary_args *args) {
    REQUIRE(args->input != NULL && args->output != NULL, ATTN_ERR_INVALID,
            "%s is missing", args->input == NULL ? "input" : "output");
    const attn_tensor *tensor = args->input;
    REQUIRE(tensor->rank == 4, ATTN_ERR_INVALID, "input has rank %d, should be 4",
            (int)tensor->rank);
    REQUIRE(tensor->shape[1] <= INT32_MAX, ATTN_ERR_INVALID,
            "input has %lld heads, more than %d", (long long)tensor->shape[1],
            INT32_MAX);
    REQUIRE(tensor->shape[3] <= DIM_MAX, ATTN_ERR_INVALID,
            "input has dim %lld, more than %d", (long long)tensor->shape[3],
            (int)DIM_MAX);
    rotary->batch = tensor->shape[0];
    rotary->heads = tensor->shape[1];
    rotary->rows = tensor->shape[2];
    rotary->dim = tensor->shape[3];
    return bind(binding, args, &input);
}

/* The facts that are not tensors. */
static attn_status take_facts(struct rotary *rotary, const attn_rotary_args *args) {
    const long long dim = rotary->dim, rotary_dim = args->rotary_dim;
    REQUIRE(rotary_dim >= 0 && rotary_dim <= dim, ATTN_ERR_INVALID,
            "rotary_dim is %lld, not within 0 to the dim of input, %lld", rotary_dim,
            dim);
    REQUIRE(rotary_dim % 2 == 0, ATTN_ERR_INVALID, "rotary_dim is %lld, should be even",
            rotary_dim);
    REQUIRE(rotary_dim > 0 || dim % 2 == 0, ATTN_ERR_INVALID,
            "rotary_dim is 0, which stands for the dim of input, but that is not even: "
            "%lld",
            dim);
    REQUIRE(args->interleaved == 0 || args->interleaved == 1, ATTN_ERR_INVALID,
            "interleaved is %lld, should be 0 or 1", (long long)args->interleaved);
    REQUIRE(args->inverse == 0 || args->inverse == 1, ATTN_ERR_INVALID,
            "inverse is %lld, should be 0 or 1", (long long)args->inverse);
    REQUIRE(args->base >= 0 && isfinite(args->base), ATTN_ERR_INVALID,
            "base is %g, should be more than 0 and finite, or 0 for %g", args->base,
            BASE_DEFAULT);
    rotary->pairs = (rotary_dim > 0 ? rotary_dim : dim) / 2;
    rotary->interleaved = args->interleaved == 1;
    rotary->inverse = args->inverse == 1;
    rotary->base = args->base > 0 ? args->base : BASE_DEFAULT;
    return ATTN_OK;
}

/* Which of the inputs that decide the angles may be there together. */
static attn_status check_sources(const attn_rotary_args *args) {
    const attn_tensor *cosines = args->cosines, *sines = args->sines;
    REQUIRE(args->position_ids == NULL || args->offsets == NULL, ATTN_ERR_INVALID,
            "position_ids and offsets are both given");
    REQUIRE((cosines == NULL) == (sines == NULL), ATTN_ERR_INVALID,
            "%s is given, but %s is missing", cosines != NULL ? "cosines" : "sines",
            cosines != NULL ? "sines" : "cosines");
    if (cosines == NULL) {
        return ATTN_OK;
    }
    REQUIRE(args->base == 0, ATTN_ERR_INVALID,
            "base is %g, should be 0: cosines are given", args->base);
    REQUIRE(cosines->rank == 2 || cosines->rank == 3, ATTN_ERR_INVALID,
            "cosines has rank %d, should be 2 or 3", (int)cosines->rank);
    REQUIRE(sines->rank == cosines->rank, ATTN_ERR_INVALID,
            "sines has rank %d, should have that of cosines: %d", (int)sines->rank,
            (int)cosines->rank);
    for (int i = 0; i < cosines->rank; i++) {
        REQUIRE(sines->shape[i] == cosines->shape[i], ATTN_ERR_INVALID,
                "sines has size %lld in dimension %d, should have that of cosines: "
                "%lld",
                (long long)sines->shape[i], i, (long long)cosines->shape[i]);
    }
    REQUIRE(cosines->rank == 2 || (args->position_ids == NULL && args->offsets == NULL),
            ATTN_ERR_INVALID,
            "%s is given, but cosines has rank 3: its rows are those of input, not "
            "positions",
            args->position_ids != NULL ? "position_ids" : "offsets");
    return ATTN_OK;
}

static attn_status bind_sources(struct binding *binding, struct rotary *rotary,
                                const attn_rotary_args *args) {
    TRY(check_sources(args));
    rotary->by_position = args->cosines == NULL || args->cosines->rank == 2;
    rotary->positions = args->cosines != NULL && rotary->by_position
                            ? args->cosines->shape[0]
                            : POSITIONS_MAX;
    const struct row *cosines = rotary->by_position ? by_position : by_row;
    for (size_t i = 0; i < COUNT_OF(positions); i++) {
        TRY(bind(binding, args, &positions[i]));
    }
    for (size_t i = 0; i < COUNT_OF(by_position); i++) {
        TRY(bind(binding, args, &cosines[i]));
    }
    rotary->shared =
        rotary->position_ids.stride[BATCH] == 0 && rotary->offsets.stride[BATCH] == 0 &&
        rotary->cosines.stride[BATCH] == 0 && rotary->sines.stride[BATCH] == 0;
    return ATTN_OK;
}

static attn_status bind_output(struct binding *binding, struct rotary *rotary,
                               const attn_rotary_args *args) {
    const struct view *from = &rotary->input, *to = &rotary->output;
    TRY(check_shape(args->output, &output, rotary));
    TRY(attn_bind_output(binding, args, &output));
    rotary->in_place = to->data == from->data &&
                       memcmp(to->stride, from->stride, sizeof to->stride) == 0;
    if (rotary->in_place) {
        /* the extent of input, the first one, is output's */
        binding->extent[0].end = binding->extent[0].begin;
    }
    return attn_bind_apart(binding, NULL, 0);
}

static attn_status refuse_id(const struct rotary *rotary, const attn_rotary_args *args,
                             int64_t b, int64_t i) {
    const char *why = args->cosines != NULL ? ", the last row of cosines" : "";
    const long long id = integer_at(&rotary->position_ids, b, i);
    const long long last = rotary->positions - 1;
    if (args->position_ids->rank == 1) {
        return attn_fail(ATTN_ERR_INVALID,
                         "position_ids[%lld] is %lld, which is not within 0 to %lld%s",
                         (long long)i, id, last, why);
    }
    return attn_fail(ATTN_ERR_INVALID,
                     "position_ids[%lld][%lld] is %lld, which is not within 0 to "
                     "%lld%s",
                     (long long)b, (long long)i, id, last, why);
}

static attn_status check_ids(const struct rotary *rotary,
                             const attn_rotary_args *args) {
    const struct integers *ids = &rotary->position_ids;
    /* what repeats is looked at once */
    const int64_t batch =
        ids->stride[BATCH] == 0 ? min_i64(1, rotary->batch) : rotary->batch;
    for (int64_t b = 0; b < batch; b++) {
        for (int64_t i = 0; i < rotary->rows; i++) {
            const int64_t id = integer_at(ids, b, i);
            if (id < 0 || id >= rotary->positions) {
                return refuse_id(rotary, args, b, i);
            }
        }
    }
    return ATTN_OK;
}

static attn_status check_offsets(const struct rotary *rotary,
                                 const attn_rotary_args *args) {
    const long long rows = rotary->rows, last = rotary->positions - rotary->rows;
    const char *of = args->cosines != NULL ? " in cosines" : "";
    REQUIRE(last >= 0, ATTN_ERR_INVALID,
            "input has %lld rows, but there are %lld positions%s", rows,
            (long long)rotary->positions, of);
    for (int64_t b = 0; rotary->offsets.data != NULL && b < rotary->batch; b++) {
        const int64_t offset = integer_at(&rotary->offsets, b, 0);
        REQUIRE(offset >= 0 && offset <= last, ATTN_ERR_INVALID,
                "offsets[%lld] is %lld, which is not within 0 to %lld: input has %lld "
                "rows, and there are %lld positions%s",
                (long long)b, (long long)offset, last, rows,
                (long long)rotary->positions, of);
    }
    return ATTN_OK;
}

attn_status attn_rotary_bind(struct rotary *rotary, const attn_rotary_args *args) {
    struct binding binding;
    attn_binding_start(&binding, rotary, axis_size);
    *rotary = (struct rotary){0};
    TRY(bind_input(&binding, rotary, args));
    TRY(take_facts(rotary, args));
    TRY(bind_sources(&binding, rotary, args));
    TRY(bind_output(&binding, rotary, args));
    if (!rotary->by_position) {
        return ATTN_OK;
    }
    return args->position_ids != NULL ? check_ids(rotary, args)
                                      : check_offsets(rotary, args);
}
