/* What nghttp2 is given: headers, queued messages, trailers. */

#include <assert.h>

#include "base/mem.h"
#include "rpc/conn_int.h"
#include "rpc/timeout.h"

/* Frames that do no work which a peer may send for what it was sent. */
#define UPDATES_PER_FRAME 4
#define BYTES_PER_UPDATE 32

static struct rpc_call *call_of(struct rpc_conn *n, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(n->h2, stream_id);
}

/* ------------------------------------------------------------------- messages */

void rpc_queue_drop(struct rpc_call *c)
{
    while (c->queue) {
        struct rpc_out *m = c->queue;

        c->queue = m->next;
        buf_done(&m->body);
        mem_free(m);
    }
    c->queue_tail = NULL;
    c->queued = 0;
}

/* Moves len bytes from the queue of the call to the output. */
static bool copy_queued(struct rpc_call *c, size_t len, struct buf *out)
{
    struct err e = ERR_INIT;

    while (len > 0) {
        struct rpc_out *m = c->queue;

        assert(m); /* c->queued counts what is in the queue */

        size_t head_left = RPC_FRAME_HEAD_LEN - m->head_sent;
        struct slice from = head_left ? slice_of(m->head + m->head_sent, head_left) : buf_slice(&m->body);

        from = slice_first(from, len);
        if (!buf_append(out, from, &e))
            return false;
        if (head_left)
            m->head_sent += from.len;
        else
            buf_consume(&m->body, from.len);
        len -= from.len;
        c->queued -= from.len;
        if (m->head_sent < RPC_FRAME_HEAD_LEN || m->body.len > 0)
            continue;
        c->queue = m->next;
        if (!c->queue)
            c->queue_tail = NULL;
        buf_done(&m->body);
        mem_free(m);
    }
    return true;
}

