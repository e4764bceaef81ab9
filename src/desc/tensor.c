/*
 * The rules of attn_tensor in attn/common.h, one after the other.
 */
#include "desc/tensor.h"

#include "base/arith.h"
#include "base/dtype.h"
#include "base/status.h"
#include "base/text.h"

enum { RANK_MAX = 6 };

const char *attn_shape_text(char text[SHAPE_TEXT], const int64_t *shape, int rank) {
    struct text t = attn_text_start(text, SHAPE_TEXT);
    attn_text_add(&t, "(");
    for (int i = 0; i < rank; i++) {
        attn_text_add(&t, "%s%lld", i == 0 ? "" : ", ", (long long)shape[i]);
    }
    attn_text_add(&t, ")");
    return text;
}

static const char *axis_name(char axis) {
    static const struct {
        char axis;
        const char *name;
    } names[] = {
        {'b', "batch"},     {'h', "query_heads"}, {'g', "kv_heads"},  {'i', "q_length"},
        {'j', "kv_length"}, {'d', "key_dim"},     {'v', "value_dim"}, {'p', "q_blocks"},
        {'r', "k_blocks"},  {'l', "rows"},        {'n', "buckets"},   {'t', "2"},
        {'a', "batch"},     {'c', "batch"},       {'s', "batch + 1"},
    };
    size_t i = 0;
    while (names[i].axis != axis) {
        i++;
    }
    return names[i].name;
}

/* Says what the shape is and what it should be, in numbers and names. */
static attn_status refuse_shape(const attn_tensor *tensor,
                                const struct expected *expected) {
    char have[SHAPE_TEXT], want[SHAPE_TEXT], names[SHAPE_TEXT];
    struct text t = attn_text_start(names, sizeof names);
    for (int i = 0; i < expected->rank; i++) {
        attn_text_add(&t, "%s%s", i == 0 ? "" : ", ", axis_name(expected->axes[i]));
    }
    return attn_fail(ATTN_ERR_INVALID, "%s has shape %s, should be %s = (%s)%s",
                     expected->name, attn_shape_text(have, tensor->shape, tensor->rank),
                     attn_shape_text(want, expected->shape, expected->rank), names,
                     expected->optional == 0                ? ""
                     : expected->optional == expected->rank ? " or broadcast to it"
                     : expected->axes[0] == 'b'             ? ", batch 1 or left out"
                                                            : ", heads 1 or left out");
}

static attn_status check_form(const attn_tensor *tensor, const char *name) {
    REQUIRE(tensor->rank >= 1 && tensor->rank <= RANK_MAX, ATTN_ERR_INVALID,
            "%s has rank %d, which is not within 1 to %d", name, (int)tensor->rank,
            (int)RANK_MAX);
    REQUIRE(attn_dtype_size(tensor->dtype) > 0, ATTN_ERR_INVALID,
            "%s has dtype %d, which is no type", name, (int)tensor->dtype);
    REQUIRE(tensor->reserved[0] == 0 && tensor->reserved[1] == 0, ATTN_ERR_UNSUPPORTED,
            "%s has reserved words %lld and %lld, should be 0", name,
            (long long)tensor->reserved[0], (long long)tensor->reserved[1]);
    for (int i = 0; i < tensor->rank; i++) {
        REQUIRE(tensor->shape[i] >= 0, ATTN_ERR_INVALID,
                "%s has size %lld in dimension %d", name, (long long)tensor->shape[i],
                i);
        REQUIRE(tensor->stride[i] >= 0 || tensor->shape[i] <= 1, ATTN_ERR_INVALID,
                "%s has stride %lld in dimension %d: strides must not be negative",
                name, (long long)tensor->stride[i], i);
    }
    return ATTN_OK;
}

