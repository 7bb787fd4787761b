/*
 * Raw HTTP/2 for tests of the connection: frames by hand, a clock by hand.
 * Header blocks are literals without compression, so no code of the peer's is shared.
 */
#ifndef TEST_RPC_H2_H
#define TEST_RPC_H2_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cursor.h"
#include "rpc/conn_int.h"

#define H2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

enum h2_type {
    H2_DATA,
    H2_HEADERS,
    H2_PRIORITY,
    H2_RST,
    H2_SETTINGS,
    H2_PUSH,
    H2_PING,
    H2_GOAWAY,
    H2_WINDOW,
    H2_CONT
};
enum { H2_END_STREAM = 1, H2_ACK = 1, H2_END_HEADERS = 4 };

struct h2 {
    struct buf in;  /* for the connection */
    struct buf out; /* from it            */
    struct rpc_conn *conn;
    uint64_t now_ms;
    struct clock clock;
    /* what the server's side of the connection saw */
    int opened, messages, half_closed, closed;
    bool want; /* ask for each next message */
    size_t bytes;
    struct rpc_call *call;
    struct rpc_status status;
    void (*on_open)(struct h2 *h, struct rpc_call *c);
};
#define H2_INIT                                                              \
    {                                                                        \
        .in = BUF_INIT(256u << 20), .out = BUF_INIT(64u << 20), .want = true \
    }

static inline uint64_t h2_mono(void *ctx)
{
    return ((struct h2 *)ctx)->now_ms;
}

static inline void h2_put(struct h2 *h, const void *at, size_t len)
{
    struct err e = ERR_INIT;

    assert_true(buf_append(&h->in, slice_of(at, len), &e));
}

