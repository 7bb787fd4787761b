/* Client and server together over real sockets, the client's side of it. */

#include "unit/rpc/fixture.h"

/* ------------------------------------------------------------ kinds of call */

static void unary_over_tcp_echoes(void **state)
{
    struct fixture f = { 0 };
    struct seen s = SEEN_INIT;

    (void)state;
    fixture_open(&f);
    unary(&f, "/test.Room/Echo", 1000, 0, &s);
    assert_int_equal(s.status.code, RPC_OK);
    assert_int_equal(s.messages, 1);
    assert_int_equal(s.bytes, 1000);
    assert_int_equal(s.initial, 1);
    seen_done(&s);
    fixture_close(&f);
}

static void unary_over_unix_socket_echoes(void **state)
{
    struct fixture f = { 0 };
    struct seen s = SEEN_INIT;

    (void)state;
    temp_socket(&f);
    fixture_open(&f);
    unary(&f, "/test.Room/Echo", 3, 0, &s);
    assert_int_equal(s.status.code, RPC_OK);
    assert_int_equal(s.bytes, 3);
    seen_done(&s);
    fixture_close(&f);
    assert_int_equal(access(f.path, F_OK), -1); /* the server removed its socket */
    assert_int_equal(rmdir(f.dir), 0);
}

static void bidi_of_many_sizes_echoes_in_order(void **state)
{
    static const size_t sizes[] = { 0, 1, 5, 16384, 16379, 65536, 1 << 20, (4 << 20) - 1, 4 << 20 };
    struct fixture f = { 0 };
    struct seen s = SEEN_INIT;

    (void)state;
    fixture_open(&f);
    start(&f, "/test.Room/Bidi", 0, &s);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        assert_true(send_bytes(&s, sizes[i], (uint8_t)('a' + i)));
        fixture_wait(&f, &s.messages, (int)i + 1);
        assert_int_equal(s.last.len, sizes[i]);
        if (sizes[i])
            assert_int_equal(buf_slice(&s.last).at[sizes[i] - 1], 'a' + i);
    }
    rpc_call_send_end(s.call);
    fixture_wait(&f, &s.closed, 1);
    assert_int_equal(s.status.code, RPC_OK);
    fixture_wait(&f, &f.closed, 1);
    assert_int_equal(f.closed_status.code, RPC_OK);
    seen_done(&s);
    fixture_close(&f);
}

static void status_and_text_arrive_percent_decoded(void **state)
{
    struct fixture f = { 0 };
    struct seen s = SEEN_INIT;

    (void)state;
    fixture_open(&f);
    unary(&f, "/test.Room/Fail", 1, 0, &s);
    assert_int_equal(s.status.code, RPC_FAILED_PRECONDITION);
    assert_string_equal(s.status.message, "n\xc3\xb6t now 100%\n");
    assert_int_equal(s.initial, 0); /* trailers-only */
    seen_done(&s);
    fixture_close(&f);
}

static void many_calls_at_once_all_end(void **state)
{
    enum { COUNT = 300 }; /* more than the server's streams at a time */
    struct fixture f = { 0 };
    static struct seen s[COUNT];

    (void)state;
    fixture_open(&f);
    for (int i = 0; i < COUNT; i++) {
        s[i] = (struct seen)SEEN_INIT;
        start(&f, "/test.Room/Echo", 0, &s[i]);
        assert_true(send_bytes(&s[i], (size_t)i, 'y'));
        rpc_call_send_end(s[i].call);
    }
    for (int i = 0; i < COUNT; i++) {
        fixture_wait(&f, &s[i].closed, 1);
        assert_int_equal(s[i].status.code, RPC_OK);
        assert_int_equal(s[i].bytes, i);
        seen_done(&s[i]);
    }
    fixture_close(&f);
}

/* ------------------------------------------------------- deadlines and cancel */

