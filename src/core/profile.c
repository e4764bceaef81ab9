/*
 * Watches that tell what a thread spends its time on.
 */
#include "core/profile.h"

#include "base/clock.h"

void attn_watch_start(struct watch *watch, struct profile *profile) {
    *watch = (struct watch){
        .profile = profile, .stage = STAGE_OTHER, .since = clock_nanoseconds()};
}

enum stage attn_watch_turn(struct watch *watch, enum stage stage) {
    const enum stage before = watch->stage;
    if (stage != before) {
        const int64_t now = clock_nanoseconds();
        watch->spent[before] += now - watch->since;
        watch->since = now;
        watch->stage = stage;
    }
    return before;
}

void attn_watch_stop(struct watch *watch) {
    watch->spent[watch->stage] += clock_nanoseconds() - watch->since;
    for (int i = 0; i < STAGES; i++) {
        atomic_fetch_add(&watch->profile->spent[i], watch->spent[i]);
    }
}
