#include "base/cursor.h"

bool cursor_bytes(struct cursor *c, size_t len, struct slice *ret)
{
    if (c->left.len < len)
        return false;
    *ret = slice_first(c->left, len);
    c->left = slice_after(c->left, len);
    return true;
}

bool cursor_sub(struct cursor *c, size_t len, struct cursor *ret)
{
    return cursor_bytes(c, len, &ret->left);
}

bool cursor_until(struct cursor *c, uint8_t stop, struct slice *ret)
{
    size_t len = slice_find(c->left, stop);

    if (len == c->left.len)
        return false;
    *ret = slice_first(c->left, len);
    c->left = slice_after(c->left, len + 1);
    return true;
}

static bool read_be(struct cursor *c, size_t count, uint64_t *ret)
{
    struct slice s;
    uint64_t v = 0;

    if (!cursor_bytes(c, count, &s))
        return false;
    for (size_t i = 0; i < count; i++)
        v = v << 8 | s.at[i];
    *ret = v;
    return true;
}

static bool read_le(struct cursor *c, size_t count, uint64_t *ret)
{
    struct slice s;
    uint64_t v = 0;

    if (!cursor_bytes(c, count, &s))
        return false;
    for (size_t i = 0; i < count; i++)
        v |= (uint64_t)s.at[i] << (8 * i);
    *ret = v;
    return true;
}

bool cursor_u8(struct cursor *c, uint8_t *ret)
{
    uint64_t v;

    if (!read_be(c, 1, &v))
        return false;
    *ret = (uint8_t)v;
    return true;
}

bool cursor_be16(struct cursor *c, uint16_t *ret)
{
    uint64_t v;

    if (!read_be(c, 2, &v))
        return false;
    *ret = (uint16_t)v;
    return true;
}

bool cursor_be24(struct cursor *c, uint32_t *ret)
{
    uint64_t v;

    if (!read_be(c, 3, &v))
        return false;
    *ret = (uint32_t)v;
    return true;
}

bool cursor_be32(struct cursor *c, uint32_t *ret)
{
    uint64_t v;

    if (!read_be(c, 4, &v))
        return false;
    *ret = (uint32_t)v;
    return true;
}

bool cursor_be64(struct cursor *c, uint64_t *ret)
{
    return read_be(c, 8, ret);
}

bool cursor_le16(struct cursor *c, uint16_t *ret)
{
    uint64_t v;

    if (!read_le(c, 2, &v))
        return false;
    *ret = (uint16_t)v;
    return true;
}

bool cursor_le32(struct cursor *c, uint32_t *ret)
{
    uint64_t v;

    if (!read_le(c, 4, &v))
        return false;
    *ret = (uint32_t)v;
    return true;
}

bool cursor_le64(struct cursor *c, uint64_t *ret)
{
    return read_le(c, 8, ret);
}

bool cursor_varint(struct cursor *c, uint64_t *ret)
{
    struct cursor at = *c;
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t byte;

        if (!cursor_u8(&at, &byte))
            return false;
        if (shift == 63 && byte > 1)
            return false; /* more than 64 bits */
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret = v;
            *c = at;
            return true;
        }
    }
    return false;
}

bool cursor_end(const struct cursor *c)
{
    return c->left.len == 0;
}
