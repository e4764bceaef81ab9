/*
 * Contexts.
 */
#include <stdlib.h>

#include "api/api.h"
#include "attn/common.h"
#include "base/cpu.h"
#include "exec/blas.h"
#include "exec/context.h"
#include "kernel/kernel.h"

enum { THREADS_MAX = 1024 };

/* A context as attn_context_create() makes it. */
static void set_defaults(attn_context *context) {
    attn_context_setup(context, attn_cpu_count());
    context->isa = attn_kernels_best();
}

attn_status attn_context_create(attn_context **context) {
    REQUIRE_POINTER(context);
    attn_context *made = malloc(sizeof *made);
    REQUIRE(made != NULL, ATTN_ERR_NO_MEMORY, "no memory for a context");
    set_defaults(made);
    *context = made;
    return ATTN_OK;
}

void attn_context_destroy(attn_context *context) {
    if (context != NULL) {
        attn_context_release(context);
    }
}

/* Setters come before plans: what a plan was made for must stay so. */
static attn_status check_settable(const attn_context *context) {
    REQUIRE_POINTER(context);
    REQUIRE(!atomic_load(&context->planned), ATTN_ERR_INVALID,
            "the context cannot be changed: it has been used, or a plan, layer or "
            "cache has "
            "been made with it");
    return ATTN_OK;
}

attn_status attn_context_set_threads(attn_context *context, int32_t threads) {
    TRY(check_settable(context));
    REQUIRE(threads >= 0 && threads <= THREADS_MAX, ATTN_ERR_INVALID,
            "threads is %d, not within 0 to %d", (int)threads, (int)THREADS_MAX);
    context->threads = threads == 0 ? attn_cpu_count() : threads;
    return ATTN_OK;
}

attn_status attn_context_set_parallel_for(attn_context *context,
                                          attn_parallel_for *parallel_for, void *user) {
    TRY(check_settable(context));
    context->parallel_for = parallel_for;
    context->parallel_user = user;
    return ATTN_OK;
}

attn_status attn_context_set_allocator(attn_context *context, attn_allocate *allocate,
                                       attn_release *release, void *user) {
    TRY(check_settable(context));
    REQUIRE((allocate == NULL) == (release == NULL), ATTN_ERR_INVALID,
            "allocate and release must both be given or both be NULL: %s is NULL",
            allocate == NULL ? "allocate" : "release");
    context->allocator = (struct allocator){allocate, release, user};
    return ATTN_OK;
}

attn_status attn_context_set_isa(attn_context *context, int32_t isa) {
    TRY(check_settable(context));
    REQUIRE(isa >= ATTN_ISA_AUTO && isa <= ATTN_ISA_PIECES, ATTN_ERR_INVALID,
            "isa is %d, which is no kernel set", (int)isa);
    if (isa == ATTN_ISA_AUTO) {
        isa = attn_kernels_best();
    }
    REQUIRE(attn_kernels(isa) != NULL, ATTN_ERR_UNSUPPORTED,
            "this build has no %s kernels", attn_cpu_isa_name(isa));
    REQUIRE(attn_cpu_allows(isa), ATTN_ERR_UNSUPPORTED,
            "%s kernels are ruled out by the processor or by ATTN_ISA",
            attn_cpu_isa_name(isa));
    context->isa = isa;
    return ATTN_OK;
}

attn_status attn_context_set_blas_policy(attn_context *context, int32_t policy) {
    TRY(check_settable(context));
    REQUIRE(policy >= ATTN_BLAS_SAFE && policy <= ATTN_BLAS_SET_SINGLE,
            ATTN_ERR_INVALID, "policy is %d, which is no BLAS policy", (int)policy);
    if (policy == ATTN_BLAS_SET_SINGLE) {
        REQUIRE(attn_blas_set_single(), ATTN_ERR_UNSUPPORTED,
                "%s offers no setting of its threads that libattn knows",
                attn_blas()->name);
    }
    context->blas_policy = policy;
    return ATTN_OK;
}

size_t attn_context_explain(const attn_context *context, char *text, size_t size) {
    if (context != NULL) {
        return attn_context_write(context, text, size);
    }
    attn_context fresh;
    set_defaults(&fresh);
    return attn_context_write(&fresh, text, size);
}
