/*
 * What layers say of themselves: under the rules of snprintf, of every weight and every
 * number of rows, and true: where it says that products read packed weights, they read
 * nothing else.
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/expect.h"
#include "tests/support/layer.h"
#include "tests/support/run.h"

enum { TEXT = 16384 };

static size_t explain(const void *object, char *text, size_t size) {
    return attn_layer_explain(object, text, size);
}

/* How so many rows are multiplied with a weight of these sizes; the rest of the line.
 */
static const char *words_of(const char *text, int64_t outputs, int64_t inputs,
                            int64_t rows) {
    char sizes[64];
    snprintf(sizes, sizeof sizes, ", %lld x %lld, and ", (long long)outputs,
             (long long)inputs);
    const char *found = NULL;
    for (const char *at = text; (at = strstr(at, sizes)) != NULL;) {
        at += strlen(sizes);
        char *after;
        const long long first = strtoll(at, &after, 10);
        long long last = first;
        if (strncmp(after, " to ", 4) == 0) {
            last = strtoll(after + 4, &after, 10);
        } else if (strncmp(after, " rows or more", 13) == 0) {
            last = INT64_MAX;
        }
        const char *colon = strchr(at, ':');
        assert_non_null(colon);
        if (first <= rows && rows <= last) {
            assert_null(found); /* one line for each number of rows */
            found = colon + 2;
        }
    }
    return found;
}

static bool says(const char *line, const char *words) {
    const char *found = strstr(line, words);
    return found != NULL && found < strchr(line, '\n');
}

static void of_all_samples(void **state) {
    (void)state;
    static char text[TEXT];
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        const struct layer_problem problem = layer_sample(n);
        struct layer_call call;
        layer_open(&call, &problem);
        expect_explaining(explain, call.layer);
        attn_layer_explain(call.layer, text, sizeof text);
        char line[96];
        assert_int_equal(strncmp(text, "layer: ", 7), 0);
        snprintf(line, sizeof line, "workspace of the layer: %zu bytes, backwards %zu",
                 attn_layer_workspace_size(call.layer),
                 attn_layer_backward_workspace_size(call.layer));
        assert_non_null(strstr(text, line));
        assert_non_null(strstr(text, "\nblas: "));
        assert_int_equal(strstr(text, "to the memory") != NULL, problem.cross);
        int weights = 0;
        const int64_t rows = problem.batch * layer_keys(&problem);
        for (int t = 0; t < call.tensors; t++) {
            const attn_tensor *tensor = &call.tensor[t].tensor;
            if (layer_is_weight(&call.tensor[t])) {
                const int64_t *shape = &tensor->shape[tensor->rank - 2];
                weights++;
                assert_non_null(words_of(text, shape[0], shape[1], 1));
                assert_non_null(words_of(text, shape[0], shape[1], rows));
            }
        }
        snprintf(line, sizeof line, "weights: %d, 0 of them packed", weights);
        assert_non_null(strstr(text, line));
        const bool packs = layer_pack(&call) > 0;
        attn_layer_explain(call.layer, text, sizeof text);
        snprintf(line, sizeof line, "weights: %d, %d of them packed", weights,
                 packs ? weights : 0);
        assert_non_null(strstr(text, line));
        assert_int_equal(strstr(text, "is of no use") == NULL, packs);
        layer_close(&call);
    }
    assert_int_equal(attn_layer_explain(NULL, text, sizeof text), 0);
    assert_string_equal(text, "");
}

/* One sequence of so many rows, with weights of 3 x 96 x 96 and 96 x 96. */
static struct layer_problem of_rows(int64_t rows) {
    struct layer_problem problem = layer_sample(0);
    problem.batch = 1;
    problem.q_length = rows;
    problem.kv_length = 0;
    problem.outputs = 0;
    problem.self.options.embed_dim = 96;
    problem.self.options.heads = 3;
    return problem;
}

/* Whether all products of the layer read packed weights, as it says. */
static bool all_packed(const struct layer_call *call, int64_t rows) {
    static char text[TEXT];
    attn_layer_explain(call->layer, text, sizeof text);
    return says(words_of(text, 288, 96, rows), "the packed weight") &&
           says(words_of(text, 96, 96, rows), "the packed weight");
}

static void of_what_products_read(void **state) {
    (void)state;
    for (int64_t rows = 1; rows <= 136; rows += rows < 12 ? 1 : 31) {
        const struct layer_problem problem = of_rows(rows);
        struct layer_call call;
        layer_open(&call, &problem);
        assert_false(all_packed(&call, rows));
        if (layer_pack(&call) > 0) {
            layer_spoil_weights(&call);
            layer_reset(&call);
            layer_forward(&call);
            const bool nan = isnan(*(const float *)call.output.data);
            assert_int_equal(!nan, all_packed(&call, rows));
        }
        layer_close(&call);
    }
}

static void of_own_products(void **state) {
    (void)state;
    static char text[TEXT];
    const struct layer_problem problem = of_rows(60);
    struct layer_call call;
    layer_open(&call, &problem);
    layer_need(&call, attn_layer_set_reproducible(call.layer, 1), "reproducible");
    attn_layer_explain(call.layer, text, sizeof text);
    assert_non_null(strstr(text, "reproducible products: yes"));
    for (int64_t rows = 1; rows <= 60; rows++) {
        assert_true(says(words_of(text, 288, 96, rows), "of our own"));
        assert_true(says(words_of(text, 96, 96, rows), "of our own"));
    }
    assert_null(words_of(text, 96, 96, 61));
    layer_close(&call);
}

int main(void) {
    const int skipped = run_skip_isa();
    if (skipped != 0) {
        return skipped;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_all_samples),
        cmocka_unit_test(of_what_products_read),
        cmocka_unit_test(of_own_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