static void deadline_ends_both_sides(void **state)
{
    struct fixture f = { 0 };

    (void)state;
    fixture_open(&f);
    /* On a machine that stands still the first deadlines may pass before the call is there. */
    for (uint64_t ms = 50; !f.hung && ms < patience_ms(10000); ms *= 2) {
        struct seen s = SEEN_INIT;

        unary(&f, "/test.Room/Hang", 1, ms, &s);
        assert_int_equal(s.status.code, RPC_DEADLINE_EXCEEDED);
        seen_done(&s);
    }
    fixture_wait(&f, &f.closed, 1);
    assert_true(f.closed_status.code == RPC_DEADLINE_EXCEEDED || f.closed_status.code == RPC_CANCELLED);
    fixture_close(&f);
}

static void cancel_reaches_the_server(void **state)
{
    struct fixture f = { 0 };
    struct seen s = SEEN_INIT;

    (void)state;
    fixture_open(&f);
    start(&f, "/test.Room/Bidi", 0, &s);
    assert_true(send_bytes(&s, 1, 'x'));
    fixture_wait(&f, &s.messages, 1);
    rpc_call_cancel(s.call);
    assert_int_equal(s.closed, 0); /* never from within */
    fixture_wait(&f, &s.closed, 1);
    assert_int_equal(s.status.code, RPC_CANCELLED);
    fixture_wait(&f, &f.closed, 1);
    assert_int_equal(f.closed_status.code, RPC_CANCELLED);
    seen_done(&s);
    fixture_close(&f);
}

/* ---------------------------------------------------------------- connecting */

static void refused_connection_gives_the_whole_reason(void **state)
{
    struct fixture f = { .client_cfg = { .target = "127.0.0.1:1" } };
    struct seen s = SEEN_INIT;

    (void)state;
    fixture_open(&f);
    start(&f, "/test.Room/Echo", 0, &s);
    fixture_wait(&f, &s.closed, 1);
    assert_int_equal(s.status.code, RPC_UNAVAILABLE);
    assert_non_null(strstr(s.status.message, "connect to 127.0.0.1:1: Connection refused"));
    seen_done(&s);
    fixture_close(&f);
}

static void next_call_connects_again(void **state)
{
    struct fixture f = { 0 };
    struct seen a = SEEN_INIT;
    struct seen b = SEEN_INIT;
    struct seen c = SEEN_INIT;

    (void)state;
    fixture_open(&f);
    unary(&f, "/test.Room/Echo", 1, 0, &a);
    start(&f, "/test.Room/Bidi", 0, &b);
    assert_true(send_bytes(&b, 1, 'x'));
    fixture_wait(&f, &b.messages, 1);
    rpc_client_disconnect(f.client);
    fixture_wait(&f, &b.closed, 1);
    assert_int_equal(b.status.code, RPC_UNAVAILABLE);
    unary(&f, "/test.Room/Echo", 7, 0, &c);
    assert_int_equal(c.status.code, RPC_OK);
    assert_int_equal(c.bytes, 7);
    seen_done(&a);
    seen_done(&b);
    seen_done(&c);
    fixture_close(&f);
}

struct acked {
    int count;
    bool ok;
};

static void on_acked(bool ok, void *ctx)
{
    struct acked *a = ctx;

    a->count++;
    a->ok = ok;
}

static void barrier_is_answered(void **state)
{
    struct fixture f = { 0 };
    struct seen s = SEEN_INIT;
    struct acked a = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    fixture_open(&f);
    assert_false(rpc_client_barrier(f.client, on_acked, &a, &e)); /* nothing is connected */
    start(&f, "/test.Room/Bidi", 0, &s);
    assert_true(rpc_client_barrier(f.client, on_acked, &a, &e));
    fixture_wait(&f, &a.count, 1);
    assert_true(a.ok);
    rpc_call_cancel(s.call);
    fixture_wait(&f, &s.closed, 1);
    seen_done(&s);
    fixture_close(&f);
}

static void barrier_fails_with_the_connection(void **state)
{
    struct fixture f = { .client_cfg = { .target = "127.0.0.1:1" } };
    struct seen s = SEEN_INIT;
    struct acked a = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    fixture_open(&f);
    start(&f, "/test.Room/Bidi", 0, &s);
    assert_true(rpc_client_barrier(f.client, on_acked, &a, &e));
    fixture_wait(&f, &a.count, 1);
    assert_false(a.ok);
    fixture_wait(&f, &s.closed, 1);
    seen_done(&s);
    fixture_close(&f);
}

