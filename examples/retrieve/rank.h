/*
 * What follows from the scores, weights and sums of one question.
 */
#ifndef RETRIEVE_RANK_H
#define RETRIEVE_RANK_H

#include "attend.h"

struct ranking {
    int *order;       /* passages by their mean weight, the heaviest first */
    float *score;     /* each passage's score, averaged over the heads */
    int hard;         /* the passage that has the highest of them: the arg-max */
    int *head_hard;   /* the passage that has the highest score in each head */
    float *likeness;  /* cosine of the weighted sum with each passage */
    int nearest;      /* the passage where that is highest */
    double in_effect; /* exp(entropy): as many passages of equal weight would be as
                         undecided */
};

/* Works out the ranking of question number query. */
void rank_question(struct ranking *ranking, const struct attention *attention,
                   int query);

void ranking_close(struct ranking *ranking);

#endif
