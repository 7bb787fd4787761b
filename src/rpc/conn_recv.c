/* What nghttp2 tells: frames, headers, data, the end of streams. */

#include "base/mem.h"
#include "rpc/conn_int.h"
#include "rpc/timeout.h"

/* A header list this many times above the limit is no mistake but an attack (H2-5). */
#define HEADER_BOMB_FACTOR 64
#define USEFUL_DATA_LEN 1024

static struct rpc_call *call_of(struct rpc_conn *n, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(n->h2, stream_id);
}

/* -------------------------------------------------------------------- headers */

void rpc_head_done(struct rpc_head *h)
{
    mem_free(h->path);
    mem_free(h->message);
    mem_free(h->content_type);
    mem_free(h->encoding);
    rpc_md_done(&h->md);
    *h = (struct rpc_head){ 0 };
}

static void head_fault(struct rpc_head *h, const char *text)
{
    if (h->fault)
        return;
    h->fault = true;
    snprintf(h->fault_text, sizeof(h->fault_text), "%s", text);
}

static void keep(struct rpc_head *h, char **field, struct slice value)
{
    struct err e = ERR_INIT;

    mem_free(*field);
    *field = mem_dup_slice(value, &e);
    if (!*field)
        h->too_large = true;
}

static void take_status(struct rpc_head *h, struct slice value)
{
    enum rpc_code code;

    if (!rpc_code_parse(value, &code)) {
        h->status_broken = true;
    } else if (h->has_status && h->status != code) {
        h->status_broken = true; /* two that disagree are none */
    } else {
        h->status = code;
    }
    h->has_status = true;
}

static void take_timeout(struct rpc_head *h, struct slice value)
{
    struct err e = ERR_INIT;

    if (!rpc_timeout_parse(value, &h->timeout_ms, &e))
        head_fault(h, err_text(&e));
    h->has_timeout = true;
}

/* Three digits, or 0. */
static unsigned http_status(struct slice value)
{
    unsigned n = 0;

    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] < '0' || value.at[i] > '9')
            return 0;
        n = n * 10 + (unsigned)(value.at[i] - '0');
    }
    return value.len == 3 ? n : 0;
}

static bool is_grpc_type(struct slice value)
{
    struct slice rest = slice_after(value, strlen("application/grpc"));

    return slice_starts(value, "application/grpc") &&
           (rest.len == 0 || rest.at[0] == '+' || rest.at[0] == ';');
}

static unsigned pseudo_bit(struct slice name)
{
    static const struct {
        const char *name;
        unsigned bit;
    } known[] = {
        { ":method", RPC_PSEUDO_METHOD }, { ":scheme", RPC_PSEUDO_SCHEME },
        { ":path", RPC_PSEUDO_PATH },     { ":authority", RPC_PSEUDO_AUTHORITY },
        { ":status", RPC_PSEUDO_STATUS },
    };

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (slice_equal_str(name, known[i].name))
            return known[i].bit;
    }
    return 0;
}

/* Fields that belong to one HTTP/1 connection (RFC 9113, 8.2.2). */
static bool is_of_http1(struct slice name, struct slice value)
{
    static const char *const names[] = { "connection", "proxy-connection", "keep-alive", "transfer-encoding",
                                         "upgrade" };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_equal_str(name, names[i]))
            return true;
    }
    return slice_equal_str(name, "te") && !slice_equal_str(value, "trailers");
}

static bool is_well_formed(struct rpc_head *h, struct slice name, struct slice value)
{
    if (!nghttp2_check_header_value_rfc9113(value.at, value.len))
        return false;
    if (name.len > 0 && name.at[0] == ':') {
        unsigned bit = pseudo_bit(name);
        bool fits = bit != 0 && !(h->pseudo & bit) && !h->regular_seen;

        h->pseudo |= bit;
        return fits;
    }
    h->regular_seen = true;
    return nghttp2_check_header_name(name.at, name.len) && !is_of_http1(name, value);
}

