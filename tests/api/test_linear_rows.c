/*
 * Products of rows that lie further apart than BLAS can be told, as those of a large
 * batch do in tensors (length, batch, features): the sums of the definition.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, MAP_NORESERVE */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "attn/common.h"
#include "layer/linear.h"
#include "tests/support/test.h"

enum { BATCH_SIZE = 3, ROWS = 2, INPUTS = 20, OUTPUTS = 24, PAGE = 65536 };

/* Floats from one row to the next: such a batch. */
#define STRIDE ((INT64_C(1) << 31) / BATCH_SIZE * BATCH_SIZE + INT64_C(32) * BATCH_SIZE)

static const struct size size = {BATCH_SIZE, ROWS};

/* Rows of which a few elements are there at the beginning; data NULL: no room. */
static struct sequences far_apart(void) {
    const size_t bytes = ((size_t)STRIDE * ROWS) * sizeof(float);
    /* this much of a process's space, not of the machine's memory */
    char *memory = mmap(NULL, bytes, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return (struct sequences){0};
    }
    for (int b = 0; b < BATCH_SIZE; b++) {
        for (int r = 0; r < ROWS; r++) {
            const int64_t at = (b * (STRIDE / BATCH_SIZE) + r * STRIDE) * 4;
            char *page = memory + at / PAGE * PAGE;
            assert_int_equal(mprotect(page, PAGE, PROT_READ | PROT_WRITE), 0);
            assert_int_equal(mprotect(page + PAGE, PAGE, PROT_READ | PROT_WRITE), 0);
        }
    }
    return (struct sequences){(float *)(void *)memory, STRIDE / BATCH_SIZE, STRIDE};
}

static void give_back(struct sequences *sequences) {
    munmap(sequences->data, ((size_t)STRIDE * ROWS) * sizeof(float));
}

static float number(int64_t i) {
    return (float)(i * 7919 % 31 - 15) / 16.0f;
}

static void fill(const struct sequences *sequences, int features, int first) {
    for (int b = 0; b < BATCH_SIZE; b++) {
        for (int r = 0; r < ROWS; r++) {
            for (int f = 0; f < features; f++) {
                sequence_row(sequences, b, r)[f] =
                    number(first + (b * ROWS + r) * features + f);
            }
        }
    }
}

static float memory[6 * TILES_FLOATS], w[OUTPUTS * INPUTS], grad_w[OUTPUTS * INPUTS];

/* y = x W^T. */
static void forwards(const struct linear *linear, const struct sequences *x,
                     const struct sequences *y) {
    const struct weight weight = {.data = w, .ld = INPUTS};
    fill(x, INPUTS, 5);
    attn_linear(linear, size, y, x, weight, NULL, OUTPUTS, INPUTS, false);
    for (int b = 0; b < BATCH_SIZE; b++) {
        for (int r = 0; r < ROWS; r++) {
            for (int o = 0; o < OUTPUTS; o++) {
                double sum = 0.0;
                for (int i = 0; i < INPUTS; i++) {
                    sum += (double)sequence_row(x, b, r)[i] * w[o * INPUTS + i];
                }
                assert_float_equal(sequence_row(y, b, r)[o], (float)sum, 1e-4f);
            }
        }
    }
}

/* The gradients of W and of x. */
static void backwards(const struct linear *linear, const struct sequences *x,
                      const struct sequences *y) {
    const struct weight weight = {.data = w, .ld = INPUTS};
    const struct weight gradient = {.data = grad_w, .ld = INPUTS};
    memset(grad_w, 0, sizeof grad_w);
    fill(y, OUTPUTS, 11);
    attn_linear_parameters(linear, size, gradient, NULL, y, x, OUTPUTS, INPUTS);
    for (int o = 0; o < OUTPUTS; o++) {
        for (int i = 0; i < INPUTS; i++) {
            double sum = 0.0;
            for (int b = 0; b < BATCH_SIZE; b++) {
                for (int r = 0; r < ROWS; r++) {
                    sum += (double)sequence_row(y, b, r)[o] * sequence_row(x, b, r)[i];
                }
            }
            assert_float_equal(grad_w[o * INPUTS + i], (float)sum, 1e-4f);
        }
    }
    attn_linear_input(linear, size, x, y, weight, OUTPUTS, INPUTS, false);
    for (int b = 0; b < BATCH_SIZE; b++) {
        for (int r = 0; r < ROWS; r++) {
            for (int i = 0; i < INPUTS; i++) {
                double sum = 0.0;
                for (int o = 0; o < OUTPUTS; o++) {
                    sum += (double)sequence_row(y, b, r)[o] * w[o * INPUTS + i];
                }
                assert_float_equal(sequence_row(x, b, r)[i], (float)sum, 1e-4f);
            }
        }
    }
}

/* One side or both are far apart: then rows cannot be those of one product. */
static void far_and_near(void **state) {
    (void)state;
    static float rows[2][BATCH_SIZE * ROWS * OUTPUTS];
    const struct sequences near[] = {sequences_at(rows[0], size, INPUTS),
                                     sequences_at(rows[1], size, OUTPUTS)};
    struct sequences far[] = {far_apart(), far_apart()};
    if (far[0].data == NULL || far[1].data == NULL) {
        skip(); /* a machine that lends no such space */
    }
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_context_set_threads(context, 1), ATTN_OK);
    for (int i = 0; i < OUTPUTS * INPUTS; i++) {
        w[i] = number(i);
    }
    for (int own = 0; own < 2; own++) {
        const struct linear linear = {context, attn_kernels(context->isa), own == 1,
                                      memory};
        forwards(&linear, &far[0], &near[1]);
        backwards(&linear, &far[0], &near[1]);
        forwards(&linear, &near[0], &far[1]);
        backwards(&linear, &near[0], &far[1]);
        forwards(&linear, &far[0], &far[1]);
        backwards(&linear, &far[0], &far[1]);
    }
    attn_context_destroy(context);
    give_back(&far[0]);
    give_back(&far[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(far_and_near)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
