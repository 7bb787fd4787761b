#include <assert.h>
#include <stdarg.h>

#include "base/mem.h"
#include "base/text.h"
#include "rpc/conn_int.h"

/* Frames that do no work, at once and per second: more than any honest peer sends. */
#define IDLE_FRAMES_BURST 4000
#define IDLE_FRAMES_PER_S 1000
#define RESETS_BURST 1000
#define RESETS_PER_S 100
#define ACKS_QUEUED_MAX 500
#define OUTBOUND_FRAMES_MAX 20000
#define DRAIN_PING_MS 1000

uint64_t rpc_conn_now(const struct rpc_conn *n)
{
    return clock_mono_ms(n->cfg.clock);
}

void rpc_conn_wake(struct rpc_conn *n)
{
    if (n->events.wake)
        n->events.wake(n->ctx);
}

void rpc_conn_schedule(struct rpc_call *c)
{
    struct rpc_conn *n = c->conn;

    if (c->in_ready)
        return;
    c->in_ready = true;
    c->ready_next = NULL;
    if (n->ready_tail)
        n->ready_tail->ready_next = c;
    else
        n->ready = c;
    n->ready_tail = c;
    rpc_conn_wake(n);
}

void rpc_conn_need_tick(struct rpc_conn *n, uint64_t at_ms)
{
    if (at_ms >= n->next_call_ms)
        return;
    n->next_call_ms = at_ms;
    rpc_conn_wake(n);
}

/* --------------------------------------------------------------- birth, death */

static void *h2_malloc(size_t len, void *ctx)
{
    struct err e = ERR_INIT;

    (void)ctx;
    return mem_new(len, &e);
}

static void h2_free(void *at, void *ctx)
{
    (void)ctx;
    mem_free(at);
}

static void *h2_calloc(size_t count, size_t size, void *ctx)
{
    struct err e = ERR_INIT;

    (void)ctx;
    return mem_new_array(count, size, &e);
}

static void *h2_realloc(void *at, size_t len, void *ctx)
{
    struct err e = ERR_INIT;

    (void)ctx;
    return mem_resize(at, len, &e);
}

static int h2_session(struct rpc_conn *n, nghttp2_option *opt, nghttp2_session_callbacks *cb)
{
    nghttp2_mem mem = { NULL, h2_malloc, h2_free, h2_calloc, h2_realloc };

    rpc_recv_callbacks(cb);
    rpc_send_callbacks(cb);
    nghttp2_option_set_no_auto_window_update(opt, 1);
    nghttp2_option_set_no_closed_streams(opt, 1);
    /* We check headers ourselves: a path without a slash gets a gRPC status, not a reset (H2-6). */
    nghttp2_option_set_no_http_messaging(opt, 1);
    nghttp2_option_set_max_outbound_ack(opt, ACKS_QUEUED_MAX);
    /* We count resets ourselves, to answer with ENHANCE_YOUR_CALM. */
    nghttp2_option_set_stream_reset_rate_limit(opt, 1u << 30, 1u << 20);
    return n->cfg.role == RPC_ROLE_SERVER ? nghttp2_session_server_new3(&n->h2, cb, n, opt, &mem)
                                          : nghttp2_session_client_new3(&n->h2, cb, n, opt, &mem);
}

static int h2_settings(struct rpc_conn *n)
{
    nghttp2_settings_entry set[5] = {
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, RPC_STREAM_WINDOW },
        { NGHTTP2_SETTINGS_MAX_FRAME_SIZE, RPC_FRAME_RECV_MAX },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)n->cfg.metadata_max },
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
    };

    if (n->cfg.role == RPC_ROLE_SERVER)
        set[3] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, n->cfg.streams_max };

    int rc = nghttp2_submit_settings(n->h2, NGHTTP2_FLAG_NONE, set, 4);

    n->settings_sent++;
    return rc ? rc : nghttp2_session_set_local_window_size(n->h2, NGHTTP2_FLAG_NONE, 0, RPC_CONN_WINDOW);
}

static bool h2_start(struct rpc_conn *n, struct err *e)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *opt = NULL;
    int rc = nghttp2_session_callbacks_new(&cb);

    if (rc == 0)
        rc = nghttp2_option_new(&opt);
    if (rc == 0)
        rc = h2_session(n, opt, cb);
    if (rc == 0)
        rc = h2_settings(n);
    nghttp2_option_del(opt);
    nghttp2_session_callbacks_del(cb);
    if (rc != 0)
        return err_fail(e, ERR_KIND_LIMIT, "start an HTTP/2 session: %s", nghttp2_strerror(rc));
    return true;
}

