/*
 * Two connections wired together in memory, and every way to cut a call
 * short: case H2-11. Each kind of call is run once whole to count the frames,
 * then again for every frame, ended there in every way.
 */
#include "unit/rpc/h2.h"

enum kind { UNARY, CLIENT_STREAM, SERVER_STREAM, BIDI, KINDS };
enum cut { CUT_CANCEL, CUT_FINISH, CUT_DEADLINE, CUT_CLIENT_LOST, CUT_SERVER_LOST, CUT_END, CUT_NEVER };

struct pair {
    struct h2 client, server;
    enum kind kind;
    struct rpc_call *call;
    int messages, closed;
    struct rpc_status status;
};

static void send_text(struct rpc_call *c, const char *text)
{
    struct buf body = BUF_INIT(64);
    struct err e = ERR_INIT;

    assert_true(buf_append_str(&body, text, &e));
    assert_true(rpc_call_send(c, &body, &e));
}

/* ----------------------------------------------------------------- the server */

static void server_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct pair *p = ctx;

    p->server.messages++;
    rpc_call_want(c);
    if (p->kind == BIDI)
        (void)!rpc_call_send(c, body, &(struct err)ERR_INIT);
}

static void server_half_closed(struct rpc_call *c, void *ctx)
{
    struct pair *p = ctx;

    if (p->kind == SERVER_STREAM) {
        send_text(c, "one");
        send_text(c, "two");
        send_text(c, "three");
    } else if (p->kind != BIDI) {
        send_text(c, "reply");
    }
    rpc_call_finish(c, RPC_OK, "", NULL);
}

static void server_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                          void *ctx)
{
    struct pair *p = ctx;

    (void)trailers;
    p->server.closed++;
    p->server.status = *status;
    assert_ptr_equal(p->server.call, c);
    p->server.call = NULL;
}

static const struct rpc_call_events server_events = {
    .message = server_message,
    .half_closed = server_half_closed,
    .closed = server_closed,
};

static void server_open(struct rpc_conn *n, struct rpc_call *c, void *ctx)
{
    struct pair *p = ctx;

    (void)n;
    p->server.opened++;
    p->server.call = c;
    rpc_call_on(c, &server_events, p);
    rpc_call_want(c);
}

/* ----------------------------------------------------------------- the client */

static void client_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    (void)body;
    ((struct pair *)ctx)->messages++;
    rpc_call_want(c);
}

static void client_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                          void *ctx)
{
    struct pair *p = ctx;

    (void)c;
    (void)trailers;
    p->closed++;
    p->status = *status;
    p->call = NULL;
}

static const struct rpc_call_events client_events = { .message = client_message, .closed = client_closed };

/* ------------------------------------------------------------------- the wire */

static void told(struct rpc_conn *n)
{
    while (rpc_conn_dispatch(n))
        ;
}

static void pull_into(struct rpc_conn *n, struct buf *wire)
{
    struct buf more = BUF_INIT(4u << 20);
    struct err e = ERR_INIT;

    rpc_conn_pull(n, &more, 65536);
    assert_true(buf_append(wire, buf_slice(&more), &e));
    buf_done(&more);
}

/* Moves one whole frame (or the preface) from the wire to the connection. */
static bool pass_one(struct buf *wire, struct rpc_conn *to)
{
    struct cursor at = cursor_of(buf_slice(wire));
    struct h2_seen f;
    size_t len;

    if (wire->len == 0)
        return false;
    if (slice_starts(buf_slice(wire), H2_PREFACE))
        len = strlen(H2_PREFACE);
    else if (h2_next(&at, &f))
        len = wire->len - at.left.len;
    else
        return false;
    rpc_conn_feed(to, slice_first(buf_slice(wire), len));
    buf_consume(wire, len);
    told(to);
    return true;
}

/* One frame this way or that. False when both have nothing to say. */
static bool step(struct pair *p)
{
    told(p->client.conn);
    told(p->server.conn);
    pull_into(p->client.conn, &p->server.in);
    pull_into(p->server.conn, &p->client.in);
    told(p->client.conn);
    told(p->server.conn);
    return pass_one(&p->server.in, p->server.conn) || pass_one(&p->client.in, p->client.conn);
}

static void open_end(struct h2 *h, enum rpc_role role, struct pair *p)
{
    const struct rpc_conn_events events = { .open = server_open };
    struct rpc_conn_config cfg = h2_config(h, role);
    struct err e = ERR_INIT;

    h->now_ms = 1000;
    assert_true(rpc_conn_new(&cfg, &events, p, &h->conn, &e));
}

static void begin(struct pair *p, enum kind kind)
{
    struct err e = ERR_INIT;
    int count = kind == CLIENT_STREAM || kind == BIDI ? 3 : 1;

    *p = (struct pair){ .client = H2_INIT, .server = H2_INIT, .kind = kind };
    open_end(&p->client, RPC_ROLE_CLIENT, p);
    open_end(&p->server, RPC_ROLE_SERVER, p);
    assert_true(rpc_conn_call(p->client.conn, "/a.B/C", NULL, 5000, &client_events, p, &p->call, &e));
    rpc_call_want(p->call);
    while (count-- > 0)
        send_text(p->call, "hello");
    rpc_call_send_end(p->call);
}

