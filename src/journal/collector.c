#include "journal/collector.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "journal/record.h"
#include "rpc/client.h"

#define TIMEOUT_MS ((uint64_t)5000)
#define BACKOFF_FIRST_MS ((uint64_t)100)
#define BACKOFF_LAST_MS ((uint64_t)2000)

/* A connection without calls pays for no pings; with one, the call's deadline is shorter anyway. */
#define KEEPALIVE_MS ((uint64_t)3600 * 1000)

struct collector {
    uv_loop_t *loop;
    struct outbox *outbox;
    struct rpc_client *client;
    char *socket;
    char *target; /* "unix:" and the socket */
    uint64_t timeout_ms;
    void (*changed)(enum collector_state state, void *ctx);
    void *ctx;

    enum collector_state state;
    bool told_failure;
    bool running;
    bool calling;        /* an answer is awaited; it may be one nobody wants any more */
    uint64_t generation; /* rises when what is under way is given up */
    uint64_t calling_generation;
    uint64_t seq; /* of the record being sent */
    uv_timer_t timer;
    uint64_t backoff_ms;

    bool freeing, client_freed, timer_closed;
    void (*freed)(void *ctx);
    void *freed_ctx;
};

static void pump(struct collector *c);

bool collector_is_there(const char *socket_path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    size_t len = strlen(socket_path);

    if (len >= sizeof(a.sun_path))
        return false;
    memcpy(a.sun_path, socket_path, len);

    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return false;

    /* EAGAIN: somebody listens, and has many waiting. */
    bool there = connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0 || errno == EAGAIN;

    close(fd);
    return there;
}

static void set_state(struct collector *c, enum collector_state state)
{
    if (c->state == state)
        return;
    c->state = state;
    if (c->changed)
        c->changed(state, c->ctx);
}

/* --------------------------------------------------------------------- sending */

static void on_timer(uv_timer_t *timer)
{
    pump(timer->data);
}

static void try_later(struct collector *c)
{
    outbox_rewind(c->outbox);
    uv_timer_start(&c->timer, on_timer, c->backoff_ms, 0);
    c->backoff_ms = c->backoff_ms * 2 < BACKOFF_LAST_MS ? c->backoff_ms * 2 : BACKOFF_LAST_MS;
}

static void delivered(struct collector *c)
{
    struct err e = ERR_INIT;

    c->backoff_ms = BACKOFF_FIRST_MS;
    if (!outbox_ack(c->outbox, c->seq, &e))
        log_debug("journal: %s", err_text(&e));
}

/* Said once, not with every try: what is said waits for the log forwarder as well. */
static void failed(struct collector *c, const char *why)
{
    enum collector_state now = collector_is_there(c->socket) ? COLLECTOR_TRYING : COLLECTOR_ABSENT;

    if (now != c->state || !c->told_failure)
        log_debug("journal: the log forwarder did not take a record: %s", why);
    c->told_failure = true;
    set_state(c, now);
}

static void on_answer(const struct rpc_status *status, struct buf *reply, void *ctx)
{
    struct collector *c = ctx;

    (void)reply;
    c->calling = false;
    if (c->freeing)
        return;
    if (c->calling_generation != c->generation) {
        pump(c); /* given up meanwhile; perhaps started anew */
        return;
    }
    switch (status->code) {
    case RPC_OK:
        delivered(c);
        c->told_failure = false;
        set_state(c, COLLECTOR_UP);
        break;
    case RPC_INVALID_ARGUMENT:
        log_debug("journal: the log forwarder refuses a record for good: %s", status->message);
        delivered(c);
        break;
    default:
        failed(c, status->message);
        if (c->running && c->calling_generation == c->generation)
            try_later(c);
        return;
    }
    pump(c);
}

