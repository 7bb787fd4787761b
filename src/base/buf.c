#include "base/buf.h"

#include <stdarg.h>

#include "base/mem.h"

static void free_block(struct buf *b)
{
    if (b->wipes && b->base)
        mem_wipe(b->base, b->cap);
    mem_free(b->base);
}

/* Makes room for len more live bytes behind the present ones. */
static bool make_room(struct buf *b, size_t len, struct err *e)
{
    size_t want;

    if (!size_add(b->len, len, &want) || want > b->max)
        return err_fail(e, ERR_KIND_LIMIT, "%zu bytes and %zu more, at most %zu are held", b->len, len,
                        b->max);
    if (b->cap - b->start >= want)
        return true;
    /* Slide only when that frees at least half, so that a queue costs O(1) per byte. */
    if (b->cap >= want && b->start >= b->len) {
        memmove(b->base, b->base + b->start, b->len);
        b->start = 0;
        return true;
    }

    size_t cap = b->cap < 64 ? 64 : b->cap;

    while (cap < want)
        cap = cap > SIZE_MAX / 2 ? want : cap * 2;
    if (cap > b->max)
        cap = b->max;

    uint8_t *base = mem_new(cap, e);

    if (!base)
        return false;
    if (b->len)
        memcpy(base, b->base + b->start, b->len);
    free_block(b);
    b->base = base;
    b->start = 0;
    b->cap = cap;
    return true;
}

bool buf_reserve(struct buf *b, size_t len, uint8_t **ret_at, struct err *e)
{
    if (!make_room(b, len, e))
        return false;
    /* No room was asked for and none is there: NULL plus nothing is not for C to compute. */
    *ret_at = b->base ? b->base + b->start + b->len : NULL;
    return true;
}

void buf_extend(struct buf *b, size_t len)
{
    b->len += len;
}

bool buf_append(struct buf *b, struct slice bytes, struct err *e)
{
    if (bytes.len == 0)
        return true;
    if (!make_room(b, bytes.len, e))
        return false;
    memcpy(b->base + b->start + b->len, bytes.at, bytes.len);
    b->len += bytes.len;
    return true;
}

bool buf_append_str(struct buf *b, const char *text, struct err *e)
{
    return buf_append(b, slice_of_str(text), e);
}

bool buf_append_u8(struct buf *b, uint8_t byte, struct err *e)
{
    return buf_append(b, slice_of(&byte, 1), e);
}

/* The low `count` bytes of v, most significant first. */
static bool append_be(struct buf *b, uint64_t v, size_t count, struct err *e)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(v >> (8 * (count - 1 - i)));
    return buf_append(b, slice_of(bytes, count), e);
}

static bool append_le(struct buf *b, uint64_t v, size_t count, struct err *e)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(v >> (8 * i));
    return buf_append(b, slice_of(bytes, count), e);
}

bool buf_append_be16(struct buf *b, uint16_t v, struct err *e)
{
    return append_be(b, v, 2, e);
}

bool buf_append_be32(struct buf *b, uint32_t v, struct err *e)
{
    return append_be(b, v, 4, e);
}

bool buf_append_le16(struct buf *b, uint16_t v, struct err *e)
{
    return append_le(b, v, 2, e);
}

bool buf_append_le32(struct buf *b, uint32_t v, struct err *e)
{
    return append_le(b, v, 4, e);
}

bool buf_append_le64(struct buf *b, uint64_t v, struct err *e)
{
    return append_le(b, v, 8, e);
}

bool buf_format(struct buf *b, struct err *e, const char *fmt, ...)
{
    va_list args;
    va_list again;
    uint8_t *at = NULL;

    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);

    /* vsnprintf wants a byte for its NUL, which is not counted. */
    bool ok = n >= 0 ? make_room(b, (size_t)n, e) : err_fail(e, ERR_KIND_INTERNAL, "format '%s'", fmt);

    if (ok && n > 0) {
        char *text = mem_new((size_t)n + 1, e);

        ok = text && buf_reserve(b, (size_t)n, &at, e);
        if (ok && at) {
            vsnprintf(text, (size_t)n + 1, fmt, again);
            memcpy(at, text, (size_t)n);
            b->len += (size_t)n;
        }
        mem_free(text);
    }
    va_end(again);
    return ok;
}

void buf_consume(struct buf *b, size_t n)
{
    if (n >= b->len) {
        b->start = 0;
        b->len = 0;
        return;
    }
    b->start += n;
    b->len -= n;
}

void buf_truncate(struct buf *b, size_t n)
{
    if (n < b->len)
        b->len = n;
}

struct slice buf_slice(const struct buf *b)
{
    return b->len ? slice_of(b->base + b->start, b->len) : SLICE_EMPTY;
}

const char *buf_str(struct buf *b, struct err *e)
{
    size_t max = b->max;
    bool ok;

    if (max < SIZE_MAX)
        b->max = max + 1; /* the NUL is ours, not the user's */
    ok = make_room(b, 1, e);
    b->max = max;
    if (!ok)
        return NULL;
    b->base[b->start + b->len] = '\0';
    return (const char *)(b->base + b->start);
}

void buf_move(struct buf *to, struct buf *from)
{
    if (to == from)
        return;

    struct buf empty = *to;

    buf_done(to);
    *to = *from;
    to->max = empty.max;
    to->wipes = empty.wipes || from->wipes;
    *from = (struct buf){ .max = from->max, .wipes = from->wipes };
}

void buf_done(struct buf *b)
{
    free_block(b);
    *b = (struct buf){ .max = b->max, .wipes = b->wipes };
}

void buf_wipe(struct buf *b)
{
    if (b->base)
        mem_wipe(b->base, b->cap);
    buf_done(b);
}

struct slice secret_slice(const struct secret *s)
{
    return buf_slice(&s->bytes);
}

void secret_done(struct secret *s)
{
    buf_wipe(&s->bytes);
}