static bool copy_texts(struct rpc_conn *n, struct err *e)
{
    n->peer = mem_dup_str(n->cfg.peer ? n->cfg.peer : "", e);
    n->authority = mem_dup_str(n->cfg.authority ? n->cfg.authority : "localhost", e);
    n->user_agent = mem_dup_str(n->cfg.user_agent ? n->cfg.user_agent : "cocos-c", e);
    return n->peer && n->authority && n->user_agent;
}

bool rpc_conn_new(const struct rpc_conn_config *cfg, const struct rpc_conn_events *events, void *ctx,
                  struct rpc_conn **ret, struct err *e)
{
    struct rpc_conn *n = mem_new(sizeof(*n), e);

    if (!n)
        return false;
    n->cfg = *cfg;
    n->events = *events;
    n->ctx = ctx;
    n->budget = (struct rpc_budget){ 0, RPC_CONN_HELD_MAX, cfg->budget };
    n->started_ms = n->heard_ms = n->idle_since_ms = rpc_conn_now(n);
    n->next_call_ms = UINT64_MAX;
    n->frame_left = cfg->role == RPC_ROLE_SERVER ? NGHTTP2_CLIENT_MAGIC_LEN : 0;
    rpc_bucket_init(&n->idle_frames, IDLE_FRAMES_BURST, IDLE_FRAMES_PER_S, n->started_ms);
    rpc_bucket_init(&n->resets, RESETS_BURST, RESETS_PER_S, n->started_ms);
    if (!copy_texts(n, e) || !h2_start(n, e)) {
        rpc_conn_free(n);
        return false;
    }
    *ret = n;
    return true;
}

void rpc_conn_free(struct rpc_conn *n)
{
    if (!n)
        return;
    while (n->calls) {
        struct rpc_call *c = n->calls;

        n->calls = c->next;
        rpc_call_free(c);
    }
    while (n->barriers) {
        struct rpc_barrier *b = n->barriers;

        n->barriers = b->next;
        mem_free(b);
    }
    nghttp2_session_del(n->h2);
    mem_free(n->peer);
    mem_free(n->authority);
    mem_free(n->user_agent);
    mem_free(n);
}

/* ---------------------------------------------------------------- how it ends */

static void end_calls(struct rpc_conn *n, enum rpc_code code, const char *text)
{
    for (struct rpc_call *c = n->calls; c; c = c->next) {
        /* Its outcome has come in good order; only its messages have not all been taken. */
        if (n->cfg.role == RPC_ROLE_CLIENT && c->has_final)
            continue;
        rpc_call_end_with(c, code, "%s", text);
    }
}

static void end_barriers(struct rpc_conn *n)
{
    for (struct rpc_barrier *b = n->barriers; b; b = b->next)
        b->answered = true; /* b->ok stays as it was: false unless it came */
    rpc_conn_wake(n);
}

void rpc_conn_give_up(struct rpc_conn *n, uint32_t h2_code, bool abuse, const char *fmt, ...)
{
    char text[ERR_TEXT_SIZE];
    va_list args;

    if (n->fault.kind != ERR_KIND_NONE || n->failed)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    err_fail(&n->fault, abuse ? ERR_KIND_LIMIT : ERR_KIND_UNAVAILABLE, "%s", text);
    n->abused = abuse;
    nghttp2_session_terminate_session(n->h2, h2_code);
    end_calls(n, RPC_UNAVAILABLE, text);
    end_barriers(n);
}

void rpc_conn_fail(struct rpc_conn *n, const struct err *why)
{
    if (n->failed)
        return;
    n->failed = true;
    end_calls(n, RPC_UNAVAILABLE, err_text(n->fault.kind != ERR_KIND_NONE ? &n->fault : why));
    end_barriers(n);
}

static void submit_goaway(struct rpc_conn *n)
{
    nghttp2_submit_goaway(n->h2, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(n->h2),
                          NGHTTP2_NO_ERROR, NULL, 0);
}

