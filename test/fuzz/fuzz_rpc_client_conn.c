/*
 * A whole client connection from the bytes a server sends, with three calls
 * under way. The first byte says in which pieces they come and whether
 * messages are asked for. Each call ends exactly once.
 */
#include "conn_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MODE_WANT = 8, MODE_DEADLINE = 16, MODE_STARTED = 64 };
#define CALLS 3

static void on_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    assert(body->len <= 100000);
    if (((struct run *)ctx)->mode & MODE_WANT)
        rpc_call_want(c);
}

static const struct rpc_call_events events = { .message = on_message, .closed = on_closed };

static void on_acked(bool ok, void *ctx)
{
    (void)ok;
    ((struct run *)ctx)->acked++;
}

static void begin(struct run *r, size_t i)
{
    struct buf body = BUF_INIT(100);
    struct err e = ERR_INIT;
    struct rpc_call *c;

    if (!rpc_conn_call(r->conn, "/a.B/C", NULL, (r->mode & MODE_DEADLINE) ? 300 : 0, &events, r, &c, &e))
        abort();
    if (!buf_append_str(&body, "hello", &e) || !rpc_call_send(c, &body, &e))
        abort();
    if (i > 0)
        rpc_call_send_end(c);
    rpc_call_want(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char start[] = "\0\0\0\4\0\0\0\0\0\0\0\0\4\1\0\0\0\0";
    const struct rpc_conn_events conn_events = { .wake = NULL };
    struct run r = { .mode = size ? data[0] : 0 };
    const struct clock clock = { .mono_ms = mono, .ctx = &r };
    const struct rpc_conn_config cfg = {
        .role = RPC_ROLE_CLIENT,
        .clock = &clock,
        .message_max = 100000,
        .metadata_max = 16384,
        .handshake_timeout_ms = 10000,
        .keepalive_ms = 5000,
        .keepalive_timeout_ms = 2000,
    };
    struct err e = ERR_INIT;

    if (size < 1 || size > 100000 || !rpc_conn_new(&cfg, &conn_events, &r, &r.conn, &e))
        return 0;
    for (size_t i = 0; i < CALLS; i++)
        begin(&r, i);
    if (!rpc_conn_barrier(r.conn, on_acked, &r, &e))
        abort();
    turn(&r);
    if (r.mode & MODE_STARTED)
        feed(&r, slice_of(start, sizeof(start) - 1));
    feed(&r, slice_of(data + 1, size - 1));
    for (int i = 0; i < 20; i++) { /* time passes */
        r.now_ms += 1000;
        rpc_conn_tick(r.conn);
        turn(&r);
    }
    /* A call whose outcome has come waits for its user, who gives up here. */
    rpc_conn_end(r.conn, RPC_CANCELLED, "enough");
    err_fail(&e, ERR_KIND_UNAVAILABLE, "the line is cut");
    rpc_conn_fail(r.conn, &e);
    turn(&r);
    assert(r.closed == CALLS);
    assert(r.acked == 1);
    assert(rpc_conn_call_count(r.conn) == 0);
    assert(r.conn->budget.held == 0);
    rpc_conn_free(r.conn);
    return 0;
}
