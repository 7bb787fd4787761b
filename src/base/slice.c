#include "base/slice.h"

bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

bool slice_equal_str(struct slice a, const char *b)
{
    return slice_equal(a, slice_of_str(b));
}

bool slice_starts(struct slice s, const char *prefix)
{
    struct slice p = slice_of_str(prefix);

    return slice_equal(slice_first(s, p.len), p);
}

bool slice_ends(struct slice s, const char *suffix)
{
    struct slice p = slice_of_str(suffix);

    return s.len >= p.len && slice_equal(slice_after(s, s.len - p.len), p);
}

int slice_compare(struct slice a, struct slice b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.at, b.at, common) : 0;

    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

size_t slice_find(struct slice s, uint8_t c)
{
    const uint8_t *hit = s.len ? memchr(s.at, c, s.len) : NULL;

    return hit ? (size_t)(hit - s.at) : s.len;
}

struct slice slice_after(struct slice s, size_t n)
{
    if (n >= s.len)
        return SLICE_EMPTY;
    return slice_of(s.at + n, s.len - n);
}

struct slice slice_first(struct slice s, size_t n)
{
    return slice_of(s.at, n < s.len ? n : s.len);
}

/* Length of the well-formed UTF-8 sequence at the front of s, 0 when there is none. Unicode 3.9, table 3-7. */
static size_t utf8_step(struct slice s)
{
    uint8_t lead = s.at[0];
    uint8_t low = 0x80; /* bounds of the second byte, which some leads narrow */
    uint8_t high = 0xbf;
    size_t len;

    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        len = 2;
    else if (lead >= 0xe0 && lead <= 0xef)
        len = 3;
    else if (lead >= 0xf0 && lead <= 0xf4)
        len = 4;
    else
        return 0;
    if (lead == 0xe0)
        low = 0xa0;
    if (lead == 0xed)
        high = 0x9f;
    if (lead == 0xf0)
        low = 0x90;
    if (lead == 0xf4)
        high = 0x8f;
    if (s.len < len || s.at[1] < low || s.at[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if (s.at[i] < 0x80 || s.at[i] > 0xbf)
            return 0;
    return len;
}

bool slice_is_utf8(struct slice s)
{
    while (s.len) {
        size_t step = utf8_step(s);

        if (step == 0)
            return false;
        s = slice_after(s, step);
    }
    return true;
}

bool ct_equal(struct slice a, struct slice b)
{
    uint8_t differ = 0;

    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        differ = (uint8_t)(differ | (a.at[i] ^ b.at[i]));
    return differ == 0;
}