/* Sends one record; false when there is none. */
static bool send_one(struct collector *c)
{
    CLEANUP(buf_done) struct buf payload = BUF_INIT(OUTBOX_RECORD_MAX);
    CLEANUP(buf_done) struct buf request = BUF_INIT(OUTBOX_RECORD_MAX);
    struct outbox_record r;
    struct slice inner;
    struct err e = ERR_INIT;

    switch (outbox_next(c->outbox, &r, &payload, &e)) {
    case OUTBOX_NONE: return false;
    case OUTBOX_BROKEN:
        /* What was damaged has been cut off: what follows can be read. */
        log_debug("journal: %s", err_text(&e));
        return true;
    case OUTBOX_READY: break;
    }
    c->seq = r.seq;

    enum record_kind kind = record_unwrap(buf_slice(&payload), &inner);

    if (kind == RECORD_OTHER) {
        log_debug("journal: a record that is neither log nor event cannot go to the log forwarder");
        delivered(c);
        return true;
    }
    if (!buf_append(&request, inner, &e) ||
        !rpc_client_unary(c->client,
                          kind == RECORD_LOG ? "/log.LogCollector/SendLog" : "/log.LogCollector/SendEvent",
                          NULL, &request, c->timeout_ms, on_answer, c, &e)) {
        log_debug("journal: %s", err_text(&e));
        try_later(c);
        return true;
    }
    c->calling = true;
    c->calling_generation = c->generation;
    return true;
}

static void pump(struct collector *c)
{
    while (c->running && !c->calling && !uv_is_active((uv_handle_t *)&c->timer) && send_one(c))
        ;
}

static void on_ready(void *ctx)
{
    pump(ctx);
}

/* ------------------------------------------------------------------------ life */

void collector_start(struct collector *c)
{
    if (c->running)
        return;
    c->running = true;
    c->backoff_ms = BACKOFF_FIRST_MS;
    if (c->state == COLLECTOR_IDLE)
        c->state = COLLECTOR_TRYING;
    outbox_on_ready(c->outbox, on_ready, c);
    outbox_rewind(c->outbox); /* wakes us as well */
}

void collector_stop(struct collector *c)
{
    if (!c->running)
        return;
    c->running = false;
    c->state = COLLECTOR_IDLE;
    c->generation++;
    uv_timer_stop(&c->timer);
    outbox_on_ready(c->outbox, NULL, NULL);
    rpc_client_disconnect(c->client);
}

enum collector_state collector_state(const struct collector *c)
{
    return c->state;
}

static void free_step(struct collector *c)
{
    if (!c->client_freed || !c->timer_closed)
        return;

    void (*freed)(void *) = c->freed;
    void *ctx = c->freed_ctx;

    mem_free(c->socket);
    mem_free(c->target);
    mem_free(c);
    if (freed)
        freed(ctx);
}

static void on_client_freed(void *ctx)
{
    struct collector *c = ctx;

    c->client_freed = true;
    free_step(c);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct collector *c = h->data;

    c->timer_closed = true;
    free_step(c);
}

bool collector_new(uv_loop_t *loop, struct outbox *o, const struct collector_config *cfg,
                   struct collector **ret, struct err *e)
{
    struct collector *c = mem_new(sizeof(*c), e);

    if (!c)
        return false;
    c->loop = loop;
    c->outbox = o;
    c->timeout_ms = cfg->timeout_ms ? cfg->timeout_ms : TIMEOUT_MS;
    c->changed = cfg->changed;
    c->ctx = cfg->ctx;
    c->timer.data = c;
    c->socket = mem_dup_str(cfg->socket, e);
    c->target = mem_format(e, "unix:%s", cfg->socket);

    struct rpc_client_config rc = { .target = c->target, .keepalive_ms = KEEPALIVE_MS };

    if (!c->socket || !c->target || !rpc_client_new(loop, &rc, &c->client, e)) {
        mem_free(c->socket);
        mem_free(c->target);
        mem_free(c);
        return false;
    }
    uv_timer_init(loop, &c->timer);
    *ret = c;
    return true;
}

void collector_free(struct collector *c, void (*freed)(void *ctx), void *ctx)
{
    if (!c) {
        if (freed)
            freed(ctx);
        return;
    }
    collector_stop(c);
    c->freeing = true;
    c->freed = freed;
    c->freed_ctx = ctx;
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
    rpc_client_free(c->client, on_client_freed, c);
}
