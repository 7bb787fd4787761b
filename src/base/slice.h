/*
 * Borrowed bytes. A slice owns nothing and says nothing about what lies
 * behind its end; it is not NUL-terminated.
 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include "base/attr.h"

struct slice {
    const uint8_t *at;
    size_t len; /* bytes */
};

#define SLICE_EMPTY ((struct slice){ NULL, 0 })

/* A slice over a string literal, without its NUL. Usable in static tables. */
#define SLICE_LIT(text)                           \
    {                                             \
        (const uint8_t *)(text), sizeof(text) - 1 \
    }

static inline struct slice slice_of(const void *at, size_t len)
{
    return (struct slice){ at, len };
}

/* NULL gives the empty slice. */
static inline struct slice slice_of_str(const char *text)
{
    return (struct slice){ (const uint8_t *)text, text ? strlen(text) : 0 };
}

/* Not constant-time: for names. Secrets are compared with ct_equal. */
bool slice_equal(struct slice a, struct slice b);
bool slice_equal_str(struct slice a, const char *b);
bool slice_starts(struct slice s, const char *prefix);
bool slice_ends(struct slice s, const char *suffix);

/* memcmp order, the shorter one first on a tie. <0, 0, >0. */
int slice_compare(struct slice a, struct slice b);

/* Index of the first byte c, or s.len. */
size_t slice_find(struct slice s, uint8_t c);

/* s without its first n bytes; n is cut to s.len. */
struct slice slice_after(struct slice s, size_t n);

/* The first n bytes of s; n is cut to s.len. */
struct slice slice_first(struct slice s, size_t n);

/* True when the bytes are well-formed UTF-8 (no surrogates, no overlong forms). */
bool slice_is_utf8(struct slice s);

/* Equal length and content in time that depends on the lengths only. */
bool ct_equal(struct slice a, struct slice b);

#endif
