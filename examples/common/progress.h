/*
 * A line on stderr about work that takes longer than two seconds. Nothing is shown
 * where stderr is not a terminal.
 */
#ifndef COMMON_PROGRESS_H
#define COMMON_PROGRESS_H

/* Seconds since some moment; for differences only. */
double progress_clock(void);

/* A piece of work begins; the name of it stays the caller's until progress_end(). */
void progress_begin(const char *name);

/* It goes on: done of total, or total 0 where nobody knows. Safe from any thread. */
void progress_tick(long done, long total);

/* It is over: the line disappears. */
void progress_end(void);

#endif
