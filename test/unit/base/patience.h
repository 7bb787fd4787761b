/*
 * How long a test waits for something before it says that it hangs.
 */
#ifndef UNIT_BASE_PATIENCE_H
#define UNIT_BASE_PATIENCE_H

#include <stdint.h>
#include <stdlib.h>

/*
 * Milliseconds to allow for what takes at most so long on an idle machine:
 * times TEST_TIME_SCALE, which says how slow this kind of build is, and far
 * more altogether, as harness.deadline does.
 */
static inline uint64_t patience_ms(uint64_t ms)
{
    const char *scale = getenv("TEST_TIME_SCALE");

    return (uint64_t)((double)ms * 6 * (scale ? strtod(scale, NULL) : 1));
}

#endif
