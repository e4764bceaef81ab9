/*
 * The threads of the program.
 *
 * Work is cut into tasks whose number and size depend on the model alone, and threads
 * take them from a counter. So the number of threads decides who does a task, but no
 * bit of the result.
 */
#ifndef GPT_WORKERS_H
#define GPT_WORKERS_H

#include "attn.h"

struct workers;

/* threads: the caller's included; 0: one for each processor. */
struct workers *workers_open(int threads);

/* How many there are. */
int workers_count(const struct workers *workers);

/* Runs task(argument, i) for every i in 0 <= i < count and returns when all are done. A
 * task must not call this. It has the type that libattn wants of an application with
 * threads of its own, so the first parameter is a struct workers in disguise. */
void workers_run(void *workers, int32_t count, attn_task *task, void *argument);

void workers_close(struct workers *workers);

#endif
