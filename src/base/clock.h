/*
 * Time as an interface, so that a test can own it.
 *
 * mono_ms never jumps and has no meaning across processes; wall_ns is the
 * time of day since 1970 in UTC and may jump.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/attr.h"

struct clock {
    uint64_t (*mono_ms)(void *ctx);
    int64_t (*wall_ns)(void *ctx);
    void *ctx;
};

/* The clock of this machine. */
const struct clock *clock_system(void);

static inline uint64_t clock_mono_ms(const struct clock *c)
{
    return c->mono_ms(c->ctx);
}

static inline int64_t clock_wall_ns(const struct clock *c)
{
    return c->wall_ns(c->ctx);
}

#endif
