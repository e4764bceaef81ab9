/*
 * Laws of layers: what lies beyond the lengths reaches no other row, gradients add up,
 * sizes of 0 leave gradients alone, layers that say the same in other words give the
 * same.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/layer_calls.h"
#include "tests/support/layer_check.h"
#include "tests/support/layer_data.h"

static void run(struct layer_call *call) {
    layer_reset(call);
    layer_forward(call);
    layer_backward(call);
}

/* ------------------------------------------------------------- beyond the lengths */

static int64_t length_of(const struct layer_call *call, const char *name, int64_t b,
                         int64_t otherwise) {
    const struct layer_tensor *t = layer_find(call, "", name);
    return t != NULL ? element_int(&t->tensor, 0, b) : otherwise;
}

/* Rows of a sequence from the lengths on become NaN. */
static void poison(struct layer_call *call, const char *sequence, const char *lengths) {
    const struct layer_tensor *t = layer_find(call, "", sequence);
    for (int64_t n = 0; t != NULL && n < element_count(&t->tensor); n++) {
        int64_t i[4];
        element_index(&t->tensor, n, i);
        if (i[2] >= length_of(call, lengths, i[1], INT64_MAX)) {
            *(float *)element_nth(&t->tensor, n) = NAN;
        }
    }
}

/* Rows of output that no length leaves out have the same bits. */
static void need_same_rows(const struct layer_call *call, const float *before,
                           const char *lengths) {
    for (int64_t n = 0; n < element_count(&call->output); n++) {
        int64_t i[4];
        element_index(&call->output, n, i);
        if (i[2] < length_of(call, lengths, i[1], INT64_MAX)) {
            const float *now = element_nth(&call->output, n);
            assert_false(isnan(*now));
            assert_memory_equal(now, &before[n], sizeof *now);
        }
    }
}

static float *outputs_of(const struct layer_call *call) {
    struct layer_snapshot snapshot = layer_take(call, LAYER_OUTPUT);
    return snapshot.values;
}

/* Projections of NaN are NaN; attention must not let them through. */
static void rows_beyond_the_lengths(void **state) {
    (void)state;
    static const int samples[] = {0, 1, 3, 5, 6, 7};
    for (size_t s = 0; s < COUNT_OF(samples); s++) {
        for (int size = 0; size < 2; size++) {
            struct layer_problem problem = layer_sample(samples[s]);
            struct layer_call call;
            problem.outputs = 0;
            problem.batch = 4;
            problem.q_length = size ? 70 : problem.q_length;
            problem.kv_length = size && problem.kv_length > 0 ? 90 : problem.kv_length;
            problem.self.rotation = LAYER_AT_ROWS;
            /* the rows of input are all queries of a stack, and keys */
            problem.self.q_lengths = !problem.self.options.targets &&
                                     layer_keys(&problem) == problem.q_length;
            problem.self.kv_lengths = 1;
            problem.self.options.targets = 0;
            layer_open(&call, &problem);
            const int itself = problem.layers > 0 || problem.inputs == 1;
            if (itself) {
                /* a row is beyond both lengths or none */
                for (int64_t b = 0; b < problem.batch; b++) {
                    element_set_int(&layer_find(&call, "", "self.q_lengths")->tensor, 0,
                                    b, length_of(&call, "self.kv_lengths", b, 0));
                }
            }
            layer_forward(&call);
            float *before = outputs_of(&call);
            if (itself) {
                poison(&call, "input", "self.kv_lengths");
            } else {
                poison(&call, "key", "self.kv_lengths");
                poison(&call, "value", "self.kv_lengths");
            }
            poison(&call, "key",
                   problem.cross ? "cross.kv_lengths" : "self.kv_lengths");
            layer_reset(&call);
            layer_forward(&call);
            need_same_rows(&call, before, itself ? "self.kv_lengths" : "none");
            free(before);
            layer_close(&call);
        }
    }
}

/* A NaN reaches the rows that attend it, and the other batch elements never. */
static void other_batch_elements(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        struct layer_problem problem = layer_sample(n);
        struct layer_call call;
        problem.outputs = 0;
        layer_open(&call, &problem);
        layer_forward(&call);
        float *before = outputs_of(&call);
        const attn_tensor *input = &layer_find(&call, "", "input")->tensor;
        for (int64_t c = 0; c < input->shape[2]; c++) {
            *(float *)element_at(input, 0, 1, 0, c) = NAN;
        }
        layer_reset(&call);
        layer_forward(&call);
        const int64_t half = element_count(&call.output) / 2;
        int64_t bad = 0;
        for (int64_t e = 0; e < 2 * half; e++) {
            const float *now = element_nth(&call.output, e);
            bad += isnan(*now);
            if (e < half) {
                assert_memory_equal(now, &before[e], sizeof *now);
            }
        }
        assert_true(bad > 0 || problem.self.q_lengths);
        free(before);
        layer_close(&call);
    }
}

