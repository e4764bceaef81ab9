/*
 * One line on the terminal that says how far a long run has come.
 */
#ifndef BENCH_PROGRESS_H
#define BENCH_PROGRESS_H

/* Shows the text on standard error, over the one before. Does nothing where that is
 * no terminal, in the first two seconds of the program's work, and where the last
 * text is younger than a fifth of a second. */
void progress_show(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Takes the line away. */
void progress_clear(void);

#endif
