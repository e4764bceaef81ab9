/*
 * Random layers. Sizes are small, since the oracle notes every product; options are
 * switched on with chances of their own.
 */
#include "tests/support/layer.h"

static int64_t one_of(struct random *random, const int64_t *list, size_t count) {
    return list[random_bits(random) % count];
}

static void compose_heads(attn_multihead_options *o, struct random *random) {
    static const int64_t pairs[][3] = {{1, 1, 5}, {2, 2, 6}, {2, 1, 4}, {3, 3, 6},
                                       {4, 2, 8}, {3, 1, 9}, {4, 4, 4}, {1, 1, 1}};
    static const int64_t dims[] = {1, 2, 3, 4, 6};
    const int64_t *pair = pairs[random_bits(random) % COUNT_OF(pairs)];
    o->heads = pair[0];
    o->kv_heads = pair[1] == pair[0] && random_percent(random, 50) ? 0 : pair[1];
    if (o->embed_dim == 0) {
        o->embed_dim = pair[2];
    }
    if (o->embed_dim % o->heads != 0 || random_percent(random, 30)) {
        o->key_dim = one_of(random, dims, COUNT_OF(dims));
    }
    if (random_percent(random, 30)) {
        o->value_dim = one_of(random, dims, COUNT_OF(dims));
    }
}

static void compose_options(attn_multihead_options *o, struct random *random) {
    compose_heads(o, random);
    o->separate = random_percent(random, 40);
    o->input_bias = random_percent(random, 60);
    o->output_bias = random_percent(random, 60);
    o->combine = random_percent(random, 20);
    o->key_value_bias = random_percent(random, 15);
    o->zero_attention = random_percent(random, 15);
    const int64_t kv_heads = o->kv_heads > 0 ? o->kv_heads : o->heads;
    if (o->separate && o->embed_dim % o->heads == 0 && o->embed_dim % kv_heads == 0) {
        o->project = random_percent(random, 30);
    }
}

static void compose_masks(struct layer_attention *a, struct random *random) {
    a->causal = random_percent(random, 30);
    a->window = random_percent(random, 15) ? (int)random_between(random, 1, 3) : 0;
    a->q_lengths = random_percent(random, 20);
    a->kv_lengths = random_percent(random, 25);
    a->mask = random_percent(random, 20)
                  ? (int)random_between(random, LAYER_OF_ALL, LAYER_OF_KEYS)
                  : 0;
    if (random_percent(random, 40)) {
        a->align = (int)random_between(random, 0, ATTN_ALIGN_OFFSETS);
    }
}

static void compose_scores(struct layer_attention *a, struct random *random) {
    static const float softcaps[] = {0.5f, 2, 30}, dropouts[] = {0.2f, 0.5f, 1};
    const int extras = a->options.key_value_bias || a->options.zero_attention;
    a->bias = random_percent(random, 20)
                  ? (int)random_between(random, LAYER_OF_ALL, LAYER_OF_KEYS)
                  : 0;
    a->alibi = random_percent(random, 15);
    /* a row beyond the lengths has extra keys and no sink, or a sink */
    a->sinks = !(extras && a->q_lengths) && random_percent(random, 15);
    a->scale = random_percent(random, 20) ? 0.7f : 0;
    a->softcap = random_percent(random, 20) ? softcaps[random_bits(random) % 3] : 0;
    if (random_percent(random, 20)) {
        a->dropout = dropouts[random_bits(random) % 3];
    }
    if (random_percent(random, 15)) {
        a->bidirectional = random_percent(random, 50);
        a->buckets = a->bidirectional ? 12 : 6;
    }
    a->segments = random_percent(random, 15);
    a->content = !extras && random_percent(random, 15);
}

/* Distances: parameters made from positions, or a table that comes with the call. */
static void compose_distances(struct layer_attention *a, struct random *random,
                              int64_t rows) {
    const int way = (int)random_between(random, 0, 9);
    if (way > 3 || rows < 1) {
        return;
    }
    a->options.relative = way < 2;
    a->relative_keys = way >= 2;
    a->position = random_percent(random, 60);
    a->zero_row = (int)random_between(random, 0, rows - 1);
    a->rows_after = (int)random_between(random, 0, rows - 1 - a->zero_row);
}

static void compose_rotation(struct layer_attention *a, struct random *random,
                             int same_rows) {
    static const double bases[] = {0, 10000, 50, 7.5};
    const struct layer_sizes n = layer_sizes(&a->options);
    if (n.key_dim < 2 || !random_percent(random, 30)) {
        return;
    }
    a->options.rotary_dim = 2 * random_between(random, 1, n.key_dim / 2);
    a->options.rotary_interleaved = random_percent(random, 50);
    a->rotation = (int)random_between(random, 0, LAYER_AT_POSITIONS - 1);
    if (a->rotation == LAYER_AT_COSINES && !same_rows) {
        a->rotation = LAYER_AT_CACHE;
    }
    if (a->rotation < LAYER_AT_CACHE) {
        a->options.rotary_base = bases[random_bits(random) % COUNT_OF(bases)];
    }
}

