/*
 * What the library says about itself: versions, names, messages of each thread, and the
 * explaining texts.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

static void versions(void **state) {
    (void)state;
    char text[64];
    snprintf(text, sizeof text, "%d.%d.%d", ATTN_VERSION_MAJOR, ATTN_VERSION_MINOR,
             ATTN_VERSION_PATCH);
    assert_int_equal(attn_version(), ATTN_VERSION);
    assert_string_equal(attn_version_string(), text);
    assert_int_equal(attn_abi_version(), ATTN_ABI_VERSION);
    assert_non_null(strstr(attn_build_info(), text));
    assert_non_null(strstr(attn_build_info(), "scalar"));
    assert_null(strchr(attn_build_info(), '\n'));
}

static void names_of_statuses(void **state) {
    (void)state;
    assert_string_equal(attn_status_string(ATTN_OK), "ATTN_OK");
    assert_string_equal(attn_status_string(1), "ATTN_ERR_INVALID");
    assert_string_equal(attn_status_string(2), "ATTN_ERR_UNSUPPORTED");
    assert_string_equal(attn_status_string(3), "ATTN_ERR_NOT_DIFFERENTIABLE");
    assert_string_equal(attn_status_string(4), "ATTN_ERR_NO_MEMORY");
    assert_string_equal(attn_status_string(5), "ATTN_ERR_CANCELLED");
    assert_string_equal(attn_status_string(6), "ATTN_ERR_IO");
    assert_string_equal(attn_status_string(7), "unknown status");
    assert_string_equal(attn_status_string(-1), "unknown status");
}

static void *other_thread(void *user) {
    const char **first = user;
    *first = strcmp(attn_last_error(), "") == 0 ? "empty" : "not empty";
    attn_desc_create(NULL);
    return strstr(attn_last_error(), "desc") != NULL ? user : NULL;
}

static void messages_belong_to_threads(void **state) {
    (void)state;
    pthread_t thread;
    const char *first = NULL;
    void *result = NULL;
    expect_mark();
    assert_int_equal(pthread_create(&thread, NULL, other_thread, &first), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_string_equal(first, "empty");
    assert_ptr_equal(result, &first);
    expect_marked();
}

static size_t explain_context(const void *object, char *text, size_t size) {
    return attn_context_explain(object, text, size);
}

static size_t explain_plan(const void *object, char *text, size_t size) {
    return attn_plan_explain(object, text, size);
}

static void contexts_explain_themselves(void **state) {
    (void)state;
    struct test_problem problem = run_parse("threads=3 isa=scalar");
    char text[4096];
    attn_context *context = run_context(&problem);
    expect_explaining(explain_context, context);
    expect_explaining(explain_context, NULL);
    attn_context_explain(context, text, sizeof text);
    assert_non_null(strstr(text, "threads: 3\n"));
    assert_non_null(strstr(text, "isa: scalar\n"));
    assert_non_null(strstr(text, "\nblas: "));
    assert_non_null(strstr(text, "policy: "));
    attn_context_destroy(context);
}

static void plans_explain_themselves(void **state) {
    (void)state;
    static const char *const texts[] = {
        "q300 k3000 d64 causal engine=flash", "q300 k3000 d64 bias engine=dense",
        "h8/2 q1 k3000 d64", "h8/2 q300 k300 d64", "h8/2 q300 k3000 d64 mask sinks"};
    static const char *const engines[] = {
        "engine: flash", "engine: dense", "up to 4 queries",
        "engine refused: flash (no sequence has more keys)",
        "engine: flash beyond that"};
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_call call;
        char text[4096], bytes[64];
        call_open(&call, texts[t], ONLY_OUT);
        expect_explaining(explain_plan, call.plan);
        attn_plan_explain(call.plan, text, sizeof text);
        snprintf(bytes, sizeof bytes, "workspace: %zu",
                 attn_plan_workspace_size(call.plan));
        assert_non_null(strstr(text, engines[t]));
        assert_non_null(strstr(text, bytes));
        assert_non_null(strstr(text, "\nblas: "));
        call_close(&call);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions),
        cmocka_unit_test(names_of_statuses),
        cmocka_unit_test(messages_belong_to_threads),
        cmocka_unit_test(contexts_explain_themselves),
        cmocka_unit_test(plans_explain_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
