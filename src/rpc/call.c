#include <stdarg.h>

#include "base/mem.h"
#include "rpc/conn_int.h"
#include "rpc/gzip.h"

/* --------------------------------------------------------------- birth, death */

struct rpc_call *rpc_call_new(struct rpc_conn *n, struct err *e)
{
    struct rpc_call *c = mem_new(sizeof(*c), e);

    if (!c)
        return NULL;
    c->conn = n;
    c->deadline_ms = UINT64_MAX;
    c->max_recv = n->cfg.message_max;
    c->assembly = (struct rpc_assembly)RPC_ASSEMBLY_INIT;
    c->backlog = (struct buf)BUF_INIT(2 * RPC_STREAM_WINDOW);
    c->progress_ms = rpc_conn_now(n);
    c->next = n->calls;
    if (c->next)
        c->next->prev = c;
    n->calls = c;
    n->call_count++;
    return c;
}

/* Memory that is of no use once the call has ended. */
static void release(struct rpc_call *c)
{
    rpc_queue_drop(c);
    rpc_assembly_reset(&c->assembly);
    buf_done(&c->backlog);
    rpc_budget_release(&c->conn->budget, &c->held);
}

void rpc_call_free(struct rpc_call *c)
{
    release(c);
    rpc_head_done(&c->head);
    rpc_md_done(&c->md);
    rpc_md_done(&c->trailers);
    buf_done(&c->request);
    mem_free(c->method);
    mem_free(c);
}

void rpc_call_end(struct rpc_call *c)
{
    if (c->ended)
        return;
    c->ended = true;
    if (c->stream_id > 0)
        nghttp2_session_set_stream_user_data(c->conn->h2, c->stream_id, NULL);
    release(c);
    rpc_conn_schedule(c);
}

void rpc_call_end_with(struct rpc_call *c, enum rpc_code code, const char *fmt, ...)
{
    char text[RPC_STATUS_TEXT_MAX];
    va_list args;

    if (c->ended)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    rpc_status_set(&c->final, code, slice_of_str(text));
    c->has_final = true;
    rpc_call_end(c);
}

void rpc_call_abort(struct rpc_call *c, uint32_t h2_code)
{
    if (c->ended)
        return;
    nghttp2_submit_rst_stream(c->conn->h2, NGHTTP2_FLAG_NONE, c->stream_id, h2_code);
    rpc_call_end(c);
}

