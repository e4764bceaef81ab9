/*
 * By the calls of Linux.
 */
#define _GNU_SOURCE /* for sched_getcpu() and sets of processors */
#include "exec/steer.h"

#if defined(__linux__)

#include <sched.h>

_Static_assert(PROCESSORS_MOST == CPU_SETSIZE, "as many as a set holds");

void attn_steer_start(struct processors *all) {
    cpu_set_t set;
    *all = (struct processors){.count = 0};
    if (pthread_getaffinity_np(pthread_self(), sizeof set, &set) == 0) {
        all->count = CPU_COUNT(&set);
        for (int i = 0; i < PROCESSORS_MOST; i++) {
            all->has[i] = CPU_ISSET(i, &set);
        }
    }
}

int attn_steer_here(void) {
    return sched_getcpu();
}

static cpu_set_t all_but(const struct processors *all, int off) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int i = 0; i < PROCESSORS_MOST; i++) {
        if (all->has[i] && i != off) {
            CPU_SET(i, &set);
        }
    }
    return set;
}

void attn_steer_off(const struct processors *all, pthread_t thread,
                    struct steered *steered, int processor) {
    const cpu_set_t ours = all_but(all, steered->off), wanted = all_but(all, processor);
    cpu_set_t now;
    if (steered->foreign || CPU_COUNT(&wanted) == 0 ||
        pthread_getaffinity_np(thread, sizeof now, &now) != 0) {
        return;
    }
    if (CPU_EQUAL(&now, &ours) &&
        pthread_setaffinity_np(thread, sizeof wanted, &wanted) == 0) {
        steered->off = processor;
    } else {
        steered->foreign = true;
    }
}

#else

void attn_steer_start(struct processors *all) {
    *all = (struct processors){.count = 0};
}

int attn_steer_here(void) {
    return -1;
}

void attn_steer_off(const struct processors *all, pthread_t thread,
                    struct steered *steered, int processor) {
    (void)all;
    (void)thread;
    (void)steered;
    (void)processor;
}

#endif