void rpc_conn_end(struct rpc_conn *n, enum rpc_code code, const char *text)
{
    for (struct rpc_call *c = n->calls; c; c = c->next) {
        if (c->ended)
            continue;
        if (!c->has_final || n->cfg.role == RPC_ROLE_CLIENT)
            rpc_status_set(&c->final, code, slice_of_str(text));
        c->has_final = true;
        if (n->cfg.role == RPC_ROLE_SERVER)
            rpc_call_conclude(c, NULL, true);
        else
            rpc_call_abort(c, NGHTTP2_CANCEL);
    }
    /* Not nghttp2_session_terminate_session: that would drop the trailers and resets before it. */
    if (!n->ended)
        submit_goaway(n);
    n->ended = true;
    end_barriers(n);
}

void rpc_conn_drain(struct rpc_conn *n)
{
    if (n->draining || n->ended || n->failed)
        return;
    if (!n->up) {
        rpc_conn_end(n, RPC_UNAVAILABLE, "the server is shutting down");
        return;
    }

    uint8_t opaque[8] = { 'd', 'r', 'a', 'i', 'n' };

    n->draining = true;
    n->drain_until_ms = rpc_conn_now(n) + DRAIN_PING_MS;
    /* Its answer tells that the peer has seen the GOAWAY, so no call is under way that we'd refuse. */
    nghttp2_submit_shutdown_notice(n->h2);
    nghttp2_submit_ping(n->h2, NGHTTP2_FLAG_NONE, opaque);
    rpc_conn_wake(n);
}

bool rpc_conn_is_over(const struct rpc_conn *n)
{
    if (n->failed)
        return true;
    if (nghttp2_session_want_write(n->h2))
        return false;
    if (n->ended || n->fault.kind != ERR_KIND_NONE)
        return true;
    if (n->cfg.role == RPC_ROLE_CLIENT && n->goaway_received && n->call_count == 0)
        return true;
    return !nghttp2_session_want_read(n->h2);
}

const struct err *rpc_conn_fault(const struct rpc_conn *n)
{
    return n->fault.kind != ERR_KIND_NONE ? &n->fault : NULL;
}

bool rpc_conn_was_abused(const struct rpc_conn *n)
{
    return n->abused;
}

bool rpc_conn_takes_calls(const struct rpc_conn *n)
{
    return !n->failed && !n->ended && !n->goaway_received && n->fault.kind == ERR_KIND_NONE &&
           nghttp2_session_check_request_allowed(n->h2);
}

size_t rpc_conn_call_count(const struct rpc_conn *n)
{
    return n->call_count;
}

/* ---------------------------------------------------------------------- bytes */

/* What a person is likely to have mixed up deserves a better word than "protocol error". */
static bool speaks_another_protocol(struct rpc_conn *n, struct slice first)
{
    if (slice_starts(first, "HTTP/1."))
        rpc_conn_give_up(n, NGHTTP2_PROTOCOL_ERROR, false,
                         "the server answers in HTTP/1: it is no gRPC server");
    else if (slice_starts(first, "\x15\x03"))
        rpc_conn_give_up(n, NGHTTP2_PROTOCOL_ERROR, false, "the server wants TLS, and none is configured");
    return n->fault.kind != ERR_KIND_NONE;
}

void rpc_conn_feed(struct rpc_conn *n, struct slice bytes)
{
    if (rpc_conn_is_ending(n))
        return;
    n->heard_ms = rpc_conn_now(n);
    if (!n->up && n->cfg.role == RPC_ROLE_CLIENT && speaks_another_protocol(n, bytes))
        return;
    if (!rpc_charge_frames(n, bytes))
        return;

    ssize_t rc = nghttp2_session_mem_recv(n->h2, bytes.at, bytes.len);

    if (rc == NGHTTP2_ERR_FLOODED || rc == NGHTTP2_ERR_TOO_MANY_SETTINGS)
        rpc_conn_give_up(n, NGHTTP2_ENHANCE_YOUR_CALM, true, "the peer floods: %s",
                         nghttp2_strerror((int)rc));
    else if (rc < 0)
        rpc_conn_give_up(n, NGHTTP2_PROTOCOL_ERROR, false, "HTTP/2: %s", nghttp2_strerror((int)rc));
    if (nghttp2_session_get_outbound_queue_size(n->h2) > OUTBOUND_FRAMES_MAX)
        rpc_conn_give_up(n, NGHTTP2_ENHANCE_YOUR_CALM, true, "the peer asks for more than it reads");
}