/* A descriptor is needed where there is anything to say. */
static void compose_desc(struct layer_attention *a, struct random *random) {
    const int says = a->causal || a->align || a->window || a->q_lengths ||
                     a->kv_lengths || a->mask || a->bias || a->alibi || a->sinks ||
                     a->buckets || a->relative_keys || a->content || a->position ||
                     a->segments || a->scale != 0 || a->softcap != 0 || a->dropout != 0;
    a->desc = (int)random_between(random, says ? 1 : 0, 2);
}

static void compose_multihead(struct layer_problem *p, struct random *random) {
    attn_multihead_options *o = &p->self.options;
    static const int64_t dims[] = {1, 2, 3, 4, 6, 12};
    p->inputs = (int)random_between(random, 1, 3);
    compose_options(o, random);
    if (o->separate && p->inputs > 1 && !o->project) {
        o->key_embed_dim =
            random_percent(random, 60) ? one_of(random, dims, COUNT_OF(dims)) : 0;
        /* value is key where it is not given */
        o->value_embed_dim =
            p->inputs == 2 ? o->key_embed_dim : one_of(random, dims, COUNT_OF(dims));
    }
    if (p->inputs > 1 && p->q_length > 0 && random_percent(random, 20)) {
        o->targets = 1;
        p->targets = random_between(random, 0, p->q_length);
    }
    compose_masks(&p->self, random);
    compose_scores(&p->self, random);
    const int64_t keys = p->inputs == 1 ? p->q_length : p->kv_length;
    compose_distances(&p->self, random, p->q_length + keys);
    compose_rotation(&p->self, random, keys == p->q_length);
    compose_desc(&p->self, random);
}

static void compose_stack(struct layer_problem *p, struct random *random) {
    attn_stack_options *s = &p->stack;
    p->layers = random_percent(random, 50) ? 1 : random_between(random, 2, 3);
    s->groups = random_between(random, 0, p->layers);
    s->feed_forward_dim = random_between(random, 1, 9);
    s->activation = random_between(random, 0, ATTN_ACTIVATION_SILU);
    s->gated = random_percent(random, 30);
    s->feed_forward_bias = random_percent(random, 60);
    s->norm = random_percent(random, 40);
    s->norm_bias = random_percent(random, 60);
    s->norm_first = random_percent(random, 50);
    s->final_norm = random_percent(random, 40);
    s->recompute = random_percent(random, 40);
    s->epsilon = random_percent(random, 50) ? 0 : 0.01;
    compose_options(&p->self.options, random);
    if (random_percent(random, 40)) {
        p->cross = 1;
        p->memory.options.embed_dim = p->self.options.embed_dim;
        compose_options(&p->memory.options, random);
        if (p->memory.options.separate && !p->memory.options.project &&
            random_percent(random, 50)) {
            p->memory.options.key_embed_dim = p->memory.options.value_embed_dim =
                random_between(random, 1, 7);
        }
        compose_masks(&p->memory, random);
        compose_scores(&p->memory, random);
        compose_desc(&p->memory, random);
    }
    compose_masks(&p->self, random);
    compose_scores(&p->self, random);
    compose_distances(&p->self, random, 2 * p->q_length);
    compose_rotation(&p->self, random, 1);
    compose_desc(&p->self, random);
}

struct layer_problem layer_compose(uint64_t number) {
    static const int64_t lengths[] = {1, 1, 2, 3, 4, 5, 7};
    struct random random = random_stream(82, number);
    struct layer_problem p = {
        .batch = random_between(&random, 1, 3),
        .q_length = one_of(&random, lengths, COUNT_OF(lengths)),
        .kv_length = one_of(&random, lengths, COUNT_OF(lengths)),
        .inputs = 1,
        .outputs = random_percent(&random, 50),
        .threads = 1,
        .seed = number,
    };
    if (random_percent(&random, 4)) {
        *(random_percent(&random, 50) ? &p.q_length : &p.batch) = 0;
    }
    if (random_percent(&random, 4)) {
        p.kv_length = 0;
    }
    if (random_percent(&random, 50)) {
        compose_multihead(&p, &random);
    } else {
        compose_stack(&p, &random);
    }
    if (p.layers > 0 && !p.cross) {
        p.kv_length = 0;
    }
    return p;
}
