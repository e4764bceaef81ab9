/*
 * Versions, names, and the one function on tensors.
 */
#include "api/api.h"
#include "attn.h"
#include "base/arith.h"
#include "base/dtype.h"

#define TEXT_OF(x)   #x
#define TEXT_OF_2(x) TEXT_OF(x)
#define VERSION_TEXT                                                                   \
    TEXT_OF_2(ATTN_VERSION_MAJOR)                                                      \
    "." TEXT_OF_2(ATTN_VERSION_MINOR) "." TEXT_OF_2(ATTN_VERSION_PATCH)

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#ifdef HAVE_AVX2
#define AVX2_TEXT " avx2"
#else
#define AVX2_TEXT ""
#endif
#ifdef HAVE_AVX512
#define AVX512_TEXT " avx512"
#else
#define AVX512_TEXT ""
#endif
#ifdef HAVE_NEON
#define NEON_TEXT " neon"
#else
#define NEON_TEXT ""
#endif

int32_t attn_version(void) {
    return ATTN_VERSION;
}

const char *attn_version_string(void) {
    return VERSION_TEXT;
}

int32_t attn_abi_version(void) {
    return ATTN_ABI_VERSION;
}

const char *attn_build_info(void) {
    return "libattn " VERSION_TEXT ", ABI " TEXT_OF_2(
        ATTN_ABI_VERSION) ", " COMPILER
                          ", kernels: scalar" AVX2_TEXT AVX512_TEXT NEON_TEXT;
}

const char *attn_status_string(attn_status status) {
    static const char *const names[] = {
        [ATTN_OK] = "ATTN_OK",
        [ATTN_ERR_INVALID] = "ATTN_ERR_INVALID",
        [ATTN_ERR_UNSUPPORTED] = "ATTN_ERR_UNSUPPORTED",
        [ATTN_ERR_NOT_DIFFERENTIABLE] = "ATTN_ERR_NOT_DIFFERENTIABLE",
        [ATTN_ERR_NO_MEMORY] = "ATTN_ERR_NO_MEMORY",
        [ATTN_ERR_CANCELLED] = "ATTN_ERR_CANCELLED",
        [ATTN_ERR_IO] = "ATTN_ERR_IO",
    };
    const bool known = status >= 0 && status < (attn_status)COUNT_OF(names);
    return known ? names[status] : "unknown status";
}

attn_status attn_tensor_init(attn_tensor *tensor, int32_t dtype, int32_t rank,
                             const int64_t *shape, void *data) {
    REQUIRE_POINTER(tensor);
    REQUIRE_POINTER(shape);
    REQUIRE(rank >= 1 && rank <= 6, ATTN_ERR_INVALID, "rank is %d, not within 1 to 6",
            (int)rank);
    int64_t bytes = attn_dtype_size(dtype);
    REQUIRE(bytes != 0, ATTN_ERR_INVALID, "dtype is %d, which is no type", (int)dtype);
    attn_tensor view = {.data = data, .dtype = dtype, .rank = rank};
    int64_t stride = 1;
    for (int i = rank - 1; i >= 0; i--) {
        REQUIRE(shape[i] >= 0, ATTN_ERR_INVALID, "dimension %d has size %lld", i,
                (long long)shape[i]);
        view.shape[i] = shape[i];
        view.stride[i] = stride;
        /* a dimension of size 0 leaves the strides of the others as if it were 1 */
        const int64_t size = max_i64(shape[i], 1);
        REQUIRE(checked_mul(stride, size, &stride) &&
                    checked_mul(bytes, size, &bytes) && bytes <= PTRDIFF_MAX,
                ATTN_ERR_INVALID, "the tensor is too large: dimension %d has size %lld",
                i, (long long)shape[i]);
    }
    *tensor = view;
    return ATTN_OK;
}
