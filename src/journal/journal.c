#include "journal/journal.h"

#include <uv.h>

#include "base/cursor.h"
#include "base/log.h"
#include "base/mem.h"

#define COMPUTATION_ID_MAX 255
#define HANDED_OVER_MAX ((size_t)1024 * 1024)
#define HANDED_OVER_HEAD 8 /* u32 level, u32 length */
#define PAYLOAD_MAX ((size_t)64 * 1024)

struct journal {
    struct outbox *outbox;
    struct record_clock clock;
    const char *originator;
    char computation_id[COMPUTATION_ID_MAX + 1];
    bool took_log;

    uv_thread_t loop_thread;
    uv_async_t handed;      /* unreferenced */
    uv_mutex_t mutex;       /* over what follows */
    struct buf handed_over; /* logs of other threads: u32 level, u32 length, text */
    uint64_t lost;          /* of those, found no room */

    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* ---------------------------------------------------------------------- records */

static bool make_note(uint64_t dropped, struct buf *payload, void *ctx)
{
    struct journal *j = ctx;
    CLEANUP(buf_done) struct buf text = BUF_INIT(RECORD_PIECE_MAX);
    struct err e = ERR_INIT;

    if (!buf_format(&text, &e, "%llu log records were dropped for want of room", (unsigned long long)dropped))
        return false;

    struct record_log r = { .level = LOG_WARN,
                            .computation_id = j->computation_id,
                            .message = buf_slice(&text),
                            .time_ns = record_stamp(&j->clock) };

    return record_log_encode(&r, payload, &e);
}

static void log_here(struct journal *j, int level, struct slice message)
{
    CLEANUP(buf_done) struct buf piece = BUF_INIT(RECORD_PIECE_MAX + 1);
    CLEANUP(buf_done) struct buf payload = BUF_INIT(PAYLOAD_MAX);
    struct err e = ERR_INIT;

    while (record_piece(&message, &piece, &e)) {
        struct record_log r = { .level = level,
                                .computation_id = j->computation_id,
                                .message = buf_slice(&piece),
                                .time_ns = record_stamp(&j->clock) };

        buf_truncate(&payload, 0);
        /* Only memory can be short here, and then there is nobody to tell. */
        if (!record_log_encode(&r, &payload, &e) ||
            !outbox_append(j->outbox, OUTBOX_LOG, level, buf_slice(&payload), NULL, &e))
            return;
    }
}

static void hand_over(struct journal *j, int level, struct slice message)
{
    struct err e = ERR_INIT;

    uv_mutex_lock(&j->mutex);
    if (j->handed_over.len + HANDED_OVER_HEAD + message.len > HANDED_OVER_MAX ||
        !buf_append_le32(&j->handed_over, (uint32_t)level, &e) ||
        !buf_append_le32(&j->handed_over, (uint32_t)message.len, &e) ||
        !buf_append(&j->handed_over, message, &e))
        j->lost++;
    uv_mutex_unlock(&j->mutex);
    uv_async_send(&j->handed);
}

static void take_handed(struct journal *j)
{
    CLEANUP(buf_done) struct buf all = BUF_INIT(HANDED_OVER_MAX);
    uint64_t lost;
    uint32_t level, len;
    struct slice text;

    uv_mutex_lock(&j->mutex);
    buf_move(&all, &j->handed_over);
    lost = j->lost;
    j->lost = 0;
    uv_mutex_unlock(&j->mutex);

    struct cursor c = cursor_of(buf_slice(&all));

    while (cursor_le32(&c, &level) && cursor_le32(&c, &len) && cursor_bytes(&c, len, &text))
        log_here(j, (int)level, text);
    if (lost)
        log_here(j, LOG_WARN, slice_of_str("log records of other threads were dropped: too many at once"));
}

static void on_handed(uv_async_t *handed)
{
    take_handed(handed->data);
}

void journal_log(struct journal *j, int level, struct slice message)
{
    uv_thread_t self = uv_thread_self();

    if (uv_thread_equal(&self, &j->loop_thread))
        log_here(j, level, message);
    else
        hand_over(j, level, message);
}

int64_t journal_stamp(struct journal *j)
{
    return record_stamp(&j->clock);
}

bool journal_event_at(struct journal *j, const char *computation_id, const char *originator, const char *type,
                      const char *status, int64_t time_ns, struct err *e)
{
    CLEANUP(buf_done) struct buf payload = BUF_INIT(PAYLOAD_MAX);
    struct record_event r = { .type = type,
                              .status = status,
                              .originator = originator ? originator : j->originator,
                              .computation_id = computation_id,
                              .time_ns = time_ns };

    return record_event_encode(&r, &payload, e) &&
           outbox_append(j->outbox, OUTBOX_EVENT, 0, buf_slice(&payload), NULL, e);
}

bool journal_event_for(struct journal *j, const char *computation_id, const char *originator,
                       const char *type, const char *status, struct err *e)
{
    return journal_event_at(j, computation_id, originator, type, status, journal_stamp(j), e);
}

bool journal_event(struct journal *j, const char *type, const char *status, struct err *e)
{
    return journal_event_for(j, j->computation_id, NULL, type, status, e);
}

void journal_set_computation(struct journal *j, const char *computation_id)
{
    snprintf(j->computation_id, sizeof(j->computation_id), "%s", computation_id);

    /* Cut between characters: a string on the wire has to be UTF-8. */
    for (size_t len = strlen(j->computation_id); len > 0 && !slice_is_utf8(slice_of_str(j->computation_id));
         len--)
        j->computation_id[len - 1] = '\0';
}

/* ------------------------------------------------------------------- life, log */

static void sink(int level, int64_t wall_ns, struct slice msg, void *ctx)
{
    (void)wall_ns; /* two records may share it; ours rise */
    journal_log(ctx, level, msg);
}

void journal_take_log(struct journal *j)
{
    j->took_log = true;
    log_set_sink(sink, j);
}

struct outbox *journal_outbox(struct journal *j)
{
    return j->outbox;
}

static void journal_free(struct journal *j)
{
    uv_mutex_destroy(&j->mutex);
    buf_done(&j->handed_over);
    mem_free(j);
}

bool journal_open(uv_loop_t *loop, const struct journal_config *cfg, struct journal **ret, struct err *e)
{
    struct journal *j = mem_new(sizeof(*j), e);

    if (!j)
        return false;
    if (uv_mutex_init(&j->mutex) != 0) {
        mem_free(j);
        return err_fail(e, ERR_KIND_INTERNAL, "open the journal: no mutex");
    }
    j->clock.clock = cfg->clock ? cfg->clock : clock_system();
    j->originator = cfg->originator;
    j->handed_over = (struct buf)BUF_INIT(HANDED_OVER_MAX);
    j->loop_thread = uv_thread_self();

    struct outbox_config oc = {
        .dir = cfg->dir, .bytes_max = cfg->bytes_max, .dedup = cfg->dedup, .note = make_note, .note_ctx = j
    };

    if (!outbox_open(loop, &oc, &j->outbox, e)) {
        journal_free(j);
        return false;
    }

    int r = uv_async_init(loop, &j->handed, on_handed);

    if (r != 0) {
        outbox_close(j->outbox, NULL, NULL);
        journal_free(j);
        return err_fail(e, ERR_KIND_INTERNAL, "open the journal: %s", uv_strerror(r));
    }
    uv_unref((uv_handle_t *)&j->handed);
    j->handed.data = j;
    *ret = j;
    return true;
}

static void on_outbox_closed(void *ctx)
{
    struct journal *j = ctx;

    void (*closed)(void *) = j->closed;
    void *closed_ctx = j->closed_ctx;

    journal_free(j);
    if (closed)
        closed(closed_ctx);
}

static void on_handed_closed(uv_handle_t *h)
{
    struct journal *j = h->data;

    outbox_close(j->outbox, on_outbox_closed, j);
}

void journal_close(struct journal *j, void (*closed)(void *ctx), void *ctx)
{
    if (!j) {
        if (closed)
            closed(ctx);
        return;
    }
    if (j->took_log)
        log_set_sink(NULL, NULL);
    take_handed(j);
    j->closed = closed;
    j->closed_ctx = ctx;
    uv_close((uv_handle_t *)&j->handed, on_handed_closed);
}