/*
 * A frame that the peer answers when it has taken all before it. To a server
 * that is an empty SETTINGS: gRPC servers end a connection whose client pings
 * more often than every five minutes ("too_many_pings"), and answer SETTINGS in
 * order like PINGs.
 */
static bool send_probe(struct rpc_conn *n, const uint8_t opaque[8])
{
    if (n->cfg.role == RPC_ROLE_SERVER)
        return nghttp2_submit_ping(n->h2, NGHTTP2_FLAG_NONE, opaque) == 0;
    if (nghttp2_submit_settings(n->h2, NGHTTP2_FLAG_NONE, NULL, 0) != 0)
        return false;
    n->settings_sent++;
    return true;
}

bool rpc_conn_barrier(struct rpc_conn *n, void (*acked)(bool ok, void *ctx), void *ctx, struct err *e)
{
    static const uint8_t opaque[8] = { 'b' };
    struct rpc_barrier *b = mem_new(sizeof(*b), e);

    assert(n->cfg.role == RPC_ROLE_CLIENT);
    if (!b)
        return false;
    b->acked = acked;
    b->ctx = ctx;
    b->answered = n->failed || n->ended || n->fault.kind != ERR_KIND_NONE;
    if (!send_probe(n, opaque)) {
        mem_free(b);
        return err_fail(e, ERR_KIND_LIMIT, "no memory for an HTTP/2 SETTINGS");
    }
    b->number = n->settings_sent;

    struct rpc_barrier **at = &n->barriers;

    while (*at)
        at = &(*at)->next;
    *at = b;
    rpc_conn_wake(n);
    return true;
}

/* ----------------------------------------------------------------------- time */

static bool watches_silence(const struct rpc_conn *n)
{
    return n->cfg.keepalive_ms && n->up && (n->call_count > 0 || n->barriers);
}

static void tick_keepalive(struct rpc_conn *n, uint64_t now)
{
    uint8_t opaque[8] = { 'k' };

    if (!watches_silence(n)) {
        n->ping_pending = false;
        return;
    }
    if (n->ping_pending && n->heard_ms >= n->ping_sent_ms)
        n->ping_pending = false;
    if (n->ping_pending) {
        if (now >= n->ping_sent_ms + n->cfg.keepalive_timeout_ms)
            rpc_conn_give_up(n, NGHTTP2_NO_ERROR, false, "keepalive: no answer from the peer for %llu ms",
                             (unsigned long long)(now - n->ping_sent_ms));
    } else if (now >= n->heard_ms + n->cfg.keepalive_ms) {
        n->ping_pending = true;
        n->ping_sent_ms = now;
        send_probe(n, opaque);
    }
}

static uint64_t stall_at(const struct rpc_call *c)
{
    const struct rpc_conn_config *cfg = &c->conn->cfg;

    if (cfg->role != RPC_ROLE_SERVER || !cfg->stall_timeout_ms || c->queued == 0)
        return UINT64_MAX;
    return c->progress_ms + cfg->stall_timeout_ms;
}