/* Says how many bytes come next; send_data copies them. */
static ssize_t on_read(nghttp2_session *h2, int32_t stream_id, uint8_t *at, size_t len, uint32_t *flags,
                       nghttp2_data_source *source, void *ctx)
{
    struct rpc_conn *n = ctx;
    struct rpc_call *c = call_of(n, stream_id);

    (void)h2;
    (void)at;
    (void)source;
    if (!c)
        return NGHTTP2_ERR_DEFERRED; /* the stream is being reset */
    if (n->out->len >= n->out_enough)
        return NGHTTP2_ERR_PAUSE;
    if (c->queued == 0 && !c->end_queued)
        return NGHTTP2_ERR_DEFERRED;
    if (c->queued == 0 && n->cfg.role == RPC_ROLE_SERVER) {
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        rpc_send_trailers(c, &c->trailers);
        rpc_call_end(c);
        return 0;
    }
    if (len >= c->queued) {
        len = c->queued;
        if (c->end_queued && n->cfg.role == RPC_ROLE_CLIENT)
            *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    if (len > 0)
        *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    return (ssize_t)len;
}

static int on_send_data(nghttp2_session *h2, nghttp2_frame *f, const uint8_t *head, size_t len,
                        nghttp2_data_source *source, void *ctx)
{
    struct rpc_conn *n = ctx;
    struct rpc_call *c = call_of(n, f->hd.stream_id);
    struct err e = ERR_INIT;

    (void)h2;
    (void)source;
    if (!c || c->queued < len)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (!buf_append(n->out, slice_of(head, 9), &e) || !copy_queued(c, len, n->out))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    c->progress_ms = rpc_conn_now(n);
    /* Each message in it may be answered with two WINDOW_UPDATEs, by a peer that takes them one by one. */
    rpc_bucket_give_many(&n->idle_frames, UPDATES_PER_FRAME + len / BYTES_PER_UPDATE);
    if (c->blocked && c->queued < RPC_SEND_QUEUE_BYTES) {
        c->blocked = false;
        c->tell_writable = true;
        rpc_conn_schedule(c);
    }
    return 0;
}

static ssize_t on_read_length(nghttp2_session *h2, uint8_t type, int32_t stream_id, int32_t session_window,
                              int32_t stream_window, uint32_t frame_max, void *ctx)
{
    uint32_t len = RPC_FRAME_SEND_MAX;

    (void)h2;
    (void)type;
    (void)stream_id;
    (void)ctx;
    /* At least 1, or nghttp2 gives up; it looks at the windows itself. */
    if (session_window > 0 && (uint32_t)session_window < len)
        len = (uint32_t)session_window;
    if (stream_window > 0 && (uint32_t)stream_window < len)
        len = (uint32_t)stream_window;
    return (ssize_t)(frame_max < len ? frame_max : len);
}

/* -------------------------------------------------------------------- headers */

static nghttp2_data_provider provider(void)
{
    return (nghttp2_data_provider){ .read_callback = on_read };
}

bool rpc_send_headers(struct rpc_call *c, const struct rpc_md *md, struct err *e)
{
    CLEANUP(rpc_headers_done) struct rpc_headers h = RPC_HEADERS_INIT;
    nghttp2_data_provider data = provider();

    rpc_headers_add_str(&h, ":status", "200");
    rpc_headers_add_str(&h, "content-type", "application/grpc");
    rpc_headers_add_md(&h, md);
    if (h.failed || nghttp2_submit_response(c->conn->h2, c->stream_id, h.at, h.count, &data) != 0)
        return err_fail(e, ERR_KIND_LIMIT, "no memory for reply headers");
    c->headers_sent = true;
    rpc_conn_wake(c->conn);
    return true;
}

static void add_status(struct rpc_headers *h, const struct rpc_status *s, char code[12],
                       char text[RPC_STATUS_WIRE_MAX])
{
    snprintf(code, 12, "%u", (unsigned)s->code);
    rpc_headers_add_str(h, "grpc-status", code);
    if (rpc_status_text_encode(s->message, text) > 0)
        rpc_headers_add_str(h, "grpc-message", text);
}

void rpc_send_trailers(struct rpc_call *c, const struct rpc_md *trailers)
{
    CLEANUP(rpc_headers_done) struct rpc_headers h = RPC_HEADERS_INIT;
    char text[RPC_STATUS_WIRE_MAX];
    char code[12];
    int rc = NGHTTP2_ERR_NOMEM;

    if (!c->headers_sent) {
        rpc_headers_add_str(&h, ":status", "200");
        rpc_headers_add_str(&h, "content-type", "application/grpc");
    }
    add_status(&h, &c->final, code, text);
    rpc_headers_add_md(&h, trailers);
    if (!h.failed && c->headers_sent)
        rc = nghttp2_submit_trailer(c->conn->h2, c->stream_id, h.at, h.count);
    else if (!h.failed)
        rc = nghttp2_submit_response(c->conn->h2, c->stream_id, h.at, h.count, NULL);
    if (rc != 0)
        nghttp2_submit_rst_stream(c->conn->h2, NGHTTP2_FLAG_NONE, c->stream_id, NGHTTP2_INTERNAL_ERROR);
    c->headers_sent = true;
    rpc_conn_wake(c->conn);
}

void rpc_send_refusal(struct rpc_call *c, unsigned http_status, const char *accept_encoding)
{
    CLEANUP(rpc_headers_done) struct rpc_headers h = RPC_HEADERS_INIT;
    char text[RPC_STATUS_WIRE_MAX];
    char code[12];
    char http[12];

    snprintf(http, sizeof(http), "%u", http_status);
    rpc_headers_add_str(&h, ":status", http);
    rpc_headers_add_str(&h, "content-type", "application/grpc");
    if (accept_encoding)
        rpc_headers_add_str(&h, "grpc-accept-encoding", accept_encoding);
    add_status(&h, &c->final, code, text);
    if (h.failed || nghttp2_submit_response(c->conn->h2, c->stream_id, h.at, h.count, NULL) != 0)
        nghttp2_submit_rst_stream(c->conn->h2, NGHTTP2_FLAG_NONE, c->stream_id, NGHTTP2_INTERNAL_ERROR);
    c->has_final = true;
    rpc_call_end(c);
}

bool rpc_send_request(struct rpc_call *c, const struct rpc_md *md, uint64_t timeout_ms, struct err *e)
{
    CLEANUP(rpc_headers_done) struct rpc_headers h = RPC_HEADERS_INIT;
    struct rpc_conn *n = c->conn;
    nghttp2_data_provider data = provider();
    char timeout[RPC_TIMEOUT_TEXT_MAX];

    rpc_headers_add_str(&h, ":method", "POST");
    rpc_headers_add_str(&h, ":scheme", n->cfg.is_tls ? "https" : "http");
    rpc_headers_add_str(&h, ":path", c->method);
    rpc_headers_add_str(&h, ":authority", n->authority);
    rpc_headers_add_str(&h, "content-type", "application/grpc");
    rpc_headers_add_str(&h, "te", "trailers");
    rpc_headers_add_str(&h, "user-agent", n->user_agent);
    rpc_headers_add_str(&h, "grpc-accept-encoding", "identity,gzip");
    if (timeout_ms) {
        rpc_timeout_format(timeout_ms, timeout);
        rpc_headers_add_str(&h, "grpc-timeout", timeout);
    }
    rpc_headers_add_md(&h, md);

    int32_t id = h.failed ? NGHTTP2_ERR_NOMEM : nghttp2_submit_request(n->h2, NULL, h.at, h.count, &data, c);

    if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE)
        return err_fail(e, ERR_KIND_UNAVAILABLE, "the connection has no stream ids left");
    if (id < 0)
        return err_fail(e, ERR_KIND_LIMIT, "begin a request: %s", nghttp2_strerror(id));
    c->stream_id = id;
    c->headers_sent = true;
    return true;
}

