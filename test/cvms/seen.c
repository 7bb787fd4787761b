#include "base/hash.h"
#include "base/mem.h"
#include "cvms/seen.h"

/* At most half full, so that a search meets an empty slot soon. */
#define SLOTS (2 * CVMS_SEEN_MIN)

bool cvms_print_of(const struct slice *parts, size_t count, struct cvms_print *ret, struct err *e)
{
    CLEANUP(hash_done) struct hash *h = hash_new(HASH_SHA256, e);
    uint8_t digest[HASH_SHA256_LEN];

    if (!h)
        return false;
    for (size_t i = 0; i < count; i++) {
        uint64_t len = parts[i].len; /* so that "ab","c" is not "a","bc" */

        if (!hash_add(h, slice_of(&len, sizeof(len)), e) || !hash_add(h, parts[i], e))
            return false;
    }
    if (!hash_finish(h, digest, e))
        return false;
    memcpy(ret->at, digest, sizeof(ret->at));
    ret->at[0] |= 1; /* all zeros marks an empty slot */
    return true;
}

/* The slot that holds the print, or the empty one where it belongs. */
static struct cvms_print *slot_of(struct cvms_print *table, const struct cvms_print *print)
{
    static const struct cvms_print empty;
    size_t i;

    memcpy(&i, print->at + 4, sizeof(i));
    for (i %= SLOTS;; i = (i + 1) % SLOTS) {
        if (memcmp(&table[i], print, sizeof(*print)) == 0 || memcmp(&table[i], &empty, sizeof(empty)) == 0)
            return &table[i];
    }
}

static bool holds(struct cvms_print *table, const struct cvms_print *print)
{
    return table && slot_of(table, print)->at[0] != 0;
}

enum cvms_seen_answer cvms_seen_add(struct cvms_seen *s, const struct cvms_print *print, struct err *e)
{
    if (holds(s->now, print) || holds(s->before, print))
        return CVMS_SEEN_AGAIN;
    if (!s->now || s->now_count == CVMS_SEEN_MIN) {
        struct cvms_print *fresh = mem_new_array(SLOTS, sizeof(*fresh), e);

        if (!fresh)
            return CVMS_SEEN_FAILED;
        mem_free(s->before);
        s->before = s->now;
        s->now = fresh;
        s->now_count = 0;
    }
    *slot_of(s->now, print) = *print;
    s->now_count++;
    return CVMS_SEEN_NEW;
}

void cvms_seen_done(struct cvms_seen *s)
{
    mem_free(s->now);
    mem_free(s->before);
    *s = (struct cvms_seen)CVMS_SEEN_INIT;
}
