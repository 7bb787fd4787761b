#include "base/log.h"
#include "base/mem.h"
#include "cvms/server_int.h"

/* --------------------------------------------------------------------- CVMs */

static void forget_idle_cvm(struct cvms_server *s)
{
    for (struct cvms_cvm **at = &s->cvms; *at; at = &(*at)->next) {
        struct cvms_cvm *idle = *at;

        if (idle->streams > 0)
            continue;
        *at = idle->next;
        mem_free(idle->job_id);
        mem_free(idle);
        s->cvm_count--;
        return;
    }
}

static struct cvms_cvm *cvm_of(struct cvms_server *s, struct slice job_id, struct err *e)
{
    struct cvms_cvm *cvm;

    for (cvm = s->cvms; cvm; cvm = cvm->next) {
        if (slice_equal_str(job_id, cvm->job_id))
            return cvm;
    }
    if (s->cvm_count == CVMS_CVMS_MAX)
        forget_idle_cvm(s);
    if (s->cvm_count == CVMS_CVMS_MAX) {
        err_fail(e, ERR_KIND_LIMIT, "%d CVMs are connected, no more are taken", CVMS_CVMS_MAX);
        return NULL;
    }
    cvm = mem_new(sizeof(*cvm), e);
    if (!cvm)
        return NULL;
    cvm->job_id = mem_dup_slice(job_id, e);
    if (!cvm->job_id) {
        mem_free(cvm);
        return NULL;
    }
    cvm->next = s->cvms;
    s->cvms = cvm;
    s->cvm_count++;
    return cvm;
}

/* ------------------------------------------------------------------ sending */

static uint64_t after(struct cvms_server *s, uint64_t ms)
{
    return ms == 0 ? CVMS_NEVER : uv_now(&s->daemon.loop) + ms;
}

static uint64_t state_period(struct cvms_server *s)
{
    if (s->o->state_every_ms > 0)
        return s->o->state_every_ms;
    return cvms_expect_wants_state(&s->expect) ? CVMS_POLL_MS : 0;
}

/* Arms server->due for the earliest time of all streams. */
static void due_arm(struct cvms_server *s);

/* From here on the stream's clock runs. */
static void request_is_out(struct cvms_stream *st)
{
    struct cvms_server *s = st->server;
    const struct log_field fields[] = { LOG_STR("peer", st->peer), LOG_STR("job_id", st->cvm->job_id) };

    log_record(LOG_INFO, "computation run request sent successfully", fields, ARRAY_LEN(fields));
    if (!st->cvm->stopped)
        st->stop_at = after(s, s->o->stop_after_ms);
    if (!st->cvm->disconnected)
        st->disconnect_at = after(s, s->o->disconnect_after_ms);
    st->state_at = after(s, state_period(s));
    due_arm(s);
}

static bool push(struct cvms_stream *st, bool made, struct buf *message, struct err *e)
{
    if (made && rpc_call_send(st->call, message, e))
        return true;
    buf_done(message);
    return false;
}

static bool send_due(struct cvms_stream *st, struct err *e)
{
    struct cvms_server *s = st->server;
    uint64_t now = uv_now(&s->daemon.loop);
    struct buf m = BUF_INIT(0);

    if (st->state_at <= now && rpc_call_can_send(st->call)) {
        st->state_at = after(s, state_period(s));
        if (!push(st, cvms_wire_ask_state(&s->wire, &m, e), &m, e))
            return false;
    }
    if (st->stop_at <= now && rpc_call_can_send(st->call)) {
        st->stop_at = CVMS_NEVER;
        /* All CVMs without a job-id look the same: each of their streams is stopped. */
        st->cvm->stopped = st->cvm->job_id[0] != '\0';
        if (!push(st, cvms_wire_stop(&s->wire, &m, e), &m, e))
            return false;
    }
    if (st->disconnect_at <= now && rpc_call_can_send(st->call)) {
        st->disconnect_at = CVMS_NEVER;
        if (st->cvm->disconnected)
            return true;
        st->cvm->disconnected = true;
        return push(st, cvms_wire_disconnect(&s->wire, &m, e), &m, e);
    }
    return true;
}

static bool send_request(struct cvms_stream *st, struct err *e)
{
    struct cvms_server *s = st->server;
    size_t count = cvms_wire_count(&s->wire);

    while (st->parts_sent < count && rpc_call_can_send(st->call)) {
        struct buf m = BUF_INIT(0);

        if (!push(st, cvms_wire_part(&s->wire, st->parts_sent, &m, e), &m, e))
            return false;
        st->parts_sent++;
        if (st->parts_sent == count)
            request_is_out(st);
    }
    return true;
}

/* The stream's next messages, as far as there is room. */
static void send_next(struct cvms_stream *st)
{
    struct err e = ERR_INIT;

    if (st->forwarder || st->server->daemon.stopping)
        return;
    if (!send_request(st, &e) ||
        (st->parts_sent == cvms_wire_count(&st->server->wire) && !send_due(st, &e))) {
        log_error("send to %s: %s", st->peer, err_text(&e));
        rpc_call_finish(st->call, rpc_code_of_err(e.kind), err_text(&e), NULL);
    }
}