static inline void h2_frame(struct h2 *h, uint8_t type, uint8_t flags, uint32_t stream, const void *at,
                            size_t len)
{
    uint8_t head[9] = {
        (uint8_t)(len >> 16),    (uint8_t)(len >> 8),     (uint8_t)len,           type,           flags,
        (uint8_t)(stream >> 24), (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream
    };

    h2_put(h, head, sizeof(head));
    h2_put(h, at, len);
}

/* A literal header field, never indexed. Names and values of up to 126 + 2^14 bytes. */
static inline size_t h2_string(uint8_t *at, const char *text, size_t len)
{
    size_t n = 0;

    if (len < 127) {
        at[n++] = (uint8_t)len;
    } else {
        size_t rest = len - 127;

        at[n++] = 127;
        while (rest >= 128) {
            at[n++] = (uint8_t)(rest % 128 + 128);
            rest /= 128;
        }
        at[n++] = (uint8_t)rest;
    }
    memcpy(at + n, text, len);
    return n + len;
}

static inline size_t h2_field(uint8_t *at, const char *name, const char *value)
{
    size_t n = 1;

    at[0] = 0x10;
    n += h2_string(at + n, name, strlen(name));
    n += h2_string(at + n, value, strlen(value));
    return n;
}

/* pairs: name, value, ..., NULL */
static inline void h2_headers(struct h2 *h, uint32_t stream, uint8_t flags, const char *const *pairs)
{
    uint8_t block[65536];
    size_t len = 0;

    for (size_t i = 0; pairs[i]; i += 2)
        len += h2_field(block + len, pairs[i], pairs[i + 1]);
    h2_frame(h, H2_HEADERS, (uint8_t)(flags | H2_END_HEADERS), stream, block, len);
}

static inline void h2_request(struct h2 *h, uint32_t stream, uint8_t flags, const char *path)
{
    const char *pairs[] = { ":method", "POST",       ":scheme", "http",         ":path",
                            path,      ":authority", "x",       "content-type", "application/grpc",
                            "te",      "trailers",   NULL };

    h2_headers(h, stream, flags, pairs);
}

static inline void h2_message(struct h2 *h, uint32_t stream, uint8_t flags, const char *text)
{
    uint8_t body[1024] = { 0 };
    size_t len = strlen(text);

    body[4] = (uint8_t)len;
    memcpy(body + 5, text, len);
    h2_frame(h, H2_DATA, flags, stream, body, len + 5);
}

static inline void h2_pull(struct h2 *h)
{
    struct buf more = BUF_INIT(4u << 20);
    struct err e = ERR_INIT;

    for (;;) {
        while (rpc_conn_dispatch(h->conn))
            ;
        rpc_conn_pull(h->conn, &more, 256 * 1024);
        if (more.len == 0)
            break;
        assert_true(buf_append(&h->out, buf_slice(&more), &e));
        buf_consume(&more, more.len);
    }
    buf_done(&more);
}

/* Hands over what was put, and takes what comes. */
static inline void h2_go(struct h2 *h)
{
    rpc_conn_feed(h->conn, buf_slice(&h->in));
    buf_consume(&h->in, h->in.len);
    h2_pull(h);
}

struct h2_seen {
    uint8_t type, flags;
    uint32_t stream;
    struct slice body;
};

/* The next frame the connection sent, or false. */
static inline bool h2_next(struct cursor *at, struct h2_seen *ret)
{
    uint32_t len;

    return cursor_be24(at, &len) && cursor_u8(at, &ret->type) && cursor_u8(at, &ret->flags) &&
           cursor_be32(at, &ret->stream) && cursor_bytes(at, len, &ret->body);
}

/* The last 32-bit number of the first frame of the type on the stream; UINT32_MAX when there is none. */
static inline uint32_t h2_code(const struct h2 *h, uint8_t type, uint32_t stream)
{
    struct cursor at = cursor_of(buf_slice(&h->out));
    struct h2_seen f;

    while (h2_next(&at, &f)) {
        struct cursor body = cursor_of(f.body);
        uint32_t code = 0;

        if (f.type != type || f.stream != stream)
            continue;
        if (type == H2_GOAWAY && !cursor_be32(&body, &code))
            return UINT32_MAX;
        if (cursor_be32(&body, &code) && (type != H2_GOAWAY || code != 0 || !cursor_end(&body)))
            return code;
        return code;
    }
    return UINT32_MAX;
}

static inline size_t h2_count(const struct h2 *h, uint8_t type)
{
    struct cursor at = cursor_of(buf_slice(&h->out));
    struct h2_seen f;
    size_t n = 0;

    while (h2_next(&at, &f))
        n += f.type == type;
    return n;
}

/* The header fields of the nth HEADERS frame on the stream, as "name: value\n" lines. */
static inline bool h2_fields(const struct h2 *h, uint32_t stream, int nth, struct buf *ret)
{
    nghttp2_hd_inflater *hd = NULL;
    struct cursor at = cursor_of(buf_slice(&h->out));
    struct err e = ERR_INIT;
    struct h2_seen f;
    bool found = false;

    buf_consume(ret, ret->len);
    assert_int_equal(nghttp2_hd_inflate_new(&hd), 0);
    while (!found && h2_next(&at, &f)) {
        bool this_one = f.type == H2_HEADERS && f.stream == stream && nth-- == 0;
        int flags = 0;

        while (f.type == H2_HEADERS && !(flags & NGHTTP2_HD_INFLATE_FINAL)) {
            nghttp2_nv nv;
            ssize_t n = nghttp2_hd_inflate_hd2(hd, &nv, &flags, f.body.at, f.body.len, 1);

            assert_true(n >= 0);
            f.body = slice_after(f.body, (size_t)n);
            if (this_one && (flags & NGHTTP2_HD_INFLATE_EMIT))
                assert_true(buf_format(ret, &e, "%.*s: %.*s\n", (int)nv.namelen, (char *)nv.name,
                                       (int)nv.valuelen, (char *)nv.value));
        }
        if (f.type == H2_HEADERS)
            nghttp2_hd_inflate_end_headers(hd);
        found = this_one;
    }
    nghttp2_hd_inflate_del(hd);
    return found;
}

static inline void h2_expect_field(const struct h2 *h, uint32_t stream, int nth, const char *line)
{
    struct buf text = BUF_INIT(65536);
    struct err e = ERR_INIT;

    if (!h2_fields(h, stream, nth, &text))
        fail_msg("no headers %d on stream %u", nth, stream);
    if (!strstr(buf_str(&text, &e), line))
        fail_msg("'%s' is not in:\n%s", line, buf_str(&text, &e));
    buf_done(&text);
}

/* ------------------------------------------------------- a server's connection */

static inline void h2_on_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct h2 *h = ctx;

    h->messages++;
    h->bytes += body->len;
    if (h->want)
        rpc_call_want(c);
}

