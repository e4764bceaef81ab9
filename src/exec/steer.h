/*
 * Which processors the threads of a pool run on. A system wakes a thread where it ran
 * last, or where the thread that wakes it runs. If both are one, it should look for an
 * idle processor, but in virtual machines it often does not, it seems since an idle one
 * has been given back to the host. Then the thread waits for the one that woke it,
 * which does all the work itself, call after call.
 *
 * So before a thread is woken that ran last where the caller runs, it is kept off that
 * processor. A thread whose processors somebody else has set, or the system does not
 * let us set, is left alone. Where nothing is known of processors, nothing is done.
 */
#ifndef ATTN_EXEC_STEER_H
#define ATTN_EXEC_STEER_H

#include <pthread.h>
#include <stdbool.h>

enum { PROCESSORS_MOST = 1024 };

/* Those that a pool's threads may run on; count 0: unknown. */
struct processors {
    int count;
    bool has[PROCESSORS_MOST];
};

/* A thread: where it ran last, what it is kept off, -1 if nothing; and whether somebody
 * else decides. */
struct steered {
    int last, off;
    bool foreign;
};

/* Those of the calling thread, which threads that it starts have as well. */
void attn_steer_start(struct processors *all);

/* The processor that the calling thread runs on; -1: unknown. */
int attn_steer_here(void);

/* Keeps the thread off this processor, and no other. */
void attn_steer_off(const struct processors *all, pthread_t thread,
                    struct steered *steered, int processor);

#endif
