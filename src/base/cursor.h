/*
 * The one way foreign bytes are read. A read that does not fit returns false,
 * moves nothing and writes nothing.
 */
#ifndef BASE_CURSOR_H
#define BASE_CURSOR_H

#include "base/slice.h"

struct cursor {
    struct slice left; /* what has not been read */
};

static inline struct cursor cursor_of(struct slice s)
{
    return (struct cursor){ s };
}

bool cursor_u8(struct cursor *c, uint8_t *ret) MUST_CHECK;
bool cursor_be16(struct cursor *c, uint16_t *ret) MUST_CHECK;
bool cursor_be24(struct cursor *c, uint32_t *ret) MUST_CHECK;
bool cursor_be32(struct cursor *c, uint32_t *ret) MUST_CHECK;
bool cursor_be64(struct cursor *c, uint64_t *ret) MUST_CHECK;
bool cursor_le16(struct cursor *c, uint16_t *ret) MUST_CHECK;
bool cursor_le32(struct cursor *c, uint32_t *ret) MUST_CHECK;
bool cursor_le64(struct cursor *c, uint64_t *ret) MUST_CHECK;

/* len bytes, borrowed from what the cursor was made of. */
bool cursor_bytes(struct cursor *c, size_t len, struct slice *ret) MUST_CHECK;

/* A cursor over the next len bytes, which *c moves past. */
bool cursor_sub(struct cursor *c, size_t len, struct cursor *ret) MUST_CHECK;

/* The bytes up to the first `stop`, which is read as well but not returned. */
bool cursor_until(struct cursor *c, uint8_t stop, struct slice *ret) MUST_CHECK;

/* Base-128 varint of at most 10 bytes whose value fits 64 bits (protobuf). */
bool cursor_varint(struct cursor *c, uint64_t *ret) MUST_CHECK;

/* True when nothing is left. */
bool cursor_end(const struct cursor *c) MUST_CHECK;

#endif
