/*
 * What is printed about a training.
 */
#ifndef GPT_REPORT_H
#define GPT_REPORT_H

#include "run.h"

/* What is learned from, and by which model. */
void report_task(const struct run *run);

/* Begins the table of steps; then a line after each step: on a terminal the last line
 * is drawn anew, else and where it lasts there is a line for good. */
void report_begin(const struct run *run);
void report_step(const struct run *run, bool lasting);

/* Takes away the line that is drawn anew. */
void report_pause(void);

/* How long it took, and what part of that attention did. */
void report_time(const struct run *run);

/* How well the text held out is predicted, beside bigrams: bits per character. */
void report_losses(const struct run *run, double model, double tokens,
                   double characters);

/* Writes losses.tsv to the folder of the run: a line for each step. */
void report_file(const struct run *run);

#endif