/* ------------------------------------------------------------------- adding up */

/* A second backward call adds the same once more to the gradients of parameters, and
 * overwrites those of inputs. */
static void gradients_add_up(void **state) {
    (void)state;
    for (uint64_t number = 40000; number < 40060; number += TEST_SHARE) {
        struct layer_problem problem = number < 40000 + LAYER_SAMPLES
                                           ? layer_sample((int)(number - 40000))
                                           : layer_compose(number);
        struct layer_call call;
        struct layer_oracle oracle;
        problem.plain = 0;
        layer_open(&call, &problem);
        layer_oracle_open(&oracle, &call);
        run(&call);
        for (int t = 0; t < call.tensors; t++) {
            const struct layer_tensor *to = &call.tensor[t];
            for (int64_t n = 0; to->added_to && n < element_count(&to->gradient); n++) {
                to->before[n] = *(float *)element_nth(&to->gradient, n);
            }
        }
        layer_backward(&call);
        layer_check_gradients(&oracle, &call);
        layer_oracle_close(&oracle);
        layer_close(&call);
    }
}

/* What is asked for alone is what it is among all. */
static void single_gradients(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        struct layer_problem problem = layer_sample(n);
        static struct layer_call call, one;
        layer_open(&call, &problem);
        run(&call);
        attn_tensor all[LAYER_TENSORS];
        for (int t = 0; t < call.tensors; t++) {
            all[t] = call.tensor[t].gradient;
        }
        for (int t = 0; t < call.tensors; t++) {
            if (all[t].rank == 0) {
                continue;
            }
            one = call;
            for (int o = 0; o < call.tensors; o++) {
                one.tensor[o].gradient.rank = o == t ? all[t].rank : 0;
            }
            struct layer_snapshot among = layer_take(&one, LAYER_GRADIENTS);
            layer_point(&one);
            one.args.state = call.args.state;
            one.args.state_size = call.args.state_size;
            layer_give(one.layer, &one);
            layer_reset(&one);
            layer_forward(&one);
            layer_backward(&one);
            layer_need_same(&among, &one, LAYER_GRADIENTS, one.tensor[t].name);
        }
        layer_close(&call);
    }
}

/* No sequence, or sequences of nothing: gradients of inputs are written, those of
 * parameters stay. */
static void sizes_of_0(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        for (int which = 0; which < 3; which++) {
            struct layer_problem problem = layer_sample(n);
            struct layer_call call;
            struct layer_oracle oracle;
            *(which == 0   ? &problem.batch
              : which == 1 ? &problem.q_length
                           : &problem.kv_length) = 0;
            if (which == 1) {
                problem.targets = 0;
            }
            if (problem.self.options.relative) {
                /* positions have a row at least */
                problem.self.zero_row = problem.self.rows_after = 0;
            }
            layer_open(&call, &problem);
            layer_oracle_open(&oracle, &call);
            run(&call);
            layer_check(&oracle, &call);
            layer_check_gradients(&oracle, &call);
            layer_oracle_close(&oracle);
            layer_close(&call);
        }
    }
}

/* ------------------------------------------------------------------ other words */

/* Dropout with probability 1 leaves the bias of the output, whatever keys there are. */
static void everything_dropped(void **state) {
    (void)state;
    for (int extras = 0; extras < 2; extras++) {
        struct layer_problem problem = layer_sample(0);
        struct layer_call call;
        problem.outputs = 0;
        problem.self.dropout = 1;
        problem.self.options.key_value_bias = extras;
        problem.self.options.zero_attention = extras;
        layer_open(&call, &problem);
        run(&call);
        const attn_tensor *bias = &layer_find(&call, "", "out_proj.bias")->tensor;
        for (int64_t n = 0; n < element_count(&call.output); n++) {
            const int64_t c = n % call.output.shape[2];
            assert_true(*(float *)element_nth(&call.output, n) ==
                        *(float *)element_nth(bias, c));
        }
        layer_close(&call);
    }
}

/* Maxima and sums that the caller asks for serve the backward call, which finds them
 * where they were written. */
