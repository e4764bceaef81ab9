/*
 * Training.
 */
#ifndef GPT_TRAIN_H
#define GPT_TRAIN_H

#include "run.h"

/* How a training ended. */
enum outcome { FINISHED, STOPPED, INTERRUPTED };

/* Takes the steps that are left, shows how it goes, and saves from time to time and at
 * the end. SIGINT and SIGTERM end it after the step under way. */
enum outcome train(struct run *run);

#endif
