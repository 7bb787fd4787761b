/*
 * Compiler attributes under one name each, and small arithmetic on sizes.
 */
#ifndef BASE_ATTR_H
#define BASE_ATTR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/banned.h"

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF(fmt_at, args_at) __attribute__((format(printf, fmt_at, args_at)))

/*
 * CLEANUP(buf_done) struct buf b = BUF_INIT(n); calls buf_done(&b) on every
 * way out of the block. The function takes a pointer to the variable.
 */
#define CLEANUP(done) __attribute__((cleanup(done)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* *ret = a + b, or false (and *ret untouched) when that does not fit. */
static inline bool size_add(size_t a, size_t b, size_t *ret)
{
    if (a > SIZE_MAX - b)
        return false;
    *ret = a + b;
    return true;
}

/* *ret = a * b, or false (and *ret untouched) when that does not fit. */
static inline bool size_mul(size_t a, size_t b, size_t *ret)
{
    if (b != 0 && a > SIZE_MAX / b)
        return false;
    *ret = a * b;
    return true;
}

#endif
