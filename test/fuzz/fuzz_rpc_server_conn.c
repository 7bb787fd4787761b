/*
 * A whole server connection from the bytes a client sends. The first byte
 * says how: in which pieces they come, whether messages are asked for, what
 * the server answers. Whatever comes, every call that was opened is told of
 * its end once, and nothing stays charged to the peer.
 */
#include "conn_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MODE_WANT = 8, MODE_REPLY = 16, MODE_SINGLE = 32, MODE_STARTED = 64, MODE_EARLY = 128 };

static void on_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct run *r = ctx;
    struct err e = ERR_INIT;

    assert(body->len <= 100000);
    if ((r->mode & MODE_REPLY) && !rpc_call_send(c, body, &e))
        assert(e.kind != ERR_KIND_NONE);
    if (r->mode & MODE_WANT)
        rpc_call_want(c);
}

static void on_half_closed(struct rpc_call *c, void *ctx)
{
    (void)ctx;
    rpc_call_finish(c, RPC_OK, "done", NULL);
}

static const struct rpc_call_events events = {
    .message = on_message,
    .half_closed = on_half_closed,
    .closed = on_closed,
};

static void on_open(struct rpc_conn *n, struct rpc_call *c, void *ctx)
{
    struct run *r = ctx;

    (void)n;
    r->opened++;
    assert(rpc_call_method(c)[0] == '/');
    rpc_call_on(c, &events, r);
    rpc_call_set_recv(c, 0, r->mode & MODE_SINGLE);
    rpc_call_want(c);
    if ((r->mode & MODE_EARLY) && r->opened % 3 == 0)
        rpc_call_finishf(c, RPC_ABORTED, "no: %s", rpc_call_method(c));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char start[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0\0\0\0\4\1\0\0\0\0";
    const struct rpc_conn_events conn_events = { .open = on_open };
    struct run r = { .mode = size ? data[0] : 0 };
    const struct clock clock = { .mono_ms = mono, .ctx = &r };
    const struct rpc_conn_config cfg = {
        .role = RPC_ROLE_SERVER,
        .clock = &clock,
        .message_max = 100000,
        .metadata_max = 16384,
        .streams_max = 20,
        .handshake_timeout_ms = 10000,
        .idle_timeout_ms = 60000,
        .keepalive_ms = 5000,
        .keepalive_timeout_ms = 2000,
        .stall_timeout_ms = 9000,
    };
    struct err e = ERR_INIT;

    if (size < 1 || size > 100000 || !rpc_conn_new(&cfg, &conn_events, &r, &r.conn, &e))
        return 0;
    if (r.mode & MODE_STARTED)
        feed(&r, slice_of(start, sizeof(start) - 1));
    feed(&r, slice_of(data + 1, size - 1));
    for (int i = 0; i < 20; i++) { /* time passes */
        r.now_ms += 1000;
        rpc_conn_tick(r.conn);
        turn(&r);
    }
    err_fail(&e, ERR_KIND_UNAVAILABLE, "the line is cut");
    rpc_conn_fail(r.conn, &e);
    turn(&r);
    assert(r.opened == r.closed);
    assert(rpc_conn_call_count(r.conn) == 0);
    assert(r.conn->budget.held == 0);
    rpc_conn_free(r.conn);
    return 0;
}
