/*
 * Where the time of a call goes: a watch for each thread, which is always in one stage.
 */
#ifndef ATTN_CORE_PROFILE_H
#define ATTN_CORE_PROFILE_H

#include <stdatomic.h>
#include <stdint.h>

/* The members of attn_profile from copies on. */
enum stage {
    STAGE_COPIES,
    STAGE_SCORES,
    STAGE_TERMS,
    STAGE_SOFTMAX,
    STAGE_VALUES,
    STAGE_GRADIENTS,
    STAGE_OUTPUTS,
    STAGE_OTHER,
    STAGES
};

/* Nanoseconds of all threads of a call. */
struct profile {
    atomic_llong spent[STAGES];
};

struct watch {
    struct profile *profile;
    enum stage stage;
    int64_t since;
    int64_t spent[STAGES];
};

/* Starts with STAGE_OTHER. */
void attn_watch_start(struct watch *watch, struct profile *profile);

/* The time from now on is that of another stage; returns the stage until now. */
enum stage attn_watch_turn(struct watch *watch, enum stage stage);

/* Adds what was spent to the profile. */
void attn_watch_stop(struct watch *watch);

#endif
