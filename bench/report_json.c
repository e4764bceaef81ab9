/*
 * The JSON report, for comparing runs. Numbers are in seconds, FLOP/s, bytes and
 * bytes/s; null means that a number has no meaning for the case. Members may be added,
 * "format" counts changes of those that are there.
 */
#include "bench/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/fma.h"
#include "bench/json.h"
#include "bench/memory.h"

static void write_samples(struct json *json, const char *key,
                          const struct samples *samples) {
    json_open_object(json, key);
    json_number(json, "median", samples_median(samples));
    json_number(json, "min", samples_min(samples));
    json_number(json, "max", samples_max(samples));
    json_open_array(json, "samples");
    for (int i = 0; i < samples->count; i++) {
        json_number(json, NULL, samples->value[i]);
    }
    json_close_array(json);
    json_close_object(json);
}

/* The plan's "name: value" lines as an object of strings: instruction set, BLAS, its
 * policy, threads, engine, tiles. */
static void write_explanation(struct json *json, const struct bench_case *c) {
    char *text = case_explain(c);
    json_open_object(json, "explain");
    for (char *line = text, *next; *line != '\0'; line = next) {
        next = line + strcspn(line, "\n");
        if (*next != '\0') {
            *next++ = '\0';
        }
        char *colon = strstr(line, ": ");
        if (colon == NULL) {
            continue;
        }
        *colon = '\0';
        json_string(json, line, colon + 2);
    }
    json_close_object(json);
    free(text);
}

static void write_limits(struct json *json, const struct limits *limits) {
    json_open_object(json, NULL);
    json_number(json, "threads", limits->threads);
    write_samples(json, "fma_flops", &limits->fma);
    write_samples(json, "read_bytes", &limits->read);
    json_close_object(json);
}

/* In nanoseconds. */
static void write_profile(struct json *json, const attn_profile *profile) {
    const struct {
        const char *name;
        int64_t number;
    } members[] = {
        {"calls", profile->calls},     {"elapsed", profile->elapsed},
        {"copies", profile->copies},   {"scores", profile->scores},
        {"terms", profile->terms},     {"softmax", profile->softmax},
        {"values", profile->values},   {"gradients", profile->gradients},
        {"outputs", profile->outputs}, {"other", profile->other},
    };
    json_open_object(json, "profile");
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        json_number(json, members[i].name, (double)members[i].number);
    }
    json_close_object(json);
}

static void write_case(struct json *json, const struct run *run,
                       const struct bench_case *c) {
    struct result result = result_of(run, c);
    json_open_object(json, NULL);
    json_string(json, "name", c->name);
    json_string(json, "problem", c->text);
    json_number(json, "threads", c->problem.threads);
    json_number(json, "calls_per_sample", (double)c->calls);
    json_number(json, "kv_copies", c->inputs.turns);
    json_number(json, "workspace_bytes", (double)c->args.workspace_size);
    json_number(json, "backward_workspace_bytes",
                c->backward ? (double)c->backward_args.workspace_size : NAN);
    json_number(json, "checked_rows", c->checked);
    json_number(json, "worst_error", c->worst);
    json_number(json, "operations", case_flops(c));
    json_number(json, "kv_bytes", case_kv_bytes(c));
    write_samples(json, "seconds", &c->seconds);
    write_samples(json, "forward_seconds", &c->forward_seconds);
    write_samples(json, "backward_seconds", &c->backward_seconds);
    json_number(json, "flops", result.flops);
    json_number(json, "part_of_fma_peak", result.of_peak);
    json_number(json, "bytes", result.bytes);
    json_number(json, "part_of_read_bandwidth", result.of_read);
    json_number(json, "part_of_both_limits", result.of_limit);
    json_number(json, "time_over_full", result.of_full);
    json_number(json, "kept", result.kept);
    json_number(json, "backward_over_forward", result.of_forward);
    if (c->profile.calls > 0) {
        write_profile(json, &c->profile);
    }
    if (result.full != NULL) {
        json_string(json, "full", result.full->text);
    }
    write_explanation(json, c);
    json_close_object(json);
}

void report_json(const struct run *run, FILE *file) {
    struct json json;
    json_start(&json, file);
    json_open_object(&json, NULL);
    json_number(&json, "format", 1);
    json_string(&json, "version", attn_version_string());
    json_string(&json, "build", attn_build_info());
    json_number(&json, "rounds", run->rounds);
    json_number(&json, "run_seconds", run->seconds);
    json_string(&json, "fma_isa", fma_loop_best()->isa);
    json_open_array(&json, "limits");
    for (int i = 0; i < run->limit_count; i++) {
        write_limits(&json, &run->limits[i]);
    }
    json_close_array(&json);
    json_open_array(&json, "cases");
    for (int i = 0; i < run->case_count; i++) {
        write_case(&json, run, &run->cases[i]);
    }
    json_close_array(&json);
    json_close_object(&json);
}
