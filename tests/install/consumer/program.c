/*
 * program.c - what somebody else's program does with an installed libattn: include
 * <attn.h>, make sure of the ABI, attend. It returns 0 if the result is right.
 */
#include <attn.h>
#include <stdio.h>

enum { QUERIES = 3, KEYS = 5, DIM = 4 };

int main(void) {
    float query[QUERIES * DIM], key[KEYS * DIM], value[KEYS], out[QUERIES];
    for (int i = 0; i < QUERIES * DIM; i++) {
        query[i] = (float)(i % 3) - 1.0f;
    }
    for (int i = 0; i < KEYS * DIM; i++) {
        key[i] = (float)(i % 7) - 3.0f;
    }
    for (int i = 0; i < KEYS; i++) {
        value[i] = 2.0f;
    }
    if (attn_abi_version() != ATTN_ABI_VERSION) {
        fprintf(stderr, "ABI version %d, compiled for %d\n", (int)attn_abi_version(),
                ATTN_ABI_VERSION);
        return 1;
    }
    if (attn_sdpa(NULL, 1, 1, 1, QUERIES, KEYS, DIM, 1, 0, query, key, value, out) !=
        ATTN_OK) {
        fprintf(stderr, "%s\n", attn_last_error());
        return 1;
    }
    /* Weights sum to 1, so that a mean of equal values is that value. */
    for (int i = 0; i < QUERIES; i++) {
        if (!(out[i] > 1.999f && out[i] < 2.001f)) {
            fprintf(stderr, "out[%d] is %g, not 2\n", i, (double)out[i]);
            return 1;
        }
    }
    printf("libattn %s\n", attn_version_string());
    return 0;
}
