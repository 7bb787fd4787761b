#include "base/clock.h"

static uint64_t system_mono_ms(void *ctx)
{
    struct timespec now;

    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int64_t system_wall_ns(void *ctx)
{
    struct timespec now;

    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static const struct clock system_clock = { system_mono_ms, system_wall_ns, NULL };

const struct clock *clock_system(void)
{
    return &system_clock;
}