/* Whoever opens a call and does not say what he wants holds a place of it. */
static uint64_t request_at(const struct rpc_call *c)
{
    const struct rpc_conn_config *cfg = &c->conn->cfg;

    if (cfg->role != RPC_ROLE_SERVER || !cfg->request_timeout_ms || !c->single || !c->wanted ||
        c->half_closed_told || c->has_final)
        return UINT64_MAX;
    return c->opened_ms + cfg->request_timeout_ms;
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void tick_calls(struct rpc_conn *n, uint64_t now)
{
    if (now < n->next_call_ms)
        return;
    n->next_call_ms = UINT64_MAX;
    for (struct rpc_call *c = n->calls; c; c = c->next) {
        if (c->ended)
            continue;
        if (now >= c->deadline_ms) {
            rpc_call_expire(c);
        } else if (now >= stall_at(c)) {
            rpc_status_setf(&c->final, RPC_CANCELLED, "the peer took nothing for %llu ms",
                            (unsigned long long)(now - c->progress_ms));
            c->has_final = true;
            rpc_call_abort(c, NGHTTP2_CANCEL);
        } else if (now >= request_at(c)) {
            rpc_status_setf(&c->final, RPC_DEADLINE_EXCEEDED,
                            "the request did not come within %llu ms of the call",
                            (unsigned long long)n->cfg.request_timeout_ms);
            c->has_final = true;
            rpc_call_conclude(c, NULL, true);
        } else {
            n->next_call_ms = earliest(n->next_call_ms,
                                       earliest(c->deadline_ms, earliest(stall_at(c), request_at(c))));
        }
    }
}

static uint64_t handshake_at(const struct rpc_conn *n)
{
    if (n->up || !n->cfg.handshake_timeout_ms)
        return UINT64_MAX;
    return n->started_ms + n->cfg.handshake_timeout_ms;
}

static uint64_t idle_at(const struct rpc_conn *n)
{
    if (n->cfg.role != RPC_ROLE_SERVER || !n->cfg.idle_timeout_ms || n->call_count > 0)
        return UINT64_MAX;
    return n->idle_since_ms + n->cfg.idle_timeout_ms;
}

static uint64_t drain_at(const struct rpc_conn *n)
{
    return n->draining && !n->drain_is_final ? n->drain_until_ms : UINT64_MAX;
}

static uint64_t keepalive_at(const struct rpc_conn *n)
{
    if (!watches_silence(n))
        return UINT64_MAX;
    if (n->ping_pending && n->heard_ms < n->ping_sent_ms)
        return n->ping_sent_ms + n->cfg.keepalive_timeout_ms;
    return n->heard_ms + n->cfg.keepalive_ms;
}

bool rpc_conn_is_ending(const struct rpc_conn *n)
{
    return n->failed || n->ended || n->fault.kind != ERR_KIND_NONE;
}

void rpc_conn_tick(struct rpc_conn *n)
{
    uint64_t now = rpc_conn_now(n);

    if (rpc_conn_is_ending(n))
        return;
    tick_calls(n, now);
    tick_keepalive(n, now);
    if (now >= drain_at(n)) {
        n->drain_is_final = true;
        submit_goaway(n);
    }
    if (now >= handshake_at(n))
        rpc_conn_give_up(n, NGHTTP2_SETTINGS_TIMEOUT, false,
                         "the peer has not begun to speak HTTP/2 within %llu ms",
                         (unsigned long long)n->cfg.handshake_timeout_ms);
    if (now >= idle_at(n))
        rpc_conn_end(n, RPC_UNAVAILABLE, "idle for too long");
}

uint64_t rpc_conn_deadline(const struct rpc_conn *n)
{
    uint64_t at = n->next_call_ms;
    uint64_t others[] = { handshake_at(n), idle_at(n), drain_at(n), keepalive_at(n) };

    if (rpc_conn_is_ending(n))
        return UINT64_MAX;
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (others[i] < at)
            at = others[i];
    }
    return at;
}

/* ------------------------------------------------------------------- dispatch */

static void forget(struct rpc_call *c)
{
    struct rpc_conn *n = c->conn;

    if (c->prev)
        c->prev->next = c->next;
    else
        n->calls = c->next;
    if (c->next)
        c->next->prev = c->prev;
    if (--n->call_count == 0)
        n->idle_since_ms = rpc_conn_now(n);
    rpc_call_free(c);
}

/* Everything the call has to tell now. Its user may do anything to the call meanwhile. */
static void tell(struct rpc_call *c)
{
    if (!c->ended)
        rpc_call_take(c, SLICE_EMPTY);
    if (!c->ended && c->tell_writable) {
        c->tell_writable = false;
        if (c->events && c->events->writable)
            c->events->writable(c, c->ctx);
    }
    if (!c->ended)
        rpc_call_settle(c);
    if (!c->ended || c->in_ready)
        return;
    if (c->opened && c->events && c->events->closed)
        c->events->closed(c, &c->final, &c->trailers, c->ctx);
    forget(c);
}

static bool tell_barriers(struct rpc_conn *n)
{
    bool told = false;

    while (n->barriers && n->barriers->answered) {
        struct rpc_barrier *b = n->barriers;

        n->barriers = b->next;
        b->acked(b->ok, b->ctx);
        mem_free(b);
        told = true;
    }
    return told;
}

bool rpc_conn_dispatch(struct rpc_conn *n)
{
    bool told = tell_barriers(n);

    while (n->ready) {
        struct rpc_call *c = n->ready;

        n->ready = c->ready_next;
        if (!n->ready)
            n->ready_tail = NULL;
        c->in_ready = false;
        tell(c);
        told = true;
    }
    return told;
}