static void free_with_calls_open_tells_them(void **state)
{
    struct fixture f = { 0 };
    struct seen s = SEEN_INIT;
    struct seen early = SEEN_INIT;

    (void)state;
    fixture_open(&f);
    start(&f, "/test.Room/Bidi", 0, &s);
    assert_true(send_bytes(&s, 1, 'x'));
    fixture_wait(&f, &s.messages, 1);
    start(&f, "/test.Room/Bidi", 0, &early);
    fixture_close(&f);
    assert_int_equal(s.closed, 1);
    assert_int_equal(early.closed, 1);
    assert_int_equal(f.closed >= 1, 1);
    seen_done(&s);
    seen_done(&early);
}

/* ------------------------------------------------------------- back-pressure */

static void slow_reader_holds_the_sender_back(void **state)
{
    struct fixture f = { 0 };
    struct seen s = SEEN_INIT;
    int sent = 0;

    (void)state;
    s.no_want = true;
    fixture_open(&f);
    start(&f, "/test.Room/Bidi", 0, &s);
    /* The client reads one message; its own sending must come to a halt. */
    for (int turns = 0; turns < 2000; turns++) {
        if (rpc_call_can_send(s.call)) {
            assert_true(send_bytes(&s, 256 * 1024, 'x'));
            sent++;
        }
        fixture_turn(&f);
    }
    assert_int_equal(s.messages, 1);
    assert_false(rpc_call_can_send(s.call));
    /* Queues and windows of both sides: far from what 2000 turns would have sent. */
    assert_in_range(sent, 4, 64);
    s.no_want = false;
    rpc_call_want(s.call);
    rpc_call_send_end(s.call);
    fixture_wait(&f, &s.closed, 1);
    assert_int_equal(s.status.code, RPC_OK);
    assert_int_equal(s.messages, sent);
    assert_true(s.writable > 0);
    seen_done(&s);
    fixture_close(&f);
}

static void unary_done(const struct rpc_status *status, struct buf *reply, void *ctx)
{
    struct seen *s = ctx;

    s->status = *status;
    s->bytes = reply->len;
    s->closed++;
}

static void unary_helper_returns_the_reply(void **state)
{
    struct fixture f = { 0 };
    struct seen s = SEEN_INIT;
    struct buf body = BUF_INIT(16);
    struct err e = ERR_INIT;

    (void)state;
    fixture_open(&f);
    assert_true(buf_append_str(&body, "hello", &e));
    assert_true(
        rpc_client_unary(f.client, "/test.Room/Echo", NULL, &body, patience_ms(1000), unary_done, &s, &e));
    assert_int_equal(body.len, 0);
    fixture_wait(&f, &s.closed, 1);
    assert_int_equal(s.status.code, RPC_OK);
    assert_int_equal(s.bytes, 5);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unary_over_tcp_echoes),
        cmocka_unit_test(unary_over_unix_socket_echoes),
        cmocka_unit_test(bidi_of_many_sizes_echoes_in_order),
        cmocka_unit_test(status_and_text_arrive_percent_decoded),
        cmocka_unit_test(many_calls_at_once_all_end),
        cmocka_unit_test(deadline_ends_both_sides),
        cmocka_unit_test(cancel_reaches_the_server),
        cmocka_unit_test(refused_connection_gives_the_whole_reason),
        cmocka_unit_test(next_call_connects_again),
        cmocka_unit_test(barrier_is_answered),
        cmocka_unit_test(barrier_fails_with_the_connection),
        cmocka_unit_test(free_with_calls_open_tells_them),
        cmocka_unit_test(slow_reader_holds_the_sender_back),
        cmocka_unit_test(unary_helper_returns_the_reply),
    };

    return cmocka_run_group_tests_name("rpc/client", tests, NULL, NULL);
}