static attn_status check_dtype(const attn_tensor *tensor,
                               const struct expected *expected) {
    const bool half = tensor->dtype == ATTN_F16 || tensor->dtype == ATTN_BF16;
    if (tensor->dtype == expected->dtype || tensor->dtype == expected->dtype2 ||
        (half && expected->halves) || (tensor->dtype == ATTN_I8 && expected->bytes)) {
        return ATTN_OK;
    }
    /* 16-bit storage would make sense for all that is f32 */
    return attn_fail(half && expected->dtype == ATTN_F32 ? ATTN_ERR_UNSUPPORTED
                                                         : ATTN_ERR_INVALID,
                     "%s has dtype %s, should be %s%s%s%s%s", expected->name,
                     attn_dtype_name(tensor->dtype), attn_dtype_name(expected->dtype),
                     expected->dtype2 != 0 ? " or " : "",
                     expected->dtype2 != 0 ? attn_dtype_name(expected->dtype2) : "",
                     expected->halves ? ", f16 or bf16" : "",
                     expected->bytes ? ", or i8 with scales" : "");
}

static bool shape_fits(const attn_tensor *tensor, const struct expected *expected) {
    const int missing = expected->rank - tensor->rank;
    if (missing < 0 || missing > expected->optional) {
        return false;
    }
    for (int i = missing; i < expected->rank; i++) {
        const int64_t size = tensor->shape[i - missing];
        if (size != expected->shape[i] && !(size == 1 && i < expected->optional)) {
            return false;
        }
    }
    return true;
}

attn_status attn_tensor_extent(const attn_tensor *tensor, const char *name,
                               struct extent *extent) {
    const int64_t size = attn_dtype_size(tensor->dtype);
    int64_t last = 0;
    *extent = (struct extent){.name = name};
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] == 0) {
            return ATTN_OK;
        }
    }
    for (int i = 0; i < tensor->rank; i++) {
        int64_t step = 0;
        bool fits = tensor->shape[i] == 1 ||
                    (checked_mul(tensor->shape[i] - 1, tensor->stride[i], &step) &&
                     checked_add(last, step, &last));
        REQUIRE(fits, ATTN_ERR_INVALID,
                "%s is too large: size %lld with stride %lld in dimension %d overflows",
                name, (long long)tensor->shape[i], (long long)tensor->stride[i], i);
    }
    int64_t bytes;
    REQUIRE(checked_add(last, 1, &last) && checked_mul(last, size, &bytes) &&
                bytes <= PTRDIFF_MAX,
            ATTN_ERR_INVALID, "%s is too large: its strides reach %lld elements", name,
            (long long)last);
    REQUIRE(tensor->data != NULL, ATTN_ERR_INVALID, "%s has elements but data is NULL",
            name);
    extent->begin = (uintptr_t)tensor->data;
    /* sizes are powers of two */
    REQUIRE((extent->begin & (uintptr_t)(size - 1)) == 0, ATTN_ERR_INVALID,
            "%s: data is not aligned to its elements of %lld bytes", name,
            (long long)size);
    REQUIRE(extent->begin <= UINTPTR_MAX - (uintptr_t)bytes, ATTN_ERR_INVALID,
            "%s reaches beyond the end of memory", name);
    extent->end = extent->begin + (uintptr_t)bytes;
    return ATTN_OK;
}

attn_status attn_tensor_check(const attn_tensor *tensor,
                              const struct expected *expected, int64_t stride[4],
                              struct extent *extent) {
    const char *name = expected->name;
    TRY(check_form(tensor, name));
    TRY(check_dtype(tensor, expected));
    if (!shape_fits(tensor, expected)) {
        return refuse_shape(tensor, expected);
    }
    TRY(attn_tensor_extent(tensor, name, extent));
    const int last = tensor->rank - 1;
    const int64_t last_stride = tensor->stride[last];
    REQUIRE(last_stride == 1 || tensor->shape[last] <= 1 ||
                (last_stride == 0 && expected->repeat_last),
            ATTN_ERR_INVALID, "%s has last stride %lld, should be 1%s", name,
            (long long)last_stride, expected->repeat_last ? " or 0" : "");
    /* strides of what has no elements may be anything */
    const bool empty = extent->begin == extent->end;
    const int missing = expected->rank - tensor->rank;
    for (int i = 0; i < expected->rank; i++) {
        stride[i] = empty || i < missing || tensor->shape[i - missing] <= 1
                        ? 0
                        : tensor->stride[i - missing];
    }
    return ATTN_OK;
}

