/*
 * Without chance a text follows from the model alone. The two ways add numbers in
 * another order, though, and where two tokens are as likely but for rounding, they may
 * choose differently; from there on they write different texts, and that is said.
 */
#include "ways.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "storage.h"
#include "write.h"

/* As many tokens as the sample has, but no more than show the difference: what reading
 * anew takes grows with their square, and the rows of all readings stay below this. */
static int tokens_to_write(const struct sample *sample) {
    enum { MOST_SHOWN = 200, MOST_ROWS = 100000 };
    int length = sample->count - sample->prompt;
    length = length < MOST_SHOWN ? length : MOST_SHOWN;
    int share = MOST_ROWS / (sample->prompt + length);
    share = share > 1 ? share : 1;
    return length < share ? length : share;
}

/* Tokens written until the texts part; as many as there are if they do not. */
static int alike(const struct writing *one, const struct writing *other) {
    int count = 0;
    while (count < one->length &&
           one->token[one->prompt + count] == other->token[one->prompt + count]) {
        count++;
    }
    return count;
}

static struct writing write_way(struct run *run, const struct sample *sample,
                                const struct manner *manner) {
    struct writing writing = {
        .prompt = sample->prompt,
        .length = tokens_to_write(sample),
    };
    writing.token = memory_get((size_t)sample->count, sizeof *writing.token);
    writing.ahead = memory_get((size_t)writing.length, sizeof *writing.ahead);
    memcpy(writing.token, sample->token,
           (size_t)sample->prompt * sizeof *writing.token);
    write_text(run, manner, &writing);
    return writing;
}

static void close_way(struct writing *writing) {
    free(writing->token);
    free(writing->ahead);
}

void ways_show(struct run *run, const struct sample *sample) {
    const struct options *options = &run->options;
    const struct manner cached = {
        .cache = options->cache != 0 ? options->cache : ATTN_F32,
        .chunk = options->chunk,
    };
    const struct manner anew = {.cache = 0};
    struct writing quick = write_way(run, sample, &cached);
    struct writing slow = write_way(run, sample, &anew);
    int length = quick.length;
    printf("\nThe likeliest %d token%s behind the same beginning, in two ways:\n\n"
           "   %6.0f tokens/s with earlier keys and values in a cache: %s, %.2f MiB\n"
           "   %6.0f tokens/s with the whole text read anew for each token\n\n",
           length, length == 1 ? "" : "s", length / quick.seconds,
           storage_name(cached.cache), (double)quick.bytes / 1048576,
           length / slow.seconds);
    int same = alike(&quick, &slow);
    if (same == length) {
        puts("Both ways write the same text.");
    } else {
        printf("The texts differ from token %d on, where the likeliest was ahead by "
               "%.2g only.\n",
               same + 1, (double)slow.ahead[same]);
    }
    close_way(&quick);
    close_way(&slow);
}
