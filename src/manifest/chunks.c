#include "manifest/chunks.h"

void chunks_init(struct chunks *c, size_t bytes_max)
{
    *c = (struct chunks){ .bytes_max = bytes_max ? bytes_max : MF_REQUEST_MAX };
    for (size_t i = 0; i < CHUNKS_IDS_MAX; i++)
        c->parts[i].bytes = (struct buf)BUF_INIT(c->bytes_max);
}

static void part_empty(struct chunks *c, struct chunks_part *p, enum chunks_state state)
{
    c->bytes -= p->bytes.len;
    buf_done(&p->bytes);
    p->state = state;
}

void chunks_done(struct chunks *c)
{
    for (size_t i = 0; i < CHUNKS_IDS_MAX; i++)
        part_empty(c, &c->parts[i], CHUNKS_FREE);
}

static bool part_is_idle(const struct chunks_part *p, uint64_t now_ms)
{
    return p->state != CHUNKS_FREE && now_ms >= p->last_ms && now_ms - p->last_ms >= CHUNKS_IDLE_MS;
}

size_t chunks_expire(struct chunks *c, uint64_t now_ms)
{
    size_t count = 0;

    for (size_t i = 0; i < CHUNKS_IDS_MAX; i++) {
        if (!part_is_idle(&c->parts[i], now_ms))
            continue;
        part_empty(c, &c->parts[i], CHUNKS_FREE);
        count++;
    }
    return count;
}

uint64_t chunks_wait_ms(const struct chunks *c, uint64_t now_ms)
{
    uint64_t least = UINT64_MAX;

    for (size_t i = 0; i < CHUNKS_IDS_MAX; i++) {
        const struct chunks_part *p = &c->parts[i];
        uint64_t wait;

        if (p->state == CHUNKS_FREE)
            continue;
        wait = part_is_idle(p, now_ms) ? 0 : p->last_ms + CHUNKS_IDLE_MS - now_ms;
        if (wait < least)
            least = wait;
    }
    return least;
}

/* The part of that id, else a free one, else NULL. */
static struct chunks_part *part_of(struct chunks *c, struct slice id)
{
    struct chunks_part *unused = NULL;

    for (size_t i = 0; i < CHUNKS_IDS_MAX; i++) {
        struct chunks_part *p = &c->parts[i];

        if (p->state == CHUNKS_FREE)
            unused = unused ? unused : p;
        else if (slice_equal(slice_of(p->id, p->id_len), id))
            return p;
    }
    if (unused) {
        unused->state = CHUNKS_FILLING;
        unused->id_len = id.len;
        if (id.len > 0)
            memcpy(unused->id, id.at, id.len);
    }
    return unused;
}

/* Nothing is remembered of a request that has no part, so its last piece is the one answered. */
static enum chunks_step refuse_unkept(bool is_last, struct err *e, const char *why)
{
    if (!is_last)
        return CHUNKS_DROPPED;
    err_fail(e, ERR_KIND_LIMIT, "%s", why);
    return CHUNKS_REFUSED;
}

enum chunks_step chunks_add(struct chunks *c, struct slice id, struct slice data, bool is_last,
                            uint64_t now_ms, struct buf *ret_request, struct err *e)
{
    struct chunks_part *p;

    chunks_expire(c, now_ms);
    if (id.len > MF_ID_MAX)
        return refuse_unkept(is_last, e, "run request: its id is longer than 256 bytes");
    p = part_of(c, id);
    if (!p)
        return refuse_unkept(is_last, e, "run request: 8 others are half received already");
    p->last_ms = now_ms;
    if (p->state == CHUNKS_REFUSING) {
        if (is_last)
            part_empty(c, p, CHUNKS_FREE);
        return CHUNKS_DROPPED;
    }
    if (data.len > c->bytes_max - c->bytes) {
        err_fail(e, ERR_KIND_LIMIT,
                 "run request: more than %zu bytes, or that much in several half received ones",
                 c->bytes_max);
        part_empty(c, p, is_last ? CHUNKS_FREE : CHUNKS_REFUSING);
        return CHUNKS_REFUSED;
    }
    if (!buf_append(&p->bytes, data, e)) {
        err_wrap(e, "run request");
        part_empty(c, p, is_last ? CHUNKS_FREE : CHUNKS_REFUSING);
        return CHUNKS_REFUSED;
    }
    c->bytes += data.len;
    if (!is_last)
        return CHUNKS_MORE;
    c->bytes -= p->bytes.len;
    buf_move(ret_request, &p->bytes);
    p->state = CHUNKS_FREE;
    return CHUNKS_WHOLE;
}