static void due_cb(uv_timer_t *t)
{
    struct cvms_server *s = t->data;
    struct cvms_stream *next;

    for (struct cvms_stream *st = s->streams; st; st = next) {
        next = st->next; /* a stream that can't be sent to may go */
        send_next(st);
    }
    due_arm(s);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void due_arm(struct cvms_server *s)
{
    uint64_t at = CVMS_NEVER, now = uv_now(&s->daemon.loop);

    for (struct cvms_stream *st = s->streams; st; st = st->next) {
        /* One whose queue is full is pushed when there is room, not by the clock. */
        if (rpc_call_can_send(st->call))
            at = earlier(at, earlier(st->stop_at, earlier(st->state_at, st->disconnect_at)));
    }
    if (at == CVMS_NEVER || s->daemon.stopping)
        uv_timer_stop(&s->due);
    else
        uv_timer_start(&s->due, due_cb, at > now ? at - now : 0, 0);
}

/* ---------------------------------------------------------------- the stream */

static void on_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    cvms_server_take(ctx, body);
    rpc_call_want(c);
}

/* An agent never ends its side while it wants to be served: what follows is the end of the call. */
static void on_half_closed(struct rpc_call *c, void *ctx)
{
    (void)ctx;
    rpc_call_finish(c, RPC_OK, "", NULL);
}

static void on_writable(struct rpc_call *c, void *ctx)
{
    (void)c;
    send_next(ctx);
    due_arm(((struct cvms_stream *)ctx)->server);
}

static void stream_free(struct cvms_stream *st)
{
    if (st->cvm)
        st->cvm->streams--;
    mem_free(st->peer);
    mem_free(st);
}

static void on_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                      void *ctx)
{
    struct cvms_stream *st = ctx;
    struct cvms_server *s = st->server;
    const struct log_field fields[] = { LOG_STR("peer", st->peer), LOG_STR("job_id", st->cvm->job_id),
                                        LOG_STR("code", rpc_code_name(status->code)),
                                        LOG_STR("why", status->message) };

    (void)c;
    (void)trailers;
    log_record(LOG_INFO, "connection closed", fields, ARRAY_LEN(fields));
    *(st->before ? &st->before->next : &s->streams) = st->next;
    if (st->next)
        st->next->before = st->before;
    stream_free(st);
    due_arm(s);
}

static const struct rpc_call_events stream_events = {
    .message = on_message,
    .half_closed = on_half_closed,
    .writable = on_writable,
    .closed = on_closed,
};

static struct cvms_stream *stream_new(struct cvms_server *s, struct rpc_call *c, struct err *e)
{
    const struct rpc_md *md = rpc_call_metadata(c);
    struct slice job_id = SLICE_EMPTY, type = SLICE_EMPTY;
    struct cvms_stream *st = mem_new(sizeof(*st), e);

    if (!st)
        return NULL;
    st->server = s;
    st->call = c;
    st->stop_at = st->state_at = st->disconnect_at = CVMS_NEVER;
    st->forwarder = rpc_md_get(md, "connection-type", 0, &type) && slice_equal_str(type, "log-forwarder");
    st->peer = mem_dup_str(rpc_call_peer(c), e);
    if (rpc_md_get(md, "job-id", 0, &job_id) && job_id.len > CVMS_JOB_ID_MAX)
        err_fail(e, ERR_KIND_INVALID, "job-id of %zu bytes, at most %d are taken", job_id.len,
                 CVMS_JOB_ID_MAX);
    else if (st->peer)
        st->cvm = cvm_of(s, job_id, e);
    if (!st->cvm) {
        stream_free(st);
        return NULL;
    }
    st->cvm->streams++;
    return st;
}

static void process_open(struct rpc_call *c, void *service)
{
    struct cvms_server *s = service;
    struct err e = ERR_INIT;
    struct cvms_stream *st = stream_new(s, c, &e);

    if (!st) {
        log_error("stream from %s: %s", rpc_call_peer(c), err_text(&e));
        rpc_call_finish(c, rpc_code_of_err(e.kind), err_text(&e), NULL);
        return;
    }
    const struct log_field fields[] = { LOG_STR("job_id", st->cvm->job_id),
                                        LOG_STR("stream", st->forwarder ? "log-forwarder" : "agent") };
    char said[128];

    snprintf(said, sizeof(said), "received who am on ip address %s", st->peer);
    log_record(LOG_INFO, said, fields, ARRAY_LEN(fields));
    st->next = s->streams;
    if (st->next)
        st->next->before = st;
    s->streams = st;
    rpc_call_on(c, &stream_events, st);
    rpc_call_want(c);
    /* A forwarder is sent nothing else: without headers it could not know that it is being heard. */
    if (!rpc_call_send_initial(c, NULL, &e))
        log_warn("headers to %s: %s", st->peer, err_text(&e));
    if (!st->forwarder) {
        log_record(LOG_INFO, "sending computation run request", fields, 1);
        send_next(st);
    }
}

static const struct rpc_method methods[] = {
    { .name = "Process",
      .allow = RPC_ALLOW_ANYONE,
      .open = process_open,
      .client_streams = true,
      .server_streams = true },
};

const struct rpc_service cvms_service = { "cvms.Service", methods, ARRAY_LEN(methods) };