void rpc_call_conclude(struct rpc_call *c, const struct rpc_md *trailers, bool now)
{
    struct err e = ERR_INIT;

    if (c->ended)
        return;
    if (c->queued == 0) {
        rpc_send_trailers(c, trailers);
        rpc_call_end(c);
        return;
    }
    if (now) { /* what is queued may never go out; the peer's window decides that */
        rpc_call_abort(c, NGHTTP2_CANCEL);
        return;
    }
    if (!rpc_md_copy(&c->trailers, trailers, &e)) {
        rpc_call_abort(c, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    c->end_queued = true;
    nghttp2_session_resume_data(c->conn->h2, c->stream_id);
    rpc_conn_wake(c->conn);
}

/* The peer has broken the rules of the call. */
static void fault(struct rpc_call *c, enum rpc_code code, const char *text)
{
    bool server = c->conn->cfg.role == RPC_ROLE_SERVER;

    if (c->ended || (server && c->has_final))
        return;
    rpc_status_set(&c->final, code, slice_of_str(text));
    c->has_final = true;
    if (server)
        rpc_call_conclude(c, NULL, false);
    else
        rpc_call_abort(c, NGHTTP2_CANCEL);
}

void rpc_call_expire(struct rpc_call *c)
{
    rpc_status_setf(&c->final, RPC_DEADLINE_EXCEEDED, "context deadline exceeded");
    c->has_final = true;
    if (c->conn->cfg.role == RPC_ROLE_SERVER)
        rpc_call_conclude(c, NULL, true);
    else
        rpc_call_abort(c, NGHTTP2_CANCEL);
}

/* ------------------------------------------------------------------ receiving */

static bool charge(struct rpc_call *c)
{
    if (rpc_budget_set(&c->conn->budget, &c->held, rpc_assembly_held(&c->assembly) + c->backlog.cap))
        return true;
    fault(c, RPC_RESOURCE_EXHAUSTED, "the peer has too many bytes under way");
    return false;
}

static void consume(struct rpc_call *c, size_t len)
{
    if (len > 0)
        nghttp2_session_consume_stream(c->conn->h2, c->stream_id, len);
    rpc_conn_wake(c->conn);
}

static bool unpack(struct rpc_call *c, struct buf *body)
{
    CLEANUP(buf_done) struct buf plain = BUF_INIT(c->max_recv);
    struct err e = ERR_INIT;

    if (!c->gzip) {
        fault(c, RPC_INTERNAL, "grpc: compressed flag set with identity or empty encoding");
        return false;
    }
    if (!rpc_gzip_unpack(buf_slice(body), &plain, &e)) {
        fault(c, e.kind == ERR_KIND_LIMIT ? RPC_RESOURCE_EXHAUSTED : RPC_INTERNAL, err_text(&e));
        return false;
    }
    buf_move(body, &plain);
    return true;
}

/* The assembly is whole. */
static void deliver(struct rpc_call *c)
{
    CLEANUP(buf_done) struct buf body = BUF_INIT(c->assembly.frame.len);
    bool compressed = c->assembly.frame.compressed;

    buf_move(&body, &c->assembly.body);
    rpc_assembly_reset(&c->assembly);
    if (!charge(c) || (compressed && !unpack(c, &body)))
        return;
    if (c->single && c->received > 0) {
        fault(c, RPC_INTERNAL, "more than one message came where one was expected");
        return;
    }
    c->received++;
    c->wanted = false;
    c->delivering = true;
    if (c->events && c->events->message)
        c->events->message(c, &body, c->ctx);
    c->delivering = false;
}

/* Feeds the assembly from *in. False when nothing more can be done with *in now. */
static bool assemble(struct rpc_call *c, struct slice *in)
{
    struct err e = ERR_INIT;

    switch (rpc_assembly_feed(&c->assembly, in, c->max_recv, &e)) {
    case RPC_FRAME_BROKEN:
        fault(c, e.kind == ERR_KIND_LIMIT ? RPC_RESOURCE_EXHAUSTED : RPC_INTERNAL, err_text(&e));
        return false;
    case RPC_FRAME_PARTIAL: charge(c); return false;
    case RPC_FRAME_READY: deliver(c); return true;
    }
    return false;
}

/* Nothing more is handed to the user: the call has ended, or its status is set. */
static bool is_deaf(const struct rpc_call *c)
{
    return c->ended || (c->conn->cfg.role == RPC_ROLE_SERVER && (c->has_final || c->end_queued));
}

static void take_backlog(struct rpc_call *c)
{
    bool more = true;

    while (more && c->wanted && c->backlog.len > 0 && !is_deaf(c)) {
        struct slice s = buf_slice(&c->backlog);
        size_t before = s.len;

        /* The bytes are copied into the message before anyone can touch the backlog. */
        more = assemble(c, &s);
        if (c->ended)
            return;
        buf_consume(&c->backlog, before - s.len);
        consume(c, before - s.len);
    }
}

void rpc_call_take(struct rpc_call *c, struct slice in)
{
    struct err e = ERR_INIT;
    bool more = true;

    c->bytes_received += in.len;
    take_backlog(c);
    while (more && in.len > 0 && c->wanted && c->backlog.len == 0 && !is_deaf(c)) {
        size_t before = in.len;

        more = assemble(c, &in);
        consume(c, before - in.len);
    }
    if (in.len == 0)
        return;
    if (is_deaf(c)) {
        consume(c, in.len);
        return;
    }
    if (!buf_append(&c->backlog, in, &e))
        fault(c, RPC_RESOURCE_EXHAUSTED, err_text(&e));
    else
        charge(c);
}

uint64_t rpc_call_bytes_received(const struct rpc_call *c)
{
    return c->bytes_received;
}

bool rpc_call_is_waiting(const struct rpc_call *c)
{
    return c->wanted;
}

static void settle_server(struct rpc_call *c)
{
    if (rpc_assembly_is_partial(&c->assembly)) {
        fault(c, RPC_INTERNAL, "the request ended inside a message");
    } else if (c->single && c->received == 0) {
        fault(c, RPC_INTERNAL, "the request has no message");
    } else if (!c->half_closed_told) {
        c->half_closed_told = true;
        if (c->events && c->events->half_closed)
            c->events->half_closed(c, c->ctx);
    }
}

void rpc_call_settle(struct rpc_call *c)
{
    if (!c->remote_ended || c->backlog.len > 0 || is_deaf(c))
        return;
    if (c->conn->cfg.role == RPC_ROLE_SERVER) {
        settle_server(c);
        return;
    }
    if (rpc_assembly_is_partial(&c->assembly) && c->final.code == RPC_OK)
        rpc_status_setf(&c->final, RPC_INTERNAL, "the reply ended inside a message");
    /* Our half may still be open; the server has said that it does not want it. */
    if (nghttp2_session_get_stream_local_close(c->conn->h2, c->stream_id) == 0)
        rpc_call_abort(c, NGHTTP2_CANCEL);
    else
        rpc_call_end(c);
}

void rpc_call_on(struct rpc_call *c, const struct rpc_call_events *events, void *ctx)
{
    c->events = events;
    c->ctx = ctx;
}

void rpc_call_want(struct rpc_call *c)
{
    c->wanted = true;
    if (!c->delivering && !c->ended && c->backlog.len > 0)
        rpc_conn_schedule(c);
}

void rpc_call_set_recv(struct rpc_call *c, size_t max_recv, bool single)
{
    if (max_recv)
        c->max_recv = max_recv;
    c->single = single;
    c->opened_ms = rpc_conn_now(c->conn);
    if (single && c->conn->cfg.request_timeout_ms)
        rpc_conn_need_tick(c->conn, c->opened_ms + c->conn->cfg.request_timeout_ms);
}

/* -------------------------------------------------------------------- sending */

bool rpc_call_can_send(const struct rpc_call *c)
{
    return c->queued < RPC_SEND_QUEUE_BYTES && !c->ended && !c->end_queued;
}

size_t rpc_call_queued(const struct rpc_call *c)
{
    return c->queued;
}

static bool may_send(struct rpc_call *c, size_t len, struct err *e)
{
    if (c->ended || c->end_queued)
        return err_fail(e, ERR_KIND_CANCELLED, "send: the call has ended");
    if (len > UINT32_MAX)
        return err_fail(e, ERR_KIND_LIMIT, "send: a message of %zu bytes, at most %u fit", len, UINT32_MAX);
    if (c->queued >= RPC_SEND_QUEUE_BYTES) {
        c->blocked = true;
        return err_fail(e, ERR_KIND_LIMIT, "send: %zu bytes are queued already", c->queued);
    }
    return true;
}

static void enqueue(struct rpc_call *c, struct rpc_out *m, struct buf *take_body)
{
    struct rpc_conn *n = c->conn;

    rpc_frame_head_write((struct rpc_frame_head){ false, (uint32_t)take_body->len }, m->head);
    m->body = (struct buf)BUF_INIT(take_body->len);
    buf_move(&m->body, take_body);
    if (c->queue_tail)
        c->queue_tail->next = m;
    else
        c->queue = m;
    c->queue_tail = m;
    if (c->queued == 0) {
        c->progress_ms = rpc_conn_now(n);
        if (n->cfg.role == RPC_ROLE_SERVER && n->cfg.stall_timeout_ms)
            rpc_conn_need_tick(n, c->progress_ms + n->cfg.stall_timeout_ms);
    }
    c->queued += RPC_FRAME_HEAD_LEN + m->body.len;
    c->blocked = c->queued >= RPC_SEND_QUEUE_BYTES;
    nghttp2_session_resume_data(n->h2, c->stream_id);
    rpc_conn_wake(n);
}

bool rpc_call_send(struct rpc_call *c, struct buf *take_body, struct err *e)
{
    struct rpc_out *m = NULL;

    if (!may_send(c, take_body->len, e) || !(m = mem_new(sizeof(*m), e)) ||
        (!c->headers_sent && !rpc_send_headers(c, NULL, e))) {
        mem_free(m);
        buf_done(take_body);
        return false;
    }
    enqueue(c, m, take_body);
    return true;
}

void rpc_call_send_end(struct rpc_call *c)
{
    if (c->ended || c->end_queued || c->conn->cfg.role != RPC_ROLE_CLIENT)
        return;
    c->end_queued = true;
    nghttp2_session_resume_data(c->conn->h2, c->stream_id);
    rpc_conn_wake(c->conn);
}

void rpc_call_cancel(struct rpc_call *c)
{
    if (c->ended)
        return;
    rpc_status_setf(&c->final, RPC_CANCELLED, "context canceled");
    c->has_final = true;
    rpc_call_abort(c, NGHTTP2_CANCEL);
}

bool rpc_call_send_initial(struct rpc_call *c, const struct rpc_md *md, struct err *e)
{
    if (c->ended || c->end_queued)
        return err_fail(e, ERR_KIND_CANCELLED, "send headers: the call has ended");
    if (c->headers_sent)
        return err_fail(e, ERR_KIND_INVALID, "send headers: they have been sent");
    return rpc_send_headers(c, md, e);
}

void rpc_call_finish(struct rpc_call *c, enum rpc_code code, const char *message,
                     const struct rpc_md *trailers)
{
    if (c->ended || c->has_final)
        return;
    rpc_status_set(&c->final, code, slice_of_str(message));
    c->has_final = true;
    rpc_call_conclude(c, trailers, false);
}

void rpc_call_finishf(struct rpc_call *c, enum rpc_code code, const char *fmt, ...)
{
    char text[RPC_STATUS_TEXT_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    rpc_call_finish(c, code, text, NULL);
}

void rpc_call_reply(struct rpc_call *c, struct buf *take_body)
{
    struct err e = ERR_INIT;

    if (rpc_call_send(c, take_body, &e))
        rpc_call_finish(c, RPC_OK, "", NULL);
    else
        rpc_call_finish(c, RPC_INTERNAL, err_text(&e), NULL);
}

/* -------------------------------------------------------------------- looking */

const struct rpc_md *rpc_call_metadata(const struct rpc_call *c)
{
    return &c->md;
}

const char *rpc_call_peer(const struct rpc_call *c)
{
    return c->conn->peer;
}

const char *rpc_call_method(const struct rpc_call *c)
{
    return c->method ? c->method : "";
}

bool rpc_conn_call(struct rpc_conn *n, const char *method, const struct rpc_md *md, uint64_t timeout_ms,
                   const struct rpc_call_events *events, void *ctx, struct rpc_call **ret, struct err *e)
{
    struct rpc_call *c;

    if (method[0] != '/')
        return err_fail(e, ERR_KIND_INVALID, "method '%s': write \"/package.Service/Method\"", method);
    c = rpc_call_new(n, e);
    if (!c)
        return false;
    c->method = mem_dup_str(method, e);
    if (!c->method || !rpc_send_request(c, md, timeout_ms, e)) {
        rpc_call_end(c); /* nobody knows it: it goes without a word */
        return err_wrap(e, "call %s", method);
    }
    c->opened = true;
    c->events = events;
    c->ctx = ctx;
    if (timeout_ms) {
        c->deadline_ms = rpc_conn_now(n) + timeout_ms;
        rpc_conn_need_tick(n, c->deadline_ms);
    }
    rpc_conn_wake(n);
    *ret = c;
    return true;
}
