/*
 * The context's life, its loops and the workspace that it lends.
 *
 * Plans on several threads share a context, so what changes after its set-up is
 * atomic: the count of holders, the pool (made once, by whoever needs it first) and
 * the spare block of workspace. Lending exchanges the spare with NULL and giving back
 * exchanges it in: one call at a time takes it, others allocate, nobody waits.
 */
#include "exec/context.h"

#include <stdlib.h>

#include "base/cpu.h"
#include "base/text.h"
#include "exec/blas.h"
#include "exec/pool.h"

/* What lies before each lent block; as large as the alignment it must keep. */
union lent_header {
    size_t bytes;
    char room[MEM_ALIGNMENT];
};

void attn_context_setup(struct attn_context *context, int32_t threads) {
    *context = (struct attn_context){.threads = threads};
    atomic_init(&context->holders, 1);
}

void attn_context_clear(struct attn_context *context) {
    attn_pool_destroy(atomic_load(&context->pool));
    attn_mem_release(&context->allocator, atomic_load(&context->spare));
    attn_mem_release(&context->allocator, context->tuning);
}

void attn_context_retain(struct attn_context *context) {
    atomic_fetch_add(&context->holders, 1);
}

void attn_context_release(struct attn_context *context) {
    if (atomic_fetch_sub(&context->holders, 1) == 1) {
        attn_context_clear(context);
        free(context);
    }
}

/* The pool, made now if need be; NULL if there is no memory for it. */
static struct pool *pool_of(struct attn_context *context) {
    struct pool *pool = atomic_load(&context->pool);
    if (pool == NULL) {
        struct pool *made = attn_pool_create(&context->allocator, context->threads);
        if (atomic_compare_exchange_strong(&context->pool, &pool, made)) {
            return made;
        }
        attn_pool_destroy(made);
    }
    return pool;
}

void attn_context_run(struct attn_context *context, int32_t count, attn_task *task,
                      void *argument) {
    struct pool *pool = NULL;
    if (count > 1 && context->parallel_for != NULL) {
        context->parallel_for(context->parallel_user, count, task, argument);
    } else if (count > 1 && (pool = pool_of(context)) != NULL) {
        attn_pool_run(pool, count, task, argument);
    } else {
        for (int32_t i = 0; i < count; i++) {
            task(argument, i);
        }
    }
}

void *attn_context_borrow(struct attn_context *context, size_t bytes) {
    union lent_header *block = atomic_exchange(&context->spare, NULL);
    if (block != NULL && block->bytes < bytes) {
        attn_mem_release(&context->allocator, block);
        block = NULL;
    }
    if (block == NULL) {
        if (bytes > SIZE_MAX - sizeof *block) {
            return NULL;
        }
        block = attn_mem_allocate(&context->allocator, sizeof *block + bytes);
        if (block == NULL) {
            return NULL;
        }
        block->bytes = bytes;
    }
    return block + 1;
}

void attn_context_give_back(struct attn_context *context, void *memory) {
    void *block = (union lent_header *)memory - 1;
    attn_mem_release(&context->allocator, atomic_exchange(&context->spare, block));
}

void attn_context_describe(struct text *text, const struct attn_context *context) {
    static const char *const policies[] = {
        [ATTN_BLAS_SAFE] = "safe",
        [ATTN_BLAS_SINGLE] = "single-threaded, by the caller's promise",
        [ATTN_BLAS_SET_SINGLE] = "set to one thread",
    };
    const struct blas *blas = attn_blas();
    attn_text_add(text, "threads: %d%s\n", (int)context->threads,
                  context->parallel_for != NULL ? " of the application" : "");
    attn_text_add(text, "isa: %s", attn_cpu_isa_name(context->isa));
    const char *misspelt = attn_cpu_isa_misspelt();
    if (misspelt != NULL) {
        attn_text_add(text, " (ATTN_ISA is \"%.20s\", which is none)", misspelt);
    }
    attn_text_add(text, "\n");
    attn_text_add(text, "blas: %s%s\n", blas->name,
                  !blas->one_at_a_time  ? ""
                  : blas->small_kernels ? ", one large call at a time"
                                        : ", one call at a time");
    attn_text_add(text, "blas policy: %s\n", policies[context->blas_policy]);
    attn_text_add(text, "reproducible: %s\n", blas->reproducible ? "yes" : "no");
}

size_t attn_context_write(const struct attn_context *context, char *buffer,
                          size_t size) {
    struct text text = attn_text_start(buffer, size);
    attn_context_describe(&text, context);
    return text.length;
}
