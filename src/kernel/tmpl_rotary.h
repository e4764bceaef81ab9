/*
 * Template: rotation of pairs. No operation is fused, so that every kernel set gives
 * the same bits; memory is the limit, not arithmetic. Include after a vec_*.h.
 */
#ifndef ATTN_KERNEL_TMPL_ROTARY_H
#define ATTN_KERNEL_TMPL_ROTARY_H

static inline vec rotated_x(vec x, vec y, vec c, vec s) {
    return vec_sub(vec_mul(x, c), vec_mul(y, s));
}

static inline vec rotated_y(vec x, vec y, vec c, vec s) {
    return vec_add(vec_mul(x, s), vec_mul(y, c));
}

static void kernel_rotate_halves(float *to, ptrdiff_t ld_to, const float *from,
                                 ptrdiff_t ld_from, int rows, int n, ptrdiff_t half,
                                 const float *cosines, const float *sines,
                                 ptrdiff_t ld_angles) {
    for (int r = 0; r < rows; r++) {
        const float *first = from + r * ld_from, *second = first + half;
        float *to_first = to + r * ld_to, *to_second = to_first + half;
        const float *cosine = cosines + r * ld_angles, *sine = sines + r * ld_angles;
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            const vec x = vec_load(first + i), y = vec_load(second + i);
            const vec c = vec_load(cosine + i), s = vec_load(sine + i);
            vec_store(to_first + i, rotated_x(x, y, c, s));
            vec_store(to_second + i, rotated_y(x, y, c, s));
        }
        if (i < n) {
            const vec x = vec_load_part(first + i, n - i, 0.0f);
            const vec y = vec_load_part(second + i, n - i, 0.0f);
            const vec c = vec_load_part(cosine + i, n - i, 0.0f);
            const vec s = vec_load_part(sine + i, n - i, 0.0f);
            vec_store_part(to_first + i, n - i, rotated_x(x, y, c, s));
            vec_store_part(to_second + i, n - i, rotated_y(x, y, c, s));
        }
    }
}

static void kernel_rotate_pairs(float *to, ptrdiff_t ld_to, const float *from,
                                ptrdiff_t ld_from, int rows, int n,
                                const float *cosines, const float *sines,
                                ptrdiff_t ld_angles) {
    for (int r = 0; r < rows; r++) {
        const float *row = from + r * ld_from;
        float *to_row = to + r * ld_to;
        const float *cosine = cosines + r * ld_angles, *sine = sines + r * ld_angles;
        ptrdiff_t i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            vec x, y;
            vec_load_pairs(row + 2 * i, &x, &y);
            const vec c = vec_load(cosine + i), s = vec_load(sine + i);
            vec_store_pairs(to_row + 2 * i, rotated_x(x, y, c, s),
                            rotated_y(x, y, c, s));
        }
        for (; i < n; i++) {
            const float x = row[2 * i], y = row[2 * i + 1];
            to_row[2 * i] = x * cosine[i] - y * sine[i];
            to_row[2 * i + 1] = x * sine[i] + y * cosine[i];
        }
    }
}

#endif