/* ----------------------------------------------------------------------- pull */

static void ended_by_library(struct rpc_conn *n, uint32_t code)
{
    if (code == NGHTTP2_NO_ERROR || n->fault.kind != ERR_KIND_NONE || n->ended)
        return;
    rpc_conn_give_up(n, code, code == NGHTTP2_ENHANCE_YOUR_CALM, "HTTP/2 %s by the peer%s%s",
                     nghttp2_http2_strerror(code), n->last_error[0] ? ": " : "", n->last_error);
}

static int on_frame_send(nghttp2_session *h2, const nghttp2_frame *f, void *ctx)
{
    struct rpc_conn *n = ctx;
    int32_t id = f->hd.stream_id;

    if (f->hd.type == NGHTTP2_GOAWAY)
        ended_by_library(n, f->goaway.error_code);
    /* A reply that ends before its request: the peer need not send the rest (RFC 9113, 8.1). */
    if (n->cfg.role == RPC_ROLE_SERVER && f->hd.type == NGHTTP2_HEADERS &&
        (f->hd.flags & NGHTTP2_FLAG_END_STREAM) && nghttp2_session_get_stream_remote_close(h2, id) == 0)
        nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
    return 0;
}

static int on_frame_not_send(nghttp2_session *h2, const nghttp2_frame *f, int lib_error, void *ctx)
{
    struct rpc_conn *n = ctx;

    /* A request that could not become a stream: the peer's GOAWAY, or headers too large for us. */
    if (f->hd.type == NGHTTP2_HEADERS && f->headers.cat == NGHTTP2_HCAT_REQUEST) {
        struct rpc_call *c = call_of(n, f->hd.stream_id);

        if (c)
            rpc_call_end_with(c, RPC_UNAVAILABLE, "the call could not begin: %s",
                              nghttp2_strerror(lib_error));
    }
    (void)h2;
    return 0;
}

void rpc_send_callbacks(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
    nghttp2_session_callbacks_set_data_source_read_length_callback(cb, on_read_length);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
}

void rpc_conn_pull(struct rpc_conn *n, struct buf *out, size_t enough)
{
    struct err e = ERR_INIT;

    if (n->failed)
        return;
    n->out = out;
    n->out_enough = enough;
    while (out->len < enough) {
        const uint8_t *at;
        ssize_t len = nghttp2_session_mem_send(n->h2, &at);

        if (len < 0) {
            err_fail(&e, ERR_KIND_INTERNAL, "HTTP/2: %s", nghttp2_strerror((int)len));
            rpc_conn_fail(n, &e);
        }
        if (len <= 0)
            break;
        if (!buf_append(out, slice_of(at, (size_t)len), &e)) {
            rpc_conn_fail(n, &e);
            break;
        }
    }
    n->out = NULL;
}
