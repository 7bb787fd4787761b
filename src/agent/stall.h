/*
 * Whether whoever sends something has gone silent.
 *
 * Time counts only while something is waited for: a sender who is held back
 * is not silent, nor is one who is slow. Reads no clock.
 */
#ifndef AGENT_STALL_H
#define AGENT_STALL_H

#include <stdbool.h>
#include <stdint.h>

struct stall {
    uint64_t since_ms; /* of the latest byte, or of the last time nothing was waited for */
    uint64_t bytes;
};

static inline struct stall stall_begin(uint64_t now_ms)
{
    return (struct stall){ now_ms, 0 };
}

/* bytes: all that have come so far. True when none has for limit_ms while waiting; 0: never. */
static inline bool stall_look(struct stall *s, uint64_t now_ms, uint64_t bytes, bool waiting,
                              uint64_t limit_ms)
{
    if (bytes != s->bytes || !waiting) {
        s->bytes = bytes;
        s->since_ms = now_ms;
    }
    return limit_ms > 0 && now_ms >= s->since_ms && now_ms - s->since_ms >= limit_ms;
}

#endif
