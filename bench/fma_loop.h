/*
 * Template: fused multiply-adds on registers alone, as fast as a core can issue them.
 * Include it with these defined; it undefines them:
 *
 *     NAME          of the function: static float NAME(int64_t steps, float x, float y)
 *     TARGET        function attributes that switch the instruction set on
 *     VECTOR        vector type of floats
 *     ACCUMULATORS  independent sums. At least latency times units of the multiply-add
 *                   (8 on x86, 16 on wide ARM cores), or the units wait for each
 *                   other; and two less than there are registers, or sums spill.
 *     FMA(a, x, y)  a * x + y
 *
 * A step is one FMA of every accumulator. The sums converge to y / (1 - x), so that no
 * subnormal or infinite value ever slows a unit down, and they start from different
 * values, so that no compiler can merge them.
 */
#define TEXT_OF_(x) #x
#define TEXT_OF(x)  TEXT_OF_(x)
#define UNROLL      _Pragma(TEXT_OF(GCC unroll ACCUMULATORS))

TARGET static float NAME(int64_t steps, float x, float y) {
    VECTOR sum[ACCUMULATORS];
    VECTOR factor = (VECTOR){0} + x, term = (VECTOR){0} + y;

    UNROLL
    for (int i = 0; i < ACCUMULATORS; i++) {
        sum[i] = term * (float)i;
    }

    for (int64_t n = 0; n < steps; n++) {
        UNROLL
        for (int i = 0; i < ACCUMULATORS; i++) {
            sum[i] = FMA(sum[i], factor, term);
        }
    }

    UNROLL
    for (int i = 1; i < ACCUMULATORS; i++) {
        sum[0] += sum[i];
    }
    return sum[0][0];
}

#undef UNROLL
#undef TEXT_OF
#undef TEXT_OF_
#undef NAME
#undef TARGET
#undef VECTOR
#undef ACCUMULATORS
#undef FMA