static void lose(struct h2 *h)
{
    struct err why = ERR_INIT;

    err_fail(&why, ERR_KIND_UNAVAILABLE, "the line is cut");
    rpc_conn_fail(h->conn, &why);
    told(h->conn);
}

static void apply(struct pair *p, enum cut cut)
{
    switch (cut) {
    case CUT_CANCEL:
        if (p->call)
            rpc_call_cancel(p->call);
        break;
    case CUT_FINISH:
        if (p->server.call)
            rpc_call_finish(p->server.call, RPC_ABORTED, "enough", NULL);
        break;
    case CUT_DEADLINE:
        p->client.now_ms += 5000;
        p->server.now_ms += 5000;
        rpc_conn_tick(p->server.conn);
        rpc_conn_tick(p->client.conn);
        break;
    case CUT_CLIENT_LOST: lose(&p->client); break;
    case CUT_SERVER_LOST:
        lose(&p->server);
        lose(&p->client);
        break;
    case CUT_END: rpc_conn_end(p->server.conn, RPC_UNAVAILABLE, "going down"); break;
    case CUT_NEVER: break;
    }
}

static void check_end(struct pair *p, enum cut cut)
{
    static const int allowed[][3] = {
        [CUT_CANCEL] = { RPC_CANCELLED, RPC_OK, RPC_OK },
        [CUT_FINISH] = { RPC_ABORTED, RPC_OK, RPC_OK },
        [CUT_DEADLINE] = { RPC_DEADLINE_EXCEEDED, RPC_OK, RPC_OK },
        [CUT_CLIENT_LOST] = { RPC_UNAVAILABLE, RPC_OK, RPC_OK },
        [CUT_SERVER_LOST] = { RPC_UNAVAILABLE, RPC_OK, RPC_OK },
        [CUT_END] = { RPC_UNAVAILABLE, RPC_OK, RPC_CANCELLED },
        [CUT_NEVER] = { RPC_OK, RPC_OK, RPC_OK },
    };
    const int *want = allowed[cut];

    assert_int_equal(p->closed, 1);
    assert_true((int)p->status.code == want[0] || (int)p->status.code == want[1] ||
                (int)p->status.code == want[2]);
    assert_int_equal(p->server.opened, p->server.closed);
    assert_null(p->server.call);
    assert_int_equal(rpc_conn_call_count(p->client.conn), 0);
    assert_int_equal(rpc_conn_call_count(p->server.conn), 0);
    assert_int_equal(p->client.conn->budget.held + p->server.conn->budget.held, 0);
}

/* The connection is as good as new: another call passes. */
static void check_alive(struct pair *p)
{
    struct err e = ERR_INIT;
    int opened = p->server.opened;

    assert_null(rpc_conn_fault(p->client.conn));
    assert_null(rpc_conn_fault(p->server.conn));
    p->kind = UNARY;
    p->closed = p->messages = 0;
    assert_true(rpc_conn_call(p->client.conn, "/a.B/C", NULL, 0, &client_events, p, &p->call, &e));
    rpc_call_want(p->call);
    send_text(p->call, "again");
    rpc_call_send_end(p->call);
    while (step(p))
        ;
    assert_int_equal(p->closed, 1);
    assert_int_equal(p->status.code, RPC_OK);
    assert_int_equal(p->messages, 1);
    assert_int_equal(p->server.opened, opened + 1);
    assert_int_equal(p->server.closed, opened + 1);
}

static int run(enum kind kind, enum cut cut, int at)
{
    struct pair p;
    int steps = 0;

    begin(&p, kind);
    while (steps < at && step(&p))
        steps++;
    apply(&p, cut);
    while (step(&p))
        ;
    if (cut == CUT_CLIENT_LOST) /* the server sees it when the socket closes */
        lose(&p.server);
    told(p.client.conn);
    told(p.server.conn);
    check_end(&p, cut);
    if (cut == CUT_CANCEL || cut == CUT_FINISH || cut == CUT_DEADLINE || cut == CUT_NEVER)
        check_alive(&p);
    h2_done(&p.client);
    h2_done(&p.server);
    return steps;
}

static struct pair_case {
    const char *name;
    enum cut cut;
} cases[] = {
    { "H2_11_uncut_calls_are_ok", CUT_NEVER },
    { "H2_11_cancel_at_every_frame", CUT_CANCEL },
    { "H2_11_early_finish_at_every_frame", CUT_FINISH },
    { "H2_11_deadline_at_every_frame", CUT_DEADLINE },
    { "H2_11_client_lost_at_every_frame", CUT_CLIENT_LOST },
    { "H2_11_server_lost_at_every_frame", CUT_SERVER_LOST },
    { "H2_11_server_ends_at_every_frame", CUT_END },
};

static void check_cut(void **state)
{
    const struct pair_case *c = *state;

    for (int kind = 0; kind < KINDS; kind++) {
        int frames = run((enum kind)kind, CUT_NEVER, 1000);

        assert_in_range(frames, 8, 100);
        for (int at = 0; at <= frames; at++)
            run((enum kind)kind, c->cut, at);
    }
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases)];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        tests[i] = (struct CMUnitTest){ cases[i].name, check_cut, NULL, NULL, &cases[i] };
    return cmocka_run_group_tests_name("rpc/pair", tests, NULL, NULL);
}
