#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "journal/outbox_int.h"

#define SEGMENT_SIZE_MIN ((uint64_t)4 * 1024)
#define SEGMENT_SIZE_MAX ((uint64_t)1024 * 1024)
#define SEGMENTS 64 /* so many files share bytes_max: what is dropped at once is a 64th of it */

/* ------------------------------------------------------------ opening, closing */

static ssize_t real_pwrite(int fd, const void *at, size_t len, off_t offset)
{
    return pwrite(fd, at, len, offset);
}

static int real_fdatasync(int fd)
{
    return fdatasync(fd);
}

static void on_wake(uv_async_t *wake)
{
    struct outbox *o = wake->data;

    if (o->closing)
        return;
    flush_run(o);
    if (o->ready_due) {
        o->ready_due = false;
        if (o->ready)
            o->ready(o->ready_ctx);
    }
}

static void outbox_free(struct outbox *o)
{
    lanes_done(o);
    fd_done(&o->acked_fd);
    fd_done(&o->seen_fd);
    fd_done(&o->dir_fd);
    fd_done(&o->lock_fd);
    mem_free(o->seen);
    buf_done(&o->scratch);
    mem_free(o);
}

static bool lock_dir(struct outbox *o, const char *dir, struct err *e)
{
    o->lock_fd = openat(o->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (o->lock_fd < 0)
        return err_fail_os(e, "open '%s/lock'", dir);
    if (flock(o->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    if (errno == EWOULDBLOCK)
        return err_fail(e, ERR_KIND_UNAVAILABLE,
                        "'%s' is in use by another process: stop it, or give this one a "
                        "directory of its own (COCOS_STATE_DIR)",
                        dir);
    return err_fail_os(e, "lock '%s/lock'", dir);
}

static bool outbox_load(struct outbox *o, const struct outbox_config *cfg, struct err *e)
{
    if (!stage_dir_open(cfg->dir, 0700, &o->dir_fd, e) || !lock_dir(o, cfg->dir, e) || !acked_load(o, e))
        return false;
    o->seen_count = cfg->dedup;
    if (o->seen_count && !seen_load(o, e))
        return false;
    if (!lanes_load(o, e))
        return false;
    reserve_make(o);
    return true;
}

bool outbox_open(uv_loop_t *loop, const struct outbox_config *cfg, struct outbox **ret, struct err *e)
{
    struct outbox *o = mem_new(sizeof(*o), e);

    if (!o)
        return false;
    o->loop = loop;
    o->dir_fd = o->lock_fd = o->acked_fd = o->seen_fd = -1;
    o->io.pwrite = cfg->io && cfg->io->pwrite ? cfg->io->pwrite : real_pwrite;
    o->io.fdatasync = cfg->io && cfg->io->fdatasync ? cfg->io->fdatasync : real_fdatasync;
    o->bytes_max = cfg->bytes_max ? cfg->bytes_max : OUTBOX_BYTES_MAX_DEFAULT;
    o->segment_size = o->bytes_max / SEGMENTS;
    if (o->segment_size < SEGMENT_SIZE_MIN)
        o->segment_size = SEGMENT_SIZE_MIN;
    if (o->segment_size > SEGMENT_SIZE_MAX)
        o->segment_size = SEGMENT_SIZE_MAX;
    o->note = cfg->note;
    o->note_ctx = cfg->note_ctx;
    o->scratch = (struct buf)BUF_INIT(OUTBOX_RECORD_MAX + RECORD_HEAD_LEN);
    o->waits_end = &o->waits;
    if (!outbox_load(o, cfg, e)) {
        err_wrap(e, "open outbox '%s'", cfg->dir);
        outbox_free(o);
        return false;
    }

    int r = uv_async_init(loop, &o->wake, on_wake);

    if (r != 0) {
        outbox_free(o);
        return err_fail(e, ERR_KIND_INTERNAL, "open outbox '%s': %s", cfg->dir, uv_strerror(r));
    }
    uv_unref((uv_handle_t *)&o->wake);
    o->wake.data = o;
    *ret = o;
    return true;
}

static void on_wake_closed(uv_handle_t *h)
{
    struct outbox *o = h->data;

    o->wake_closed = true;
    outbox_close_step(o);
}

void outbox_close_step(struct outbox *o)
{
    if (!o->wake_closed || o->flushing)
        return;

    void (*closed)(void *ctx) = o->closed;
    void *ctx = o->closed_ctx;

    outbox_free(o);
    if (closed)
        closed(ctx);
}

void outbox_close(struct outbox *o, void (*closed)(void *ctx), void *ctx)
{
    if (!o) {
        if (closed)
            closed(ctx);
        return;
    }
    o->closing = true;
    o->closed = closed;
    o->closed_ctx = ctx;
    flush_tell_all(o, false);
    uv_close((uv_handle_t *)&o->wake, on_wake_closed);
}

/* ------------------------------------------------------------------- appending */

/* The less important a lane, the earlier it gives way; one never gives way to a lesser one. */
static bool make_room(struct outbox *o, enum lane_id for_lane)
{
    for (int i = LANE_COUNT - 1; i >= (int)for_lane && i > (int)LANE_EVENTS; i--) {
        if (lane_drop_oldest(o, (enum lane_id)i))
            return true;
    }
    return false;
}

static bool append_with_room(struct outbox *o, enum lane_id id, const struct outbox_record *r,
                             struct slice payload, struct err *e)
{
    uint64_t need = payload.len + RECORD_HEAD_LEN + SEGMENT_HEAD_LEN;

    while (o->bytes + need > o->bytes_max) {
        if (!make_room(o, id))
            return err_fail(e, ERR_KIND_LIMIT,
                            "the outbox holds %llu bytes that nobody has fetched, at most %llu "
                            "are kept",
                            (unsigned long long)o->bytes, (unsigned long long)o->bytes_max);
    }
    for (;;) {
        switch (lane_append(o, id, r, payload, e)) {
        case LANE_WRITE_DONE: return true;
        case LANE_WRITE_FAILED: return false;
        case LANE_WRITE_NO_ROOM: break;
        }
        o->disk_was_full = true;
        if (!make_room(o, id) && (id != LANE_EVENTS || !reserve_release(o))) {
            e->kind = ERR_KIND_LIMIT;
            return false;
        }
    }
}

static void save_dropped(struct outbox *o)
{
    struct err e = ERR_INIT;

    /* Not fatal: after a crash the number told would be too low. */
    if (!acked_write(o, &e))
        return;
}

/* Tells how many records were dropped, once there is room for more than the telling. */
static void tell_dropped(struct outbox *o)
{
    CLEANUP(buf_done) struct buf payload = BUF_INIT(4096);
    struct err e = ERR_INIT;
    uint64_t told = o->dropped, seq = 0;

    if (!told || !o->note || o->noting || o->bytes > o->bytes_max / 4 * 3)
        return;
    if (o->disk_was_full && !reserve_make(o))
        return;
    o->disk_was_full = false;
    o->noting = true;
    if (o->note(told, &payload, o->note_ctx) &&
        outbox_append(o, OUTBOX_LOG, LOG_WARN, buf_slice(&payload), &seq, &e) && seq) {
        o->dropped -= told < o->dropped ? told : o->dropped;
        save_dropped(o);
    }
    o->noting = false;
}

static enum lane_id lane_for(enum outbox_class cls, int level)
{
    if (cls != OUTBOX_LOG)
        return LANE_EVENTS;
    return level < LOG_INFO ? LANE_DEBUG : LANE_LOGS;
}

static bool append_record(struct outbox *o, const struct outbox_record *r, struct slice payload,
                          struct err *e)
{
    enum lane_id id = lane_for(r->cls, r->level);
    uint64_t dropped = o->dropped;
    bool ok = append_with_room(o, id, r, payload, e);

    if (!ok && r->cls == OUTBOX_LOG) {
        o->dropped++;
        o->dropped_ever++;
    }
    if (o->dropped != dropped)
        save_dropped(o);
    return ok;
}

bool outbox_append(struct outbox *o, enum outbox_class cls, int level, struct slice payload,
                   uint64_t *ret_seq, struct err *e)
{
    uint8_t digest[SEEN_DIGEST_LEN];
    struct outbox_record r = { .seq = o->next_seq, .cls = cls };

    r.level = level < INT8_MIN ? INT8_MIN : level > INT8_MAX ? INT8_MAX : level;
    if (ret_seq)
        *ret_seq = 0;
    if (payload.len > OUTBOX_RECORD_MAX)
        return err_fail(e, ERR_KIND_LIMIT, "record of %zu bytes, at most %zu are kept", payload.len,
                        OUTBOX_RECORD_MAX);
    if (o->seen_count) {
        if (!seen_digest(payload, digest, e))
            return false;
        if (seen_before(o, cls, digest)) {
            o->duplicates++;
            return true;
        }
    }
    if (!append_record(o, &r, payload, e)) {
        if (cls != OUTBOX_LOG)
            return false;
        err_clear(e);
        return true;
    }
    o->next_seq++;
    if (o->seen_count)
        seen_add(o, digest, false);
    if (ret_seq)
        *ret_seq = r.seq;
    if (cls != OUTBOX_LOG)
        o->events_dirty = true;
    o->ready_due = true;
    uv_async_send(&o->wake);
    if (!o->disk_was_full)
        tell_dropped(o);
    return true;
}

bool outbox_flush(struct outbox *o, void (*flushed)(bool ok, void *ctx), void *ctx, struct err *e)
{
    struct flush_wait *w = mem_new(sizeof(*w), e);

    if (!w)
        return false;
    w->flushed = flushed;
    w->ctx = ctx;
    *o->waits_end = w;
    o->waits_end = &w->next;
    uv_async_send(&o->wake);
    return true;
}

/* --------------------------------------------------------------------- reading */

enum outbox_step outbox_next(struct outbox *o, struct outbox_record *ret, struct buf *payload, struct err *e)
{
    struct lane *first = NULL;

    for (int i = 0; i < LANE_COUNT; i++) {
        struct lane *l = &o->lanes[i];

        switch (lane_load_next(o, l, e)) {
        case OUTBOX_BROKEN: return OUTBOX_BROKEN;
        case OUTBOX_NONE: break;
        case OUTBOX_READY:
            if (!first || l->next.seq < first->next.seq)
                first = l;
            break;
        }
    }
    if (!first)
        return OUTBOX_NONE;
    *ret = first->next;
    return lane_take_next(o, first, payload, e) ? OUTBOX_READY : OUTBOX_BROKEN;
}

void outbox_rewind(struct outbox *o)
{
    for (int i = 0; i < LANE_COUNT; i++)
        lane_rewind(&o->lanes[i]);
    o->ready_due = true;
    uv_async_send(&o->wake);
}

bool outbox_ack(struct outbox *o, uint64_t seq, struct err *e)
{
    if (seq <= o->acked)
        return true;
    assert(seq < o->next_seq);
    o->acked = seq;

    bool ok = acked_write(o, e);

    for (int i = 0; i < LANE_COUNT; i++)
        lane_forget_acked(o, &o->lanes[i]);
    tell_dropped(o);
    return ok;
}

void outbox_on_ready(struct outbox *o, void (*ready)(void *ctx), void *ctx)
{
    o->ready = ready;
    o->ready_ctx = ctx;
}

bool outbox_is_empty(const struct outbox *o)
{
    for (int i = 0; i < LANE_COUNT; i++) {
        if (o->lanes[i].newest && o->lanes[i].newest->count > 0)
            return false;
    }
    return true;
}

void outbox_stats(const struct outbox *o, struct outbox_stats *ret)
{
    *ret = (struct outbox_stats){ .bytes = o->bytes,
                                  .acked = o->acked,
                                  .last = o->next_seq - 1,
                                  .dropped = o->dropped,
                                  .dropped_ever = o->dropped_ever,
                                  .torn = o->torn,
                                  .duplicates = o->duplicates };
    for (int i = 0; i < LANE_COUNT; i++) {
        for (const struct segment *s = o->lanes[i].oldest; s; s = s->next)
            ret->records += s->count;
    }
}