static void statistics_of_the_caller(void **state) {
    (void)state;
    enum { BATCH = 2, HEADS = 2, ROWS = 8 };
    static const int64_t shape[] = {BATCH, HEADS, ROWS};
    float numbers[2][BATCH * HEADS * ROWS];
    attn_tensor maxima, sums;
    const struct layer_problem problem = layer_sample(0);
    struct layer_call call;
    layer_open(&call, &problem);
    run(&call);
    struct layer_snapshot plain = layer_take(&call, LAYER_ALL);
    attn_tensor_init(&maxima, ATTN_F32, 3, shape, numbers[0]);
    attn_tensor_init(&sums, ATTN_F32, 3, shape, numbers[1]);
    call.attention[0].row_max = &maxima;
    call.attention[0].row_sum = &sums;
    run(&call);
    layer_need_same(&plain, &call, LAYER_ALL, "row_max and row_sum");
    for (int n = 0; n < BATCH * HEADS * ROWS; n++) {
        const double maximum = numbers[0][n], sum = numbers[1][n];
        const double lse = *(float *)element_nth(&call.extra[LAYER_LSE], n);
        assert_true(fabs(maximum + log(sum) - lse) <
                    0x1p-24 * (16 + 4 * fabs(lse) + 2 * fabs(maximum)));
    }
    layer_close(&call);
}

/* A backward call neither reads nor writes what the forward call wrote beside the
 * state. */
static void outputs_of_the_forward_call(void **state) {
    (void)state;
    for (int n = 0; n < 2 * LAYER_SAMPLES; n++) {
        struct layer_problem problem = layer_sample(n / 2);
        struct layer_call call;
        problem.stack.recompute = n % 2;
        layer_open(&call, &problem);
        run(&call);
        struct layer_snapshot gradients = layer_take(&call, LAYER_GRADIENTS);
        layer_reset(&call);
        struct layer_snapshot nothing = layer_take(&call, LAYER_OUTPUT | LAYER_OTHERS);
        layer_backward(&call);
        layer_need_same(&gradients, &call, LAYER_GRADIENTS, "outputs gone");
        layer_need_same(&nothing, &call, LAYER_OUTPUT | LAYER_OTHERS, "outputs");
        layer_close(&call);
    }
}

/* A stack of two blocks of one group is one whose blocks have equal parameters. */
static void shared_parameters(void **state) {
    (void)state;
    struct layer_problem problem = layer_sample(7);
    struct layer_call shared, apart;
    problem.layers = 2;
    layer_open(&shared, &problem);
    problem.stack.groups = 0;
    layer_open(&apart, &problem);
    for (int t = 0; t < apart.tensors; t++) {
        const struct layer_tensor *to = &apart.tensor[t];
        char name[64];
        memcpy(name, to->name, sizeof name);
        if (strncmp(name, "layers.1", 8) == 0) {
            name[7] = '0';
        }
        const struct layer_tensor *from = layer_find(&shared, "", name);
        if (from != NULL) {
            for (int64_t n = 0; n < element_count(&to->tensor); n++) {
                memcpy(element_nth(&to->tensor, n), element_nth(&from->tensor, n),
                       element_size(to->tensor.dtype));
            }
        }
    }
    layer_forward(&shared);
    layer_forward(&apart);
    struct layer_snapshot output = layer_take(&shared, LAYER_OUTPUT | LAYER_OTHERS);
    layer_need_same(&output, &apart, LAYER_OUTPUT | LAYER_OTHERS, "groups");
    layer_close(&shared);
    layer_close(&apart);
}

/* Whatever the tensors hold when a call runs is what counts. */
static void parameters_that_change(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        struct layer_problem problem = layer_sample(n);
        struct layer_call call;
        layer_open(&call, &problem);
        run(&call);
        for (int t = 0; t < call.tensors; t++) {
            const struct layer_tensor *p = &call.tensor[t];
            for (int64_t e = 0; p->parameter && e < element_count(&p->tensor); e++) {
                *(float *)element_nth(&p->tensor, e) *= -0.75f;
            }
        }
        struct layer_oracle oracle;
        layer_oracle_open(&oracle, &call);
        run(&call);
        layer_check(&oracle, &call);
        layer_check_gradients(&oracle, &call);
        layer_oracle_close(&oracle);
        layer_close(&call);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_beyond_the_lengths),
        cmocka_unit_test(other_batch_elements),
        cmocka_unit_test(gradients_add_up),
        cmocka_unit_test(single_gradients),
        cmocka_unit_test(sizes_of_0),
        cmocka_unit_test(everything_dropped),
        cmocka_unit_test(statistics_of_the_caller),
        cmocka_unit_test(outputs_of_the_forward_call),
        cmocka_unit_test(shared_parameters),
        cmocka_unit_test(parameters_that_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
