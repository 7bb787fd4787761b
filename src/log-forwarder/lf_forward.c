#include "lf_forward.h"

#include "base/log.h"
#include "base/mem.h"
#include "journal/stream_sender.h"
#include "rpc/client.h"

#define DELAY_FACTOR_MAX 6

/* gRPC servers end a connection whose peer pings more often than every five minutes. */
#define KEEPALIVE_MS ((uint64_t)6 * 60 * 1000)

struct lf_forward {
    uv_loop_t *loop;
    struct outbox *outbox;
    struct rpc_client *client;
    struct rpc_md md;
    struct stream_sender *sender;
    struct rpc_call *call; /* NULL: not connected */
    char *target;
    uint64_t base_delay_ms, next_delay_ms;
    bool connected; /* told so */
    uv_timer_t timer;

    void (*finished)(void *ctx); /* set: finishing */
    void *finished_ctx;
    bool freeing, client_freed, timer_closed;
    void (*freed)(void *ctx);
    void *freed_ctx;
};

static void connect_now(struct lf_forward *f);

/* ------------------------------------------------------------------- finishing */

static void finish(struct lf_forward *f)
{
    void (*finished)(void *) = f->finished;

    if (!finished)
        return;
    f->finished = NULL;
    uv_timer_stop(&f->timer);
    finished(f->finished_ctx);
}

static void on_finish_timer(uv_timer_t *timer)
{
    finish(timer->data);
}

void lf_forward_finish(struct lf_forward *f, uint64_t grace_ms, void (*finished)(void *ctx), void *ctx)
{
    bool done = !f->call || outbox_is_empty(f->outbox);

    f->finished = finished;
    f->finished_ctx = ctx;
    uv_timer_stop(&f->timer);
    uv_timer_start(&f->timer, on_finish_timer, done ? 0 : grace_ms, 0);
}

/* ------------------------------------------------------------------ the stream */

/* delay_ms more or less a fifth, so that many guests don't come back at one instant. */
static uint64_t jitter(uint64_t delay_ms)
{
    uint16_t r = 0;

    if (uv_random(NULL, NULL, &r, sizeof(r), 0, NULL) != 0)
        r = 0x8000;
    return delay_ms * 4 / 5 + delay_ms * 2 / 5 * r / UINT16_MAX;
}

static void on_reconnect_timer(uv_timer_t *timer)
{
    connect_now(timer->data);
}

static void connect_later(struct lf_forward *f, const char *why)
{
    uint64_t delay = jitter(f->next_delay_ms);
    uint64_t most = f->base_delay_ms * DELAY_FACTOR_MAX;

    if (f->freeing)
        return;
    if (f->finished) {
        finish(f);
        return;
    }

    const struct log_field fields[] = { LOG_STR("addr", f->target), LOG_STR("reason", why),
                                        LOG_U64("retry_ms", delay) };

    log_record(LOG_WARN, "disconnected", fields, ARRAY_LEN(fields));
    f->next_delay_ms = f->next_delay_ms * 2 < most ? f->next_delay_ms * 2 : most;
    uv_timer_start(&f->timer, on_reconnect_timer, delay, 0);
}

static void tell_connected(struct lf_forward *f)
{
    const struct log_field fields[] = { LOG_STR("addr", f->target),
                                        LOG_STR("security", rpc_client_security(f->client)) };

    if (f->connected)
        return;
    f->connected = true;
    f->next_delay_ms = f->base_delay_ms;
    log_record(LOG_INFO, "connected", fields, ARRAY_LEN(fields));
}

static void on_initial(struct rpc_call *c, const struct rpc_md *md, void *ctx)
{
    (void)c;
    (void)md;
    tell_connected(ctx);
}

/* An agent's business: a CVMS may send us run requests as well. */
static void on_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    (void)body;
    (void)ctx;
    rpc_call_want(c);
}

static void on_writable(struct rpc_call *c, void *ctx)
{
    struct lf_forward *f = ctx;

    (void)c;
    stream_sender_writable(f->sender);
}