attn_status attn_tensor_check_distinct(const attn_tensor *tensor, const char *name) {
    /* Dimensions in ascending order of stride: each must step over the ones before. */
    int order[RANK_MAX], count = 0;
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] == 0) {
            return ATTN_OK;
        }
        if (tensor->shape[i] == 1) {
            continue;
        }
        int at = count++;
        for (; at > 0 && tensor->stride[order[at - 1]] > tensor->stride[i]; at--) {
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
    int64_t reach =
        0; /* the last element of the dimensions so far; fits by its extent */
    for (int k = 0; k < count; k++) {
        const int i = order[k];
        REQUIRE(
            tensor->stride[i] > reach, ATTN_ERR_INVALID,
            "%s overlaps itself: stride %lld in dimension %d, below it %lld elements",
            name, (long long)tensor->stride[i], i, (long long)(reach + 1));
        reach += (tensor->shape[i] - 1) * tensor->stride[i];
    }
    return ATTN_OK;
}

/* The last element of the dimensions whose stride is less than this. */
static int64_t reach_within(const attn_tensor *tensor, int64_t stride) {
    int64_t reach = 0;
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] > 1 && tensor->stride[i] < stride) {
            reach += (tensor->shape[i] - 1) * tensor->stride[i];
        }
    }
    return reach;
}

/*
 * True if a and b share no element because strides of at least `outer` are those of
 * both and carry a window from place to place, and within the window b, which starts
 * `apart` elements after a, lies behind a. The strides must step over the window and
 * each other.
 */
static bool interleaved_at(const attn_tensor *a, const attn_tensor *b, int64_t apart,
                           int64_t outer) {
    int64_t reach = apart + reach_within(b, outer);
    int64_t last = outer - 1;
    if (reach_within(a, outer) >= apart) {
        return false;
    }
    for (int steps = 0; steps < a->rank; steps++) {
        int next = -1;
        int64_t smallest = 0;
        bool twice = false;
        for (int i = 0; i < a->rank; i++) {
            const int64_t of_a = a->shape[i] > 1 ? a->stride[i] : 0;
            const int64_t of_b = b->shape[i] > 1 ? b->stride[i] : 0;
            const int64_t stride = max_i64(of_a, of_b);
            twice = twice || (next >= 0 && stride == smallest);
            if (stride > last && (next < 0 || stride < smallest)) {
                next = i;
                smallest = stride;
                twice = false;
            }
        }
        if (next < 0) {
            return true;
        }
        if (twice) {
            return false;
        }
        const bool both = a->shape[next] > 1 && b->shape[next] > 1;
        if ((both && a->stride[next] != b->stride[next]) || smallest <= reach) {
            return false;
        }
        reach += (max_i64(a->shape[next], b->shape[next]) - 1) * smallest;
        last = smallest;
    }
    return true;
}

bool attn_tensor_interleaved(const attn_tensor *a, const attn_tensor *b) {
    const attn_tensor *low = (uintptr_t)a->data <= (uintptr_t)b->data ? a : b;
    const attn_tensor *high = low == a ? b : a;
    const int64_t size = attn_dtype_size(a->dtype);
    const int64_t bytes = (int64_t)((uintptr_t)high->data - (uintptr_t)low->data);
    if (a->rank != b->rank || a->dtype != b->dtype || size == 0 || bytes % size != 0) {
        return false;
    }
    /* which strides are those from row to row and beyond is not said: each may be */
    for (int i = 0; i < low->rank; i++) {
        if (low->shape[i] > 1 &&
            interleaved_at(low, high, bytes / size, low->stride[i])) {
            return true;
        }
    }
    return false;
}
