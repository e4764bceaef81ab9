/*
 * Each feature is switched on with a chance of its own, low enough that most problems
 * have two or three, and sizes come from lists of lengths around tile and vector
 * widths.
 */
#include "tests/support/compose.h"

#include "tests/support/gen.h"
#include "tests/support/random.h"

static const int16_t lengths[] = {0,  1,  2,  3,  7,   8,   16,  17,  31,  33,
                                  63, 64, 65, 97, 100, 128, 129, 197, 257, 333};
static const int16_t dims[] = {1, 2, 3, 8, 17, 31, 32, 40, 64, 65, 80, 96, 128};

static int64_t pick(struct random *random, const int16_t *list, size_t count) {
    return list[random_between(random, 0, (int64_t)count - 1)];
}

static void compose_sizes(struct test_problem *p, struct random *random) {
    static const int8_t heads[][2] = {{1, 1}, {2, 2}, {3, 1}, {4, 2}, {6, 2}, {5, 5}};
    int64_t pair = random_between(random, 0, (int64_t)COUNT_OF(heads) - 1);
    p->q_heads = heads[pair][0];
    p->kv_heads = heads[pair][1];
    p->batch = random_between(random, 1, 3);
    p->key_dim = (int32_t)pick(random, dims, COUNT_OF(dims));
    p->value_dim = random_percent(random, 60)
                       ? p->key_dim
                       : (int32_t)pick(random, dims, COUNT_OF(dims));
    do {
        p->q_length = pick(random, lengths, COUNT_OF(lengths));
        p->kv_length = random_percent(random, 30)
                           ? p->q_length
                           : pick(random, lengths, COUNT_OF(lengths));
    } while (p->batch * p->q_heads * p->q_length * p->kv_length > 200000);
}

static void compose_masks(struct test_problem *p, struct random *random) {
    p->causal = random_percent(random, 40);
    p->prefix = p->causal && random_percent(random, 25);
    p->alignment = random_percent(random, 50)
                       ? ATTN_ALIGN_TOP_LEFT
                       : (int32_t)random_between(random, 0, ATTN_ALIGN_KV_LENGTHS);
    p->left = p->right = -1;
    if (random_percent(random, 25)) {
        p->left = random_between(random, -1, 40);
        p->right = random_between(random, -1, 40);
    }
    p->q_lengths = random_percent(random, 20);
    p->kv_lengths = random_percent(random, 30);
    p->documents = random_percent(random, 20);
    if (random_percent(random, 20)) {
        static const int16_t blocks[] = {1, 3, 16, 64, 100};
        p->q_block = pick(random, blocks, COUNT_OF(blocks));
        p->k_block = pick(random, blocks, COUNT_OF(blocks));
    }
    p->mask = random_percent(random, 25);
}

static void compose_scores(struct test_problem *p, struct random *random) {
    p->bias = random_percent(random, 25);
    p->alibi = random_percent(random, 20);
    p->sinks = random_percent(random, 20);
    if (random_percent(random, 20)) {
        p->softcap = random_percent(random, 50) ? 30.0f : 1.5f;
    }
    if (random_percent(random, 20)) {
        static const float scales[] = {1.0f, 0.03125f, -0.2f, 0.0f};
        p->has_scale = 1;
        p->scale = scales[random_between(random, 0, (int64_t)COUNT_OF(scales) - 1)];
    }
}

static void compose_relative(struct test_problem *p, struct random *random) {
    static const int16_t tables[][2] = {{32, 128}, {8, 20}, {6, 400}, {5, 7}};
    if (random_percent(random, 15)) {
        int64_t pair = random_between(random, 0, (int64_t)COUNT_OF(tables) - 1);
        p->buckets = tables[pair][0];
        p->max_distance = tables[pair][1];
        p->bidirectional = p->buckets % 2 == 0 && random_percent(random, 50);
    }
    p->relative_keys = random_percent(random, 15);
    p->position_bias = p->relative_keys && random_percent(random, 50);
    p->content_bias = random_percent(random, p->relative_keys ? 40 : 8);
    p->segments = random_percent(random, 12);
    if (random_percent(random, 12)) {
        p->ranks = (int32_t)random_between(random, ATTN_RANKS_UP_TO, ATTN_RANKS_BELOW);
    }
}

static void compose_stored(struct test_problem *p, struct random *random) {
    if (random_percent(random, 35)) {
        p->query_type = (int32_t)random_between(random, STORE_F32, STORE_BF16);
        p->key_type = (int32_t)random_between(random, STORE_F32, STORE_I8);
        p->value_type = (int32_t)random_between(random, STORE_F32, STORE_I8);
        p->out_type = (int32_t)random_between(random, STORE_F32, STORE_BF16);
    }
}

/* Without all that has no packed form. */
static void compose_packed(struct test_problem *p, struct random *random) {
    if (!random_percent(random, 15)) {
        return;
    }
    const int64_t fate = random_between(random, 0, 9);
    p->q_packed = fate != 0;
    p->k_packed = fate != 1;
    p->batch += random_between(random, 0, 3);
    p->q_lengths = p->q_lengths && !p->q_packed;
    p->kv_lengths = p->kv_lengths && !p->k_packed;
    p->mask = p->bias = p->documents = p->segments = 0;
    p->q_block = p->k_block = 0;
    p->ranks = ATTN_RANKS_OFF;
}

/* Without what multiplies the query. */
static void compose_additive(struct test_problem *p, struct random *random) {
    if (random_percent(random, 12)) {
        p->additive = 1;
        p->relative_keys = p->content_bias = p->position_bias = p->segments = 0;
    }
}

struct test_problem compose_problem(uint64_t number, int *data) {
    struct random random = random_stream(number, 77);
    struct test_problem problem = {.seed = number};
    compose_sizes(&problem, &random);
    compose_masks(&problem, &random);
    compose_scores(&problem, &random);
    problem.layout = random_percent(&random, 40) ? LAYOUT_BSHD : LAYOUT_BHSD;
    problem.threads = (int32_t)random_between(&random, 1, 3);
    *data = random_percent(&random, 60)
                ? DATA_RANDOM
                : (int)random_between(&random, 0, DATA_KINDS - 1);
    if (random_percent(&random, 20)) {
        static const float dropouts[] = {0.1f, 0.5f, 0.9f, 1.0f};
        problem.dropout =
            dropouts[random_between(&random, 0, (int64_t)COUNT_OF(dropouts) - 1)];
    }
    compose_relative(&problem, &random);
    compose_stored(&problem, &random);
    compose_packed(&problem, &random);
    compose_additive(&problem, &random);
    return problem;
}

struct test_problem compose_differentiable(uint64_t number, int *data) {
    struct test_problem problem = compose_problem(number, data);
    problem.query_type = problem.key_type = STORE_F32;
    problem.value_type = problem.out_type = STORE_F32;
    problem.q_packed = problem.k_packed = 0;
    return problem;
}
