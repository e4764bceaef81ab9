/*
 * Template: some elements of a row, n: a vector's WIDTH, or fewer at the end of the
 * row. Include after a vec_*.h.
 */
#ifndef ATTN_KERNEL_TMPL_SOME_H
#define ATTN_KERNEL_TMPL_SOME_H

/* What is missing to WIDTH is `fill`. */
static inline vec load_some(const float *p, int n, float fill) {
    return n < WIDTH ? vec_load_part(p, n, fill) : vec_load(p);
}

static inline void store_some(float *p, int n, vec x) {
    if (n < WIDTH) {
        vec_store_part(p, n, x);
    } else {
        vec_store(p, x);
    }
}

/* The same for what a caller may leave out (NULL): then all are `fill`. */
static inline vec load_given(const float *p, int i, int n, float fill) {
    return p == NULL ? vec_set(fill) : load_some(p + i, n, fill);
}

#endif
