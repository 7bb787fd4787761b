#include "journal/stream_sender.h"

#include "base/log.h"
#include "base/mem.h"
#include "journal/outbox_int.h"

/* Records sent and not acknowledged; more wait on disk. */
#define FLIGHT_MAX 8192

/* How often to look whether something has left the call's queue and can be confirmed: at first, at last. */
#define CONFIRM_FIRST_MS 20
#define CONFIRM_LAST_MS 160

/*
 * A confirmed record is in the peer's HTTP/2 layer, not yet in the hands of
 * whoever reads the stream. Should the stream break right behind it, that
 * reader may have died: so it is acknowledged this much later, and sent again
 * on the next stream until then.
 */
#define LINGER_MS 300

struct flight {
    uint64_t seq;
    uint64_t end;          /* bytes of this sender sent up to and with this record */
    uint64_t confirmed_ms; /* when, of those that are */
};

struct barrier;

struct stream_sender {
    struct outbox *outbox;
    void (*acked)(void *ctx);
    void *acked_ctx;
    struct rpc_client *client; /* NULL: not attached */
    struct rpc_call *call;
    uint64_t sent;                     /* bytes, on this stream */
    struct flight flights[FLIGHT_MAX]; /* a ring, oldest at flight_at */
    size_t flight_at, flight_count;
    size_t confirmed;        /* so many of the oldest */
    struct barrier *barrier; /* under way, or NULL */
    uv_timer_t timer;
    uint64_t confirm_ms; /* until the next look */
};

/* Outlives its sender's interest: the connection answers when it wants to. */
struct barrier {
    struct stream_sender *sender; /* NULL: nobody is interested any more */
    uint64_t covers;              /* bytes of the sender */
};

static struct flight *flight(struct stream_sender *s, size_t nth)
{
    return &s->flights[(s->flight_at + nth) % FLIGHT_MAX];
}

/* ------------------------------------------------------------------ confirming */

static void tick(struct stream_sender *s);

static void on_timer(uv_timer_t *timer)
{
    tick(timer->data);
}

static void on_barrier(bool ok, void *ctx)
{
    struct barrier *b = ctx;
    struct stream_sender *s = b->sender;
    uint64_t covers = b->covers;

    mem_free(b);
    if (!s)
        return;
    s->barrier = NULL;
    if (!ok)
        return; /* the stream is broken: its `closed` follows, and detaches us */
    while (s->confirmed < s->flight_count && flight(s, s->confirmed)->end <= covers)
        flight(s, s->confirmed++)->confirmed_ms = uv_now(s->outbox->loop);
    s->confirm_ms = CONFIRM_FIRST_MS;
    tick(s);
}

/* Asks for confirmation of what has left the call's queue, if anything new has. */
static void confirm(struct stream_sender *s)
{
    /* Others may queue on the same call: theirs counted as ours errs on the safe side. */
    uint64_t queued = rpc_call_queued(s->call);
    uint64_t left = queued < s->sent ? s->sent - queued : 0;
    struct err e = ERR_INIT;

    if (left < flight(s, s->confirmed)->end) {
        s->confirm_ms = s->confirm_ms * 2 < CONFIRM_LAST_MS ? s->confirm_ms * 2 : CONFIRM_LAST_MS;
        return;
    }

    struct barrier *b = mem_new(sizeof(*b), &e);

    if (!b)
        return; /* tried again */
    b->sender = s;
    b->covers = left;
    s->barrier = b;
    if (!rpc_client_barrier(s->client, on_barrier, b, &e)) {
        /* Tried again, or the stream ends and all is sent again. */
        s->barrier = NULL;
        mem_free(b);
    }
}

/* The highest record that may be acknowledged now, or 0. */
static uint64_t take_lingered(struct stream_sender *s)
{
    uint64_t now = uv_now(s->outbox->loop), seq = 0;

    while (s->confirmed > 0) {
        const struct flight *f = flight(s, 0);

        /* With no place for another one in the ring the oldest has waited long enough. */
        if (f->confirmed_ms + LINGER_MS > now && s->flight_count < FLIGHT_MAX)
            break;
        seq = f->seq;
        s->flight_at = (s->flight_at + 1) % FLIGHT_MAX;
        s->flight_count--;
        s->confirmed--;
    }
    return seq;
}

/* Sets the timer to what is due next. */
static void schedule(struct stream_sender *s)
{
    uint64_t now = uv_now(s->outbox->loop), wait = UINT64_MAX;

    if (!s->barrier && s->flight_count > s->confirmed)
        wait = s->confirm_ms;
    if (s->confirmed > 0) {
        uint64_t due = flight(s, 0)->confirmed_ms + LINGER_MS;
        uint64_t left = due > now ? due - now : 0;

        if (left < wait)
            wait = left;
    }
    if (wait == UINT64_MAX)
        uv_timer_stop(&s->timer);
    else
        uv_timer_start(&s->timer, on_timer, wait, 0);
}

static void pump(struct stream_sender *s);

static void tick(struct stream_sender *s)
{
    struct err e = ERR_INIT;

    if (!s->call)
        return;

    uint64_t seq = take_lingered(s);

    if (seq && !outbox_ack(s->outbox, seq, &e))
        log_debug("journal: %s", err_text(&e));
    if (!s->barrier && s->flight_count > s->confirmed)
        confirm(s);
    pump(s);
    schedule(s);
    if (seq && s->acked)
        s->acked(s->acked_ctx);
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
        *flight(s, s->flight_count++) = (struct flight){ r.seq, s->sent, 0 };
    }
    /* A timer that runs for those before is not pushed back. */
    if (s->flight_count > before && before == s->confirmed) {
        s->confirm_ms = CONFIRM_FIRST_MS;
        schedule(s);
    }
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
    s->confirm_ms = CONFIRM_FIRST_MS;

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
    s->flight_count = s->confirmed = 0;
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