static void head_take(struct rpc_head *h, size_t max, struct slice name, struct slice value)
{
    struct err e = ERR_INIT;

    h->bytes += name.len + value.len + 32;
    if (h->bytes > max) {
        h->too_large = true;
        return;
    }
    if (!is_well_formed(h, name, value)) {
        h->malformed = true;
        return;
    }
    if (slice_equal_str(name, ":path")) {
        keep(h, &h->path, value);
    } else if (slice_equal_str(name, ":method")) {
        h->is_post = slice_equal_str(value, "POST");
    } else if (slice_equal_str(name, ":status")) {
        h->http_status = http_status(value);
    } else if (slice_equal_str(name, "content-type")) {
        h->is_grpc = is_grpc_type(value);
        keep(h, &h->content_type, value);
    } else if (slice_equal_str(name, "grpc-status")) {
        take_status(h, value);
    } else if (slice_equal_str(name, "grpc-message")) {
        keep(h, &h->message, value);
    } else if (slice_equal_str(name, "grpc-encoding")) {
        keep(h, &h->encoding, value);
    } else if (slice_equal_str(name, "grpc-timeout")) {
        take_timeout(h, value);
    } else if (slice_equal_str(name, "user-agent") || !rpc_md_key_is_reserved(name)) {
        if (!rpc_md_add_wire(&h->md, name, value, &e))
            head_fault(h, err_text(&e));
    }
}

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *f, void *ctx)
{
    struct rpc_conn *n = ctx;
    struct rpc_call *c = call_of(n, f->hd.stream_id);
    struct err e = ERR_INIT;

    if (n->cfg.role == RPC_ROLE_SERVER && f->headers.cat == NGHTTP2_HCAT_REQUEST) {
        c = rpc_call_new(n, &e);
        if (!c)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        c->stream_id = f->hd.stream_id;
        nghttp2_session_set_stream_user_data(h2, f->hd.stream_id, c);
    } else if (c) {
        rpc_head_done(&c->head);
    }
    return 0;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *ctx)
{
    struct rpc_conn *n = ctx;
    struct rpc_call *c = call_of(n, f->hd.stream_id);
    struct slice key = slice_of(name, name_len);

    (void)h2;
    (void)flags;
    if (!c)
        return 0;
    head_take(&c->head, n->cfg.metadata_max, key, slice_of(value, value_len));
    if (c->head.bytes > n->cfg.metadata_max * HEADER_BOMB_FACTOR) {
        rpc_conn_give_up(n, NGHTTP2_ENHANCE_YOUR_CALM, true, "the peer sends endless headers");
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return 0;
}

static void refuse(struct rpc_call *c, unsigned http, enum rpc_code code, const char *text)
{
    rpc_status_set(&c->final, code, slice_of_str(text));
    rpc_send_refusal(c, http, NULL);
}

static bool is_encoding_known(struct rpc_call *c)
{
    const char *encoding = c->head.encoding;

    c->gzip = encoding && strcmp(encoding, "gzip") == 0;
    return !encoding || c->gzip || strcmp(encoding, "identity") == 0;
}

/* True when the call may be shown to the server; otherwise it has been answered. */
static bool request_is_valid(struct rpc_call *c)
{
    const struct rpc_head *h = &c->head;

    if (h->too_large) {
        rpc_status_setf(&c->final, RPC_RESOURCE_EXHAUSTED, "the request's metadata is larger than %zu bytes",
                        c->conn->cfg.metadata_max);
        rpc_send_refusal(c, 200, NULL);
    } else if (h->path[0] != '/') {
        rpc_status_setf(&c->final, RPC_UNIMPLEMENTED, "malformed method name: \"%s\"", h->path);
        rpc_send_refusal(c, 200, NULL);
    } else if (!h->is_post) {
        refuse(c, 405, RPC_INTERNAL, "gRPC requests are POST");
    } else if (!h->is_grpc) {
        rpc_status_setf(&c->final, RPC_INVALID_ARGUMENT, "invalid gRPC request content-type \"%s\"",
                        h->content_type ? h->content_type : "");
        rpc_send_refusal(c, 415, NULL);
    } else if (h->fault) {
        refuse(c, 400, RPC_INTERNAL, h->fault_text);
    } else if (!is_encoding_known(c)) {
        rpc_status_setf(&c->final, RPC_UNIMPLEMENTED,
                        "grpc: Decompressor is not installed for grpc-encoding \"%s\"", h->encoding);
        rpc_send_refusal(c, 200, "identity,gzip");
    } else {
        return true;
    }
    return false;
}

/* A stream the peer has made us reset costs it as much as one it resets itself. */
static void charge_reset(struct rpc_conn *n)
{
    if (!rpc_bucket_take(&n->resets, rpc_conn_now(n)))
        rpc_conn_give_up(n, NGHTTP2_ENHANCE_YOUR_CALM, true, "the peer has too many streams reset");
}

static void malformed(struct rpc_call *c, const char *text)
{
    struct rpc_conn *n = c->conn;

    if (!c->has_final || n->cfg.role == RPC_ROLE_CLIENT)
        rpc_status_setf(&c->final, RPC_INTERNAL, "%s", text);
    c->has_final = true;
    rpc_call_abort(c, NGHTTP2_PROTOCOL_ERROR);
    charge_reset(n);
}

static void request_begins(struct rpc_call *c)
{
    const unsigned needed = RPC_PSEUDO_METHOD | RPC_PSEUDO_SCHEME | RPC_PSEUDO_PATH;
    struct rpc_conn *n = c->conn;

    if (c->head.malformed ||
        (!c->head.too_large && (c->head.pseudo & (needed | RPC_PSEUDO_STATUS)) != needed)) {
        malformed(c, "malformed request headers");
        return;
    }
    if (!request_is_valid(c))
        return;
    c->method = c->head.path;
    c->head.path = NULL;
    c->md = c->head.md;
    c->head.md = (struct rpc_md)RPC_MD_INIT;
    if (c->head.has_timeout) {
        uint64_t now = rpc_conn_now(n);

        c->deadline_ms = c->head.timeout_ms < UINT64_MAX - now ? now + c->head.timeout_ms : UINT64_MAX;
        rpc_conn_need_tick(n, c->deadline_ms);
    }
    c->opened = true;
    n->events.open(n, c, n->ctx);
}

/* What stands for a status in a reply that has none, or none that is usable. */
static void status_of_head(struct rpc_call *c)
{
    const struct rpc_head *h = &c->head;
    char text[RPC_STATUS_TEXT_MAX];

    c->has_final = true;
    if (h->too_large) {
        rpc_status_setf(&c->final, RPC_RESOURCE_EXHAUSTED, "the reply's metadata is larger than %zu bytes",
                        c->conn->cfg.metadata_max);
    } else if (h->has_status && !h->status_broken) {
        rpc_status_text_decode(slice_of_str(h->message), text);
        rpc_status_set(&c->final, h->status, slice_of_str(text));
    } else if (h->has_status) {
        rpc_status_setf(&c->final, RPC_UNKNOWN, "malformed grpc-status");
    } else if (h->http_status && h->http_status != 200) {
        rpc_status_setf(&c->final, rpc_code_of_http(h->http_status),
                        "unexpected HTTP status code received from server: %u", h->http_status);
    } else if (h->http_status && !h->is_grpc) {
        rpc_status_setf(&c->final, RPC_UNKNOWN, "transport: received unexpected content-type \"%s\"",
                        h->content_type ? h->content_type : "");
    } else {
        rpc_status_setf(&c->final, RPC_UNKNOWN, "the server sent no grpc-status");
    }
}

static void reply_begins(struct rpc_call *c)
{
    struct rpc_head *h = &c->head;

    if (h->http_status != 200 || !h->is_grpc || h->too_large || h->fault || !is_encoding_known(c)) {
        if (h->fault)
            rpc_status_set(&c->final, RPC_INTERNAL, slice_of_str(h->fault_text));
        else if (h->http_status == 200 && h->is_grpc && !h->too_large)
            rpc_status_setf(&c->final, RPC_INTERNAL,
                            "grpc: Decompressor is not installed for grpc-encoding \"%s\"",
                            h->encoding ? h->encoding : "");
        else
            status_of_head(c);
        c->has_final = true;
        rpc_call_abort(c, NGHTTP2_CANCEL);
        return;
    }
    c->md = h->md;
    h->md = (struct rpc_md)RPC_MD_INIT;
    if (c->events && c->events->initial)
        c->events->initial(c, &c->md, c->ctx);
}

static void reply_ends(struct rpc_call *c)
{
    if (c->has_final)
        return;
    status_of_head(c);
    c->trailers = c->head.md;
    c->head.md = (struct rpc_md)RPC_MD_INIT;
}

static void request_headers_end(struct rpc_call *c, const nghttp2_frame *f)
{
    if (f->headers.cat == NGHTTP2_HCAT_REQUEST)
        request_begins(c);
    else if (c->head.malformed || c->head.pseudo || !(f->hd.flags & NGHTTP2_FLAG_END_STREAM))
        malformed(c, "malformed request trailers");
}

static void reply_headers_end(struct rpc_call *c, bool last)
{
    const struct rpc_head *h = &c->head;
    bool interim = h->http_status / 100 == 1;
    unsigned pseudo = c->initial_seen ? 0 : RPC_PSEUDO_STATUS;

    /* Interim replies come before the real one, trailers at the end, and nothing else anywhere. */
    if (h->malformed || (!h->too_large && h->pseudo != pseudo) || (!last && c->initial_seen) ||
        (last && interim)) {
        malformed(c, "malformed reply headers");
    } else if (last) {
        reply_ends(c);
    } else if (!interim) {
        c->initial_seen = true;
        reply_begins(c);
    }
}

static void headers_end(struct rpc_call *c, const nghttp2_frame *f)
{
    if (c->conn->cfg.role == RPC_ROLE_SERVER)
        request_headers_end(c, f);
    else
        reply_headers_end(c, f->hd.flags & NGHTTP2_FLAG_END_STREAM);
}

/* --------------------------------------------------------------------- frames */

/* False, and the connection is given up, when the peer has sent too much that does no work. */
static bool charge_frame(struct rpc_conn *n, const nghttp2_frame_hd *hd)
{
    uint64_t now = rpc_conn_now(n);

    switch (hd->type) {
    case NGHTTP2_DATA:
        if (hd->length >= USEFUL_DATA_LEN) {
            rpc_bucket_give(&n->idle_frames);
            return true;
        }
        if (hd->length > 0 || (hd->flags & NGHTTP2_FLAG_END_STREAM))
            return true;
        break;
    case NGHTTP2_HEADERS:
        /* A client that sends headers again for an old stream makes work and no call. */
        if (n->cfg.role == RPC_ROLE_SERVER && hd->stream_id <= n->head_stream_id)
            break;
        n->head_stream_id = hd->stream_id;
        rpc_bucket_give(&n->idle_frames);
        return true;
    case NGHTTP2_RST_STREAM:
        if (rpc_bucket_take(&n->resets, now))
            return true;
        rpc_conn_give_up(n, NGHTTP2_ENHANCE_YOUR_CALM, true, "the peer resets too many streams");
        return false;
    case NGHTTP2_GOAWAY: return true;
    default: /* SETTINGS, PING, PRIORITY, WINDOW_UPDATE, CONTINUATION, unknown ones */ break;
    }
    if (rpc_bucket_take(&n->idle_frames, now))
        return true;
    rpc_conn_give_up(n, NGHTTP2_ENHANCE_YOUR_CALM, true, "the peer floods with frames that do no work");
    return false;
}

bool rpc_charge_frames(struct rpc_conn *n, struct slice bytes)
{
    while (bytes.len) {
        if (n->frame_left) {
            size_t part = bytes.len < n->frame_left ? bytes.len : n->frame_left;

            n->frame_left -= part;
            bytes = slice_after(bytes, part);
            continue;
        }
        n->frame_head[n->frame_head_len++] = bytes.at[0];
        bytes = slice_after(bytes, 1);
        if (n->frame_head_len < sizeof(n->frame_head))
            continue;

        struct cursor in = cursor_of(slice_of(n->frame_head, sizeof(n->frame_head)));
        uint32_t len = 0;
        uint32_t stream = 0;
        nghttp2_frame_hd hd = { 0 };

        if (!cursor_be24(&in, &len) || !cursor_u8(&in, &hd.type) || !cursor_u8(&in, &hd.flags) ||
            !cursor_be32(&in, &stream))
            return false;
        hd.length = len;
        hd.stream_id = (int32_t)(stream & 0x7fffffff);
        n->frame_head_len = 0;
        n->frame_left = len;
        if (!charge_frame(n, &hd))
            return false;
    }
    return true;
}

static void ping_answered(struct rpc_conn *n, const uint8_t opaque[8])
{
    if (opaque[0] != 'd' || !n->draining || n->drain_is_final)
        return;
    n->drain_until_ms = 0; /* the next tick sends the last GOAWAY */
    rpc_conn_tick(n);
}

/* They are answered in the order they were sent in (RFC 9113, 6.5.3). */
static void settings_acked(struct rpc_conn *n)
{
    n->settings_acked++;
    for (struct rpc_barrier *b = n->barriers; b; b = b->next) {
        if (b->number > n->settings_acked || b->answered)
            continue;
        b->answered = true;
        b->ok = true;
        rpc_conn_wake(n);
    }
}

static int on_frame_recv(nghttp2_session *h2, const nghttp2_frame *f, void *ctx)
{
    struct rpc_conn *n = ctx;
    struct rpc_call *c = f->hd.stream_id ? call_of(n, f->hd.stream_id) : NULL;

    (void)h2;
    switch (f->hd.type) {
    case NGHTTP2_SETTINGS:
        if (f->hd.flags & NGHTTP2_FLAG_ACK) {
            settings_acked(n);
        } else {
            n->up = true;
            rpc_conn_wake(n);
        }
        break;
    case NGHTTP2_PING:
        if (f->hd.flags & NGHTTP2_FLAG_ACK)
            ping_answered(n, f->ping.opaque_data);
        break;
    case NGHTTP2_GOAWAY:
        n->goaway_received = true;
        rpc_conn_wake(n);
        break;
    case NGHTTP2_HEADERS:
        if (c)
            headers_end(c, f);
        break;
    default: /* nothing of ours */ break;
    }

    bool last = (f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS) &&
                (f->hd.flags & NGHTTP2_FLAG_END_STREAM);

    c = last && f->hd.stream_id ? call_of(n, f->hd.stream_id) : NULL;
    if (c) {
        c->remote_ended = true;
        if (n->cfg.role == RPC_ROLE_CLIENT && !c->has_final) {
            rpc_status_setf(&c->final, RPC_INTERNAL, "server closed the stream without sending trailers");
            c->has_final = true;
        }
        rpc_conn_schedule(c);
    }
    return 0;
}

static int on_invalid_frame(nghttp2_session *h2, const nghttp2_frame *f, int lib_error, void *ctx)
{
    struct rpc_conn *n = ctx;

    (void)h2;
    (void)f;
    (void)lib_error;
    charge_reset(n);
    return rpc_conn_was_abused(n) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t len,
                   void *ctx)
{
    struct rpc_conn *n = ctx;
    struct rpc_call *c = call_of(n, stream_id);

    (void)flags;
    /* The connection's window never waits for one call; each call's own window does. */
    nghttp2_session_consume_connection(h2, len);
    if (c && n->cfg.role == RPC_ROLE_CLIENT && !c->initial_seen)
        malformed(c, "the reply began without headers");
    else if (!c || (n->cfg.role == RPC_ROLE_SERVER && c->end_queued))
        nghttp2_session_consume_stream(h2, stream_id, len);
    else
        rpc_call_take(c, slice_of(data, len));
    return 0;
}

static int on_stream_close(nghttp2_session *h2, int32_t stream_id, uint32_t error_code, void *ctx)
{
    struct rpc_conn *n = ctx;
    struct rpc_call *c = call_of(n, stream_id);

    (void)h2;
    if (!c || c->ended)
        return 0;
    if (n->cfg.role == RPC_ROLE_SERVER) {
        c->has_final = true;
        rpc_status_setf(&c->final, RPC_CANCELLED, "the client has cancelled the call");
        rpc_call_end(c);
        return 0;
    }
    if (c->has_final)
        return 0; /* told when all its messages have been taken */
    c->has_final = true;
    if (error_code == NGHTTP2_REFUSED_STREAM && n->goaway_received)
        rpc_status_setf(&c->final, RPC_UNAVAILABLE, "the server is going away and has not begun the call");
    else
        rpc_status_setf(&c->final, rpc_code_of_h2(error_code),
                        "stream terminated by RST_STREAM with error code: %s",
                        nghttp2_http2_strerror(error_code));
    rpc_call_end(c);
    return 0;
}

static int on_error(nghttp2_session *h2, int code, const char *text, size_t len, void *ctx)
{
    struct rpc_conn *n = ctx;

    (void)h2;
    (void)code;
    snprintf(n->last_error, sizeof(n->last_error), "%.*s", (int)len, text);
    return 0;
}

void rpc_recv_callbacks(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_error_callback2(cb, on_error);
}