static inline void h2_on_half_closed(struct rpc_call *c, void *ctx)
{
    (void)c;
    ((struct h2 *)ctx)->half_closed++;
}

static inline void h2_on_closed(struct rpc_call *c, const struct rpc_status *status,
                                const struct rpc_md *trailers, void *ctx)
{
    struct h2 *h = ctx;

    (void)trailers;
    h->closed++;
    h->status = *status;
    if (h->call == c)
        h->call = NULL;
}

static const struct rpc_call_events h2_events = {
    .message = h2_on_message,
    .half_closed = h2_on_half_closed,
    .closed = h2_on_closed,
};

static inline void h2_open(struct rpc_conn *n, struct rpc_call *c, void *ctx)
{
    struct h2 *h = ctx;

    (void)n;
    h->opened++;
    h->call = c;
    rpc_call_on(c, &h2_events, h);
    if (h->want)
        rpc_call_want(c);
    if (h->on_open)
        h->on_open(h, c);
}

static inline struct rpc_conn_config h2_config(struct h2 *h, enum rpc_role role)
{
    h->clock = (struct clock){ .mono_ms = h2_mono, .ctx = h };
    return (struct rpc_conn_config){
        .role = role,
        .clock = &h->clock,
        .peer = "peer",
        .message_max = 4u << 20,
        .metadata_max = 16384,
        .streams_max = 100,
        .handshake_timeout_ms = 10000,
        .idle_timeout_ms = 300000,
        .keepalive_ms = 60000,
        .keepalive_timeout_ms = 20000,
        .stall_timeout_ms = 120000,
        .request_timeout_ms = 30000,
    };
}

static inline void h2_new(struct h2 *h, enum rpc_role role)
{
    const struct rpc_conn_events events = { .open = h2_open };
    struct rpc_conn_config cfg = h2_config(h, role);
    struct err e = ERR_INIT;

    h->now_ms = 1000;
    assert_true(rpc_conn_new(&cfg, &events, h, &h->conn, &e));
}

/* The preface and the settings of the peer have come; what answers them is out of the way. */
static inline void h2_server(struct h2 *h)
{
    h2_new(h, RPC_ROLE_SERVER);
    h2_put(h, H2_PREFACE, strlen(H2_PREFACE));
    h2_frame(h, H2_SETTINGS, 0, 0, NULL, 0);
    h2_frame(h, H2_SETTINGS, H2_ACK, 0, NULL, 0);
    h2_go(h);
    assert_true(h->conn->up);
    buf_consume(&h->out, h->out.len);
}

static inline void h2_done(struct h2 *h)
{
    struct err why = ERR_INIT;

    err_fail(&why, ERR_KIND_UNAVAILABLE, "gone");
    rpc_conn_end(h->conn, RPC_UNAVAILABLE, "gone");
    rpc_conn_fail(h->conn, &why);
    while (rpc_conn_dispatch(h->conn))
        ;
    assert_int_equal(rpc_conn_call_count(h->conn), 0);
    assert_int_equal(h->conn->budget.held, 0);
    rpc_conn_free(h->conn);
    buf_done(&h->in);
    buf_done(&h->out);
}

#endif
