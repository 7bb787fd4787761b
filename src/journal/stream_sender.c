#include "journal/stream_sender.h"

#include "base/log.h"
#include "base/mem.h"
#include "journal/outbox_int.h"

/* Records sent and not confirmed; more wait on disk. */
#define FLIGHT_MAX 1024

/* When to look whether something has left the call's queue and can be confirmed. */
#define CONFIRM_FIRST_MS 1
#define CONFIRM_LAST_MS 100

struct flight {
    uint64_t seq;
    uint64_t end; /* bytes of this sender sent up to and with this record */
};

struct barrier;

struct stream_sender {
    struct outbox *outbox;
    void (*acked)(void *ctx);
    void *acked_ctx;
    struct rpc_client *client; /* NULL: not attached */
    struct rpc_call *call;
    uint64_t sent;                     /* bytes, on this stream */
    struct flight flights[FLIGHT_MAX]; /* a ring */
    size_t flight_at, flight_count;
    struct barrier *barrier; /* under way, or NULL */
    uv_timer_t timer;
    uint64_t wait_ms;
};

/* Outlives its sender's interest: the connection answers when it wants to. */
struct barrier {
    struct stream_sender *sender; /* NULL: nobody is interested any more */
    uint64_t covers;              /* bytes of the sender */
};

static void confirm(struct stream_sender *s);

/* ------------------------------------------------------------------ confirming */

static void on_timer(uv_timer_t *timer)
{
    confirm(timer->data);
}

static void wait_to_confirm(struct stream_sender *s, uint64_t ms)
{
    s->wait_ms = ms;
    uv_timer_start(&s->timer, on_timer, ms, 0);
}

static void pump(struct stream_sender *s);

static void on_barrier(bool ok, void *ctx)
{
    struct barrier *b = ctx;
    struct stream_sender *s = b->sender;
    uint64_t covers = b->covers, seq = 0;
    struct err e = ERR_INIT;

    mem_free(b);
    if (!s)
        return;
    s->barrier = NULL;
    if (!ok)
        return; /* the stream is broken: its `closed` follows, and detaches us */
    while (s->flight_count && s->flights[s->flight_at].end <= covers) {
        seq = s->flights[s->flight_at].seq;
        s->flight_at = (s->flight_at + 1) % FLIGHT_MAX;
        s->flight_count--;
    }
    if (s->flight_count)
        wait_to_confirm(s, CONFIRM_FIRST_MS);
    if (!seq)
        return;
    if (!outbox_ack(s->outbox, seq, &e))
        log_debug("journal: %s", err_text(&e));
    pump(s);
    if (s->acked)
        s->acked(s->acked_ctx);
}

/* Asks for confirmation of what has left the call's queue, if anything new has. */
static void confirm(struct stream_sender *s)
{
    if (!s->call || s->barrier || !s->flight_count)
        return;

    /* Others may queue on the same call: theirs counted as ours errs on the safe side. */
    uint64_t queued = rpc_call_queued(s->call);
    uint64_t left = queued < s->sent ? s->sent - queued : 0;
    struct err e = ERR_INIT;

    if (left < s->flights[s->flight_at].end) {
        wait_to_confirm(s, s->wait_ms * 2 < CONFIRM_LAST_MS ? s->wait_ms * 2 : CONFIRM_LAST_MS);
        return;
    }

    struct barrier *b = mem_new(sizeof(*b), &e);

    if (!b) {
        wait_to_confirm(s, CONFIRM_LAST_MS);
        return;
    }
    b->sender = s;
    b->covers = left;
    s->barrier = b;
    if (!rpc_client_barrier(s->client, on_barrier, b, &e)) {
        /* Tried again, or the stream ends and all is sent again. */
        s->barrier = NULL;
        mem_free(b);
        wait_to_confirm(s, CONFIRM_LAST_MS);
    }
}

/* --------------------------------------------------------------------- sending */

static void pump(struct stream_sender *s)
{
    CLEANUP(buf_done) struct buf payload = BUF_INIT(OUTBOX_RECORD_MAX);
    size_t before = s->flight_count;
    struct err e = ERR_INIT;

    while (s->call && s->flight_count < FLIGHT_MAX && rpc_call_can_send(s->call)) {
        struct outbox_record r;
        enum outbox_step step = outbox_next(s->outbox, &r, &payload, &e);

        if (step == OUTBOX_NONE)
            break;
        if (step == OUTBOX_BROKEN) {
            /* What was damaged has been cut off: what follows can be read. */
            log_debug("journal: %s", err_text(&e));
            continue;
        }

        size_t len = payload.len;

        if (!rpc_call_send(s->call, &payload, &e))
            break; /* the call has ended: `closed` follows */
        s->sent += len;
        s->flights[(s->flight_at + s->flight_count) % FLIGHT_MAX] = (struct flight){ r.seq, s->sent };
        s->flight_count++;
    }
    if (s->flight_count > before && !s->barrier)
        wait_to_confirm(s, CONFIRM_FIRST_MS);
}

static void on_ready(void *ctx)
{
    pump(ctx);
}

void stream_sender_writable(struct stream_sender *s)
{
    pump(s);
}

/* ------------------------------------------------------------------------ life */

bool stream_sender_new(struct outbox *o, void (*acked)(void *ctx), void *ctx, struct stream_sender **ret,
                       struct err *e)
{
    struct stream_sender *s = mem_new(sizeof(*s), e);

    if (!s)
        return false;
    s->outbox = o;
    s->acked = acked;
    s->acked_ctx = ctx;
    s->timer.data = s;

    int r = uv_timer_init(o->loop, &s->timer);

    if (r != 0) {
        mem_free(s);
        return err_fail(e, ERR_KIND_INTERNAL, "start a timer: %s", uv_strerror(r));
    }
    *ret = s;
    return true;
}

void stream_sender_attach(struct stream_sender *s, struct rpc_client *cl, struct rpc_call *call)
{
    stream_sender_detach(s);
    s->client = cl;
    s->call = call;
    outbox_rewind(s->outbox);
    outbox_on_ready(s->outbox, on_ready, s);
}

void stream_sender_detach(struct stream_sender *s)
{
    if (!s->call)
        return;
    s->client = NULL;
    s->call = NULL;
    s->sent = 0;
    s->flight_count = 0;
    if (s->barrier)
        s->barrier->sender = NULL;
    s->barrier = NULL;
    uv_timer_stop(&s->timer);
    outbox_on_ready(s->outbox, NULL, NULL);
}

bool stream_sender_is_attached(const struct stream_sender *s)
{
    return s->call != NULL;
}

static void on_timer_closed(uv_handle_t *h)
{
    mem_free(h->data);
}

void stream_sender_free(struct stream_sender *s)
{
    if (!s)
        return;
    stream_sender_detach(s);
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}