static void on_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                      void *ctx)
{
    struct lf_forward *f = ctx;
    char why[RPC_STATUS_TEXT_MAX + 64];

    (void)c;
    (void)trailers;
    stream_sender_detach(f->sender);
    f->call = NULL;
    f->connected = false;
    snprintf(why, sizeof(why), "%s%s%s",
             status->code == RPC_OK ? "ended by the CVMS" : rpc_code_name(status->code),
             status->message[0] ? ": " : "", status->message);
    connect_later(f, why);
}

static const struct rpc_call_events events = {
    .initial = on_initial, .message = on_message, .writable = on_writable, .closed = on_closed
};

static void connect_now(struct lf_forward *f)
{
    struct err e = ERR_INIT;

    if (!rpc_client_call(f->client, "/cvms.Service/Process", &f->md, 0, &events, f, &f->call, &e)) {
        f->call = NULL;
        connect_later(f, err_text(&e));
        return;
    }
    rpc_call_want(f->call);
    stream_sender_attach(f->sender, f->client, f->call);
}

static void on_acked(void *ctx)
{
    struct lf_forward *f = ctx;

    tell_connected(f);
    if (f->finished && outbox_is_empty(f->outbox))
        finish(f);
}

/* ------------------------------------------------------------------------ life */

static bool start(struct lf_forward *f, const struct lf_forward_config *cfg, struct err *e)
{
    struct rpc_client_config rc = { .target = cfg->target,
                                    .tls = cfg->tls,
                                    .connect_timeout_ms = cfg->connect_timeout_ms,
                                    .keepalive_ms = KEEPALIVE_MS };

    if (cfg->cvm_id && *cfg->cvm_id &&
        (!rpc_md_add_str(&f->md, "job-id", cfg->cvm_id, e) ||
         !rpc_md_add_str(&f->md, "connection-type", "log-forwarder", e)))
        return err_wrap(e, "AGENT_CVM_ID '%s'", cfg->cvm_id);
    f->target = mem_dup_str(cfg->target, e);
    return f->target && stream_sender_new(f->outbox, on_acked, f, &f->sender, e) &&
           (rpc_client_new(f->loop, &rc, &f->client, e) || err_wrap(e, "AGENT_CVM_GRPC_URL"));
}

static void drop(struct lf_forward *f)
{
    rpc_md_done(&f->md);
    mem_free(f->target);
    mem_free(f);
}

bool lf_forward_new(uv_loop_t *loop, struct outbox *o, const struct lf_forward_config *cfg,
                    struct lf_forward **ret, struct err *e)
{
    struct lf_forward *f = mem_new(sizeof(*f), e);

    if (!f)
        return false;
    f->loop = loop;
    f->outbox = o;
    f->md = (struct rpc_md)RPC_MD_INIT;
    f->base_delay_ms = f->next_delay_ms = cfg->delay_ms;
    if (!start(f, cfg, e)) {
        stream_sender_free(f->sender);
        drop(f);
        return false;
    }
    uv_timer_init(loop, &f->timer);
    f->timer.data = f;
    *ret = f;
    connect_now(f);
    return true;
}

static void free_step(struct lf_forward *f)
{
    void (*freed)(void *) = f->freed;
    void *ctx = f->freed_ctx;

    if (!f->client_freed || !f->timer_closed)
        return;
    stream_sender_free(f->sender);
    drop(f);
    if (freed)
        freed(ctx);
}

static void on_client_freed(void *ctx)
{
    struct lf_forward *f = ctx;

    f->client_freed = true;
    free_step(f);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct lf_forward *f = h->data;

    f->timer_closed = true;
    free_step(f);
}

void lf_forward_free(struct lf_forward *f, void (*freed)(void *ctx), void *ctx)
{
    if (!f) {
        if (freed)
            freed(ctx);
        return;
    }
    f->freeing = true;
    f->finished = NULL;
    f->freed = freed;
    f->freed_ctx = ctx;
    uv_close((uv_handle_t *)&f->timer, on_timer_closed);
    rpc_client_free(f->client, on_client_freed, f);
}
