/*
 * Who has which page. A page has an owner for each sequence that has it in a slot, and
 * a sequence has a page in a slot if and only if some layer keeps a position there, but
 * for the time between attn_pages_own() and the change of what is kept.
 */
#include "cache/pages.h"

#include <string.h>

#include "base/arith.h"

/* The slots of some positions, each once: `count` from `first` on, going round. */
struct slots {
    int64_t first, count;
};

static struct slots slots_of(const struct attn_cache *cache, int64_t begin,
                             int64_t end) {
    if (begin >= end) {
        return (struct slots){0, 0};
    }
    const int64_t first = begin / cache->page_rows;
    const int64_t last = (end - 1) / cache->page_rows;
    return (struct slots){first % cache->slots,
                          min_i64(last - first + 1, cache->slots)};
}

static int64_t slot_number(const struct attn_cache *cache, struct slots slots,
                           int64_t i) {
    const int64_t slot = slots.first + i;
    return slot < cache->slots ? slot : slot - cache->slots;
}

static void set_page(struct attn_cache *cache, int64_t sequence, int64_t slot,
                     int32_t page) {
    int32_t *table = table_of(cache, sequence);
    table[slot] = table[slot + cache->slots] = page;
}

static int32_t take_page(struct attn_cache *cache) {
    const int32_t page = cache->free_list[--cache->free_pages];
    cache->page[page].owners = 1;
    return page;
}

static void leave_page(struct attn_cache *cache, int32_t page) {
    if (--cache->page[page].owners == 0) {
        cache->free_list[cache->free_pages++] = page;
    }
}

/*
 * The positions from `from` on that a layer keeps in a slot, up to the end of a page. A
 * slot may hold the start of a range and its end: then there are two.
 */
static struct range kept_in_slot(const struct attn_cache *cache,
                                 const struct kept *kept, int64_t slot, int64_t from) {
    const int64_t begin = max_i64(from, kept->position), end = length_of(kept);
    const int64_t page = begin / cache->page_rows, now = page % cache->slots;
    const int64_t start =
        (page + (slot >= now ? slot - now : slot - now + cache->slots)) *
        cache->page_rows;
    return (struct range){max_i64(begin, start),
                          min_i64(end, start + cache->page_rows)};
}

static bool keeps_slot(const struct attn_cache *cache, int64_t sequence, int64_t slot) {
    for (int64_t l = 0; l < cache->layers; l++) {
        const struct kept *kept = kept_of(cache, l, sequence);
        if (kept->rows > 0) {
            const struct range range = kept_in_slot(cache, kept, slot, 0);
            if (range.low < range.high) {
                return true;
            }
        }
    }
    return false;
}

/* Copies the blocks that rows of all heads of a layer lie in to the same place in
 * another page. */
static void copy_rows(struct attn_cache *cache, int32_t from, int32_t to, int64_t layer,
                      int64_t row, int64_t rows) {
    const int64_t begin = row - row % BLOCK_LANES;
    const int64_t end = min_i64(cache->page_rows, round_up(row + rows, BLOCK_LANES));
    for (int p = 0; p < PARTS; p++) {
        const struct part *part = &cache->part[p];
        const int64_t row_bytes = part->dim * source_bytes(cache->dtype);
        for (int64_t h = 0; h < cache->kv_heads; h++) {
            memcpy(blocks_at(cache, to, layer, part, h) + begin * row_bytes,
                   blocks_at(cache, from, layer, part, h) + begin * row_bytes,
                   (size_t)((end - begin) * row_bytes));
            if (cache->dtype == ATTN_I8) {
                memcpy(scales_at(cache, to, layer, part, h, row),
                       scales_at(cache, from, layer, part, h, row),
                       (size_t)rows * sizeof(float));
            }
        }
    }
}

/* Copies what a sequence keeps in a slot to a page that is to take its place. */
static void copy_slot(struct attn_cache *cache, int64_t sequence, int64_t slot,
                      int32_t from, int32_t to) {
    for (int64_t l = 0; l < cache->layers; l++) {
        const struct kept *kept = kept_of(cache, l, sequence);
        struct range range = kept_in_slot(cache, kept, slot, 0);
        while (range.low < range.high) {
            copy_rows(cache, from, to, l, range.low % cache->page_rows,
                      range.high - range.low);
            range = kept_in_slot(cache, kept, slot, range.high);
        }
    }
}

int64_t attn_pages_needed(struct attn_cache *cache, int64_t sequence, int64_t begin,
                          int64_t end) {
    const struct slots slots = slots_of(cache, begin, end);
    const int32_t *table = table_of(cache, sequence);
    int64_t needed = 0;
    for (int64_t i = 0; i < slots.count; i++) {
        const int32_t number = table[slot_number(cache, slots, i)];
        if (number < 0) {
            needed++;
            continue;
        }
        /* each writer before this one will have left, unless the page was its own */
        struct page *page = &cache->page[number];
        needed += page->owners - page->writers > 1;
        page->writers++;
    }
    return needed;
}

void attn_pages_forget(struct attn_cache *cache, int64_t sequence, int64_t begin,
                       int64_t end) {
    const struct slots slots = slots_of(cache, begin, end);
    const int32_t *table = table_of(cache, sequence);
    for (int64_t i = 0; i < slots.count; i++) {
        const int32_t number = table[slot_number(cache, slots, i)];
        if (number >= 0) {
            cache->page[number].writers = 0;
        }
    }
}

void attn_pages_own(struct attn_cache *cache, int64_t sequence, int64_t begin,
                    int64_t end) {
    const struct slots slots = slots_of(cache, begin, end);
    for (int64_t i = 0; i < slots.count; i++) {
        const int64_t slot = slot_number(cache, slots, i);
        const int32_t page = table_of(cache, sequence)[slot];
        if (page < 0) {
            set_page(cache, sequence, slot, take_page(cache));
        } else if (cache->page[page].owners > 1) {
            const int32_t own = take_page(cache);
            copy_slot(cache, sequence, slot, page, own);
            leave_page(cache, page);
            set_page(cache, sequence, slot, own);
        }
    }
}

void attn_pages_trim(struct attn_cache *cache, int64_t sequence, int64_t begin,
                     int64_t end) {
    const struct slots slots = slots_of(cache, begin, end);
    for (int64_t i = 0; i < slots.count; i++) {
        const int64_t slot = slot_number(cache, slots, i);
        const int32_t page = table_of(cache, sequence)[slot];
        if (page >= 0 && !keeps_slot(cache, sequence, slot)) {
            leave_page(cache, page);
            set_page(cache, sequence, slot, -1);
        }
    }
}

void attn_pages_share(struct attn_cache *cache, int64_t from, int64_t to) {
    const struct range range = attn_pages_range(cache, from);
    const struct slots slots = slots_of(cache, range.low, range.high);
    for (int64_t i = 0; i < slots.count; i++) {
        const int64_t slot = slot_number(cache, slots, i);
        const int32_t page = table_of(cache, from)[slot];
        if (page >= 0) {
            cache->page[page].owners++;
            set_page(cache, to, slot, page);
        }
    }
}

struct range attn_pages_range(const struct attn_cache *cache, int64_t sequence) {
    struct range range = {INT64_MAX, 0};
    for (int64_t l = 0; l < cache->layers; l++) {
        const struct kept *kept = kept_of(cache, l, sequence);
        if (kept->rows > 0) {
            range.low = min_i64(range.low, kept->position);
            range.high = max_i64(range.high, length_of(kept));
        }
    }
    return range;
}
