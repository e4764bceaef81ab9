/*
 * Sines and cosines: computed in float64 and rounded, or taken from the caller's.
 *
 * A rotation by -a has the same cosines and the negative sines.
 */
#include <math.h>

#include "layer/rotary.h"

void attn_rotary_powers(double *powers, const struct rotary *rotary, int64_t pair,
                        int n) {
    for (int i = 0; i < n; i++) {
        const double exponent = (double)(pair + i) / (double)rotary->pairs;
        powers[i] = pow(rotary->base, exponent);
    }
}

static int64_t position_of(const struct rotary *rotary, int64_t b, int64_t row) {
    if (rotary->position_ids.data != NULL) {
        return integer_at(&rotary->position_ids, b, row);
    }
    return rotary->offsets.data != NULL ? row + integer_at(&rotary->offsets, b, 0)
                                        : row;
}

static void compute(float *cosines, float *sines, double position, const double *powers,
                    int n, double sign) {
    for (int i = 0; i < n; i++) {
        const double angle = position / powers[i];
        cosines[i] = (float)cos(angle);
        sines[i] = (float)(sign * sin(angle));
    }
}

static void take(float *cosines, float *sines, const float *given_cosines,
                 const float *given_sines, int n, float sign) {
    for (int i = 0; i < n; i++) {
        cosines[i] = given_cosines[i];
        sines[i] = sign * given_sines[i];
    }
}

void attn_rotary_angles(struct angles *angles, const struct rotary *rotary,
                        const double *powers, int64_t b, int64_t row, int rows,
                        int64_t pair, int n) {
    const float sign = rotary->inverse ? -1.0f : 1.0f;
    const bool computed = rotary->cosines.data == NULL;
    for (int r = 0; r < rows; r++) {
        float *cosines = angles->cosines[r], *sines = angles->sines[r];
        const int64_t at =
            rotary->by_position ? position_of(rotary, b, row + r) : row + r;
        if (computed) {
            compute(cosines, sines, (double)at, powers, n, sign);
        } else {
            take(cosines, sines, view_at(&rotary->cosines, b, 0, at, pair),
                 view_at(&rotary->sines, b, 0, at, pair), n, sign);
        }
    }
}
