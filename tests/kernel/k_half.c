/*
 * The values of the 16-bit types, bit for bit: all of them to f32, by their definition,
 * and back; rounding at, below and above the middle of every two neighbours; NaN and
 * random floats. Also while the processor takes subnormals of f32 for zeros, which must
 * change nothing.
 */
#include <string.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "tests/kernel/sets.h"
#include "tests/support/random.h"
#include "tests/support/stored.h"
#include "tests/support/test.h"

enum { HALVES = 0x10000, SIGN = 0x8000 };

static const struct kernels *k;

static const int32_t types[] = {ATTN_F16, ATTN_BF16};

static uint32_t words[HALVES];
static uint16_t halves[HALVES];

/* Switches the flushing of subnormals, of operands and results, on or off. */
static void flush_subnormals(bool on) {
#if defined(__x86_64__)
    const unsigned both = 0x8040; /* FTZ and DAZ */
    _mm_setcsr(on ? _mm_getcsr() | both : _mm_getcsr() & ~both);
#elif defined(__aarch64__)
    const uint64_t fz = UINT64_C(1) << 24;
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    fpcr = on ? fpcr | fz : fpcr & ~fz;
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
#else
    (void)on;
#endif
}

static void widen(int32_t dtype, int n, bool flush) {
    flush_subnormals(flush);
    k->widen(dtype, (float *)(void *)words, n, halves, n, 1, n);
    flush_subnormals(false);
}

static void narrow(int32_t dtype, int n, bool flush) {
    flush_subnormals(flush);
    k->narrow(dtype, halves, n, (const float *)(const void *)words, n, 1, n);
    flush_subnormals(false);
}

static void need(int32_t dtype, uint32_t from, uint32_t got, uint32_t expected) {
    if (got != expected) {
        fail_msg("%s, type %d: %#x becomes %#x, should be %#x", sets_name(), (int)dtype,
                 (unsigned)from, (unsigned)got, (unsigned)expected);
    }
}

static bool is_nan(int32_t dtype, uint32_t half) {
    return (half & 0x7fff) > (dtype == ATTN_F16 ? 0x7c00u : 0x7f80u);
}

/* The bit that makes a NaN quiet. */
static uint32_t quiet(int32_t dtype) {
    return dtype == ATTN_F16 ? 0x200 : 0x40;
}

static void all_to_f32_and_back(void **state) {
    (void)state;
    k = sets_begin();
    for (int i = 0; i < 4; i++) {
        const int32_t dtype = types[i / 2];
        for (uint32_t h = 0; h < HALVES; h++) {
            halves[h] = (uint16_t)h;
        }
        widen(dtype, HALVES, i % 2 != 0);
        for (uint32_t h = 0; h < HALVES; h++) {
            need(dtype, h, words[h], stored_widened(dtype, h));
        }
        memset(halves, 0, sizeof halves);
        narrow(dtype, HALVES, i % 2 != 0);
        for (uint32_t h = 0; h < HALVES; h++) {
            need(dtype, h, halves[h], is_nan(dtype, h) ? h | quiet(dtype) : h);
        }
    }
}

/* The middle of neighbours, and one float below and above it, of both signs. */
static void check_middle(int32_t dtype, uint32_t low, bool flush) {
    const float middle = (float)((stored_size_of(dtype, low) / 2) +
                                 (stored_size_of(dtype, low + 1) / 2));
    const uint32_t even = low % 2 == 0 ? low : low + 1;
    const uint32_t expected[6] = {low,        even,        low + 1,
                                  low | SIGN, even | SIGN, (low + 1) | SIGN};
    uint32_t bits;
    memcpy(&bits, &middle, sizeof bits);
    for (uint32_t i = 0; i < 6; i++) {
        words[i] = (bits - 1 + i % 3) | (i < 3 ? 0 : UINT32_C(1) << 31);
    }
    narrow(dtype, 6, flush);
    for (int i = 0; i < 6; i++) {
        need(dtype, words[i], halves[i], expected[i]);
    }
}

/* Up to that of the largest number and the one that infinity is instead of. */
static void middles(void **state) {
    (void)state;
    k = sets_begin();
    for (size_t t = 0; t < COUNT_OF(types); t++) {
        for (uint32_t low = 0; !is_nan(types[t], low + 1); low++) {
            check_middle(types[t], low, false);
            check_middle(types[t], low, true);
        }
    }
}

/* All upper bits of a payload, with some lower ones, which alone may make it a NaN. */
static void nans(void **state) {
    (void)state;
    k = sets_begin();
    static const uint32_t lower[] = {0, 1, 0x1000, 0x1fff};
    for (size_t t = 0; t < COUNT_OF(types); t++) {
        int n = 0;
        for (uint32_t i = 0; i < 0x2000; i++) {
            const uint32_t payload = (i >> 3) << 13 | lower[i >> 1 & 3];
            words[n] = i << 31 | 0x7f800000 | payload;
            n += payload != 0;
        }
        narrow(types[t], n, false);
        for (int i = 0; i < n; i++) {
            const uint32_t payload = words[i] & 0x7fffff, sign = words[i] >> 31 << 15;
            const uint32_t kept =
                types[t] == ATTN_F16 ? 0x7e00 | payload >> 13 : 0x7fc0 | payload >> 16;
            need(types[t], words[i], halves[i], sign | kept);
        }
    }
}

static void random_floats(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(93, 0);
    for (int i = 0; i < 64 / TEST_SHARE; i++) {
        const int32_t dtype = types[i % 2];
        for (int j = 0; j < HALVES; j++) {
            words[j] = stored_some_float(random_bits(&random));
        }
        narrow(dtype, HALVES, i / 2 % 2 != 0);
        for (int j = 0; j < HALVES; j++) {
            need(dtype, words[j], halves[j], stored_narrowed(dtype, words[j]));
        }
    }
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(all_to_f32_and_back),
        cmocka_unit_test(middles),
        cmocka_unit_test(nans),
        cmocka_unit_test(random_floats),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
