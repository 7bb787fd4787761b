/* A server's connection against frames made by hand. */

#include "unit/rpc/h2.h"

static void finish_ok(struct h2 *h, struct rpc_call *c)
{
    struct buf body = BUF_INIT(8);
    struct err e = ERR_INIT;

    (void)h;
    assert_true(buf_append_str(&body, "hi", &e));
    rpc_call_reply(c, &body);
}

/* ------------------------------------------------------------------ good ones */

static void request_is_delivered_and_answered(void **state)
{
    struct h2 h = H2_INIT;
    struct buf body = BUF_INIT(8);
    struct err e = ERR_INIT;

    (void)state;
    h2_server(&h);
    h2_request(&h, 1, 0, "/a.B/C");
    h2_message(&h, 1, H2_END_STREAM, "hello");
    h2_go(&h);
    assert_int_equal(h.messages, 1);
    assert_int_equal(h.bytes, 5);
    assert_int_equal(h.half_closed, 1);
    assert_string_equal(rpc_call_method(h.call), "/a.B/C");
    assert_true(buf_append_str(&body, "hi", &e));
    rpc_call_reply(h.call, &body);
    h2_go(&h);
    assert_int_equal(h.closed, 1);
    assert_int_equal(h.status.code, RPC_OK);
    h2_expect_field(&h, 1, 0, ":status: 200");
    h2_expect_field(&h, 1, 0, "content-type: application/grpc");
    h2_expect_field(&h, 1, 1, "grpc-status: 0");
    h2_done(&h);
}

static void ping_is_answered(void **state)
{
    struct h2 h = H2_INIT;

    (void)state;
    h2_server(&h);
    h2_frame(&h, H2_PING, 0, 0, "\1\2\3\4\5\6\7\x08", 8);
    h2_go(&h);
    assert_int_equal(h2_code(&h, H2_PING, 0), 0x01020304);
    h2_done(&h);
}

static void bytes_one_at_a_time_mean_the_same(void **state)
{
    struct h2 h = H2_INIT;
    struct buf all = BUF_INIT(65536);

    (void)state;
    h2_server(&h);
    h2_request(&h, 1, 0, "/a.B/C");
    h2_message(&h, 1, 0, "hello");
    h2_message(&h, 1, 0, "");
    h2_message(&h, 1, H2_END_STREAM, "you");
    buf_move(&all, &h.in);
    for (size_t i = 0; i < all.len; i++) {
        h2_put(&h, buf_slice(&all).at + i, 1);
        h2_go(&h);
    }
    assert_int_equal(h.messages, 3);
    assert_int_equal(h.bytes, 8);
    assert_int_equal(h.half_closed, 1);
    buf_done(&all);
    h2_done(&h);
}

static void unwanted_messages_wait_and_close_the_window(void **state)
{
    struct h2 h = H2_INIT;
    static uint8_t data[200000];

    (void)state;
    h.want = false;
    h2_server(&h);
    h2_request(&h, 1, 0, "/a.B/C");
    data[2] = 0x03; /* 0x030d3b = 199995 bytes */
    data[3] = 0x0d;
    data[4] = 0x3b;
    for (int i = 0; i < 5; i++) {
        h2_frame(&h, H2_DATA, 0, 1, data, sizeof(data));
        h2_go(&h);
    }
    assert_int_equal(h.messages, 0);
    assert_int_equal(h2_code(&h, H2_WINDOW, 1), UINT32_MAX); /* the stream's window stays shut */
    rpc_call_want(h.call);
    h2_go(&h);
    assert_int_equal(h.messages, 1);
    for (int i = 2; i <= 5; i++) {
        rpc_call_want(h.call);
        h2_go(&h);
        assert_int_equal(h.messages, i);
    }
    assert_true(h2_code(&h, H2_WINDOW, 1) != UINT32_MAX);
    h2_done(&h);
}

/* -------------------------------------------------------------------- refusals */

static struct refusal {
    const char *name;
    const char *fields[20];
    const char *want[3];
} refusals[] = {
    { "H2_6_path_without_slash_is_unimplemented",
      { ":method", "POST", ":scheme", "http", ":path", "a.B/C", ":authority", "x", "content-type",
        "application/grpc", NULL },
      { "grpc-status: 12", NULL } },
    { "H2_6_empty_path_is_unimplemented",
      { ":method", "POST", ":scheme", "http", ":path", "", ":authority", "x", "content-type",
        "application/grpc", NULL },
      { "grpc-status: 12", NULL } },
    { "other_content_type_is_415",
      { ":method", "POST", ":scheme", "http", ":path", "/a.B/C", ":authority", "x", "content-type",
        "text/html", NULL },
      { ":status: 415", "grpc-status: 3", NULL } },
    { "content_type_that_only_begins_alike_is_415",
      { ":method", "POST", ":scheme", "http", ":path", "/a.B/C", ":authority", "x", "content-type",
        "application/grpc-web", NULL },
      { ":status: 415", NULL } },
    { "missing_content_type_is_415",
      { ":method", "POST", ":scheme", "http", ":path", "/a.B/C", ":authority", "x", NULL },
      { ":status: 415", NULL } },
    { "get_is_405",
      { ":method", "GET", ":scheme", "http", ":path", "/a.B/C", ":authority", "x", "content-type",
        "application/grpc", NULL },
      { ":status: 405", NULL } },
    { "H2_8_unknown_encoding_is_unimplemented",
      { ":method", "POST", ":scheme", "http", ":path", "/a.B/C", ":authority", "x", "content-type",
        "application/grpc", "grpc-encoding", "snappy", NULL },
      { "grpc-status: 12", "grpc-accept-encoding: identity,gzip", NULL } },
    { "malformed_header_name_is_a_reset",
      { ":method", "POST", ":scheme", "http", ":path", "/a.B/C", ":authority", "x", "content-type",
        "application/grpc", "Upper", "x", NULL },
      { NULL } },
    { "pseudo_header_behind_others_is_a_reset",
      { ":method", "POST", ":scheme", "http", ":authority", "x", "content-type", "application/grpc", ":path",
        "/a.B/C", NULL },
      { NULL } },
    { "second_path_is_a_reset",
      { ":method", "POST", ":scheme", "http", ":path", "/a.B/C", ":path", "/a.B/D", "content-type",
        "application/grpc", NULL },
      { NULL } },
    { "missing_path_is_a_reset",
      { ":method", "POST", ":scheme", "http", ":authority", "x", "content-type", "application/grpc", NULL },
      { NULL } },
    { "header_of_http_1_is_a_reset",
      { ":method", "POST", ":scheme", "http", ":path", "/a.B/C", "content-type", "application/grpc",
        "connection", "close", NULL },
      { NULL } },
    { "line_break_in_a_value_is_a_reset",
      { ":method", "POST", ":scheme", "http", ":path", "/a.B/C", "content-type", "application/grpc", "a",
        "b\r\nc: d", NULL },
      { NULL } },
    { "H2_10_bad_timeout_is_refused",
      { ":method", "POST", ":scheme", "http", ":path", "/a.B/C", ":authority", "x", "content-type",
        "application/grpc", "grpc-timeout", "-1S", NULL },
      { ":status: 400", "grpc-status: 13", NULL } },
    { "bad_binary_metadata_is_refused",
      { ":method", "POST", ":scheme", "http", ":path", "/a.B/C", ":authority", "x", "content-type",
        "application/grpc", "a-bin", "!!", NULL },
      { ":status: 400", "grpc-status: 13", NULL } },
};

static void check_refusal(void **state)
{
    const struct refusal *r = *state;
    struct h2 h = H2_INIT;

    h2_server(&h);
    h2_headers(&h, 1, H2_END_STREAM, r->fields);
    h2_go(&h);
    assert_int_equal(h.opened, 0);
    for (size_t i = 0; r->want[i]; i++)
        h2_expect_field(&h, 1, 0, r->want[i]);
    if (!r->want[0]) {
        assert_int_equal(h2_count(&h, H2_HEADERS), 0);
        assert_int_equal(h2_code(&h, H2_RST, 1), NGHTTP2_PROTOCOL_ERROR);
    }
    /* The connection goes on. */
    h.on_open = finish_ok;
    h2_request(&h, 3, H2_END_STREAM, "/a.B/C");
    h2_go(&h);
    assert_int_equal(h.opened, 1);
    h2_done(&h);
}

static void metadata_above_the_limit_is_refused(void **state)
{
    struct h2 h = H2_INIT;
    char value[20000];
    const char *fields[] = { ":method", "POST",       ":scheme", "http",         ":path",
                             "/a.B/C",  ":authority", "x",       "content-type", "application/grpc",
                             "long",    value,        NULL };

    (void)state;
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    h2_server(&h);
    h2_headers(&h, 1, H2_END_STREAM, fields);
    h2_go(&h);
    assert_int_equal(h.opened, 0);
    h2_expect_field(&h, 1, 0, "grpc-status: 8");
    assert_null(rpc_conn_fault(h.conn));
    h2_done(&h);
}

/* ----------------------------------------------------------- messages, H2-7, -8 */

static struct message_case {
    const char *name;
    struct slice bytes;
    enum rpc_code want;
    const char *text;
} messages[] = {
    { "H2_7_length_above_limit_is_exhausted", SLICE_LIT("\0\0\x40\0\1x"), RPC_RESOURCE_EXHAUSTED,
      "grpc: received message larger than max (4194305 vs. 4194304)" },
    { "H2_7_length_of_4_gib_is_exhausted", SLICE_LIT("\0\xff\xff\xff\xffx"), RPC_RESOURCE_EXHAUSTED,
      "grpc: received message larger than max (4294967295 vs. 4194304)" },
    { "H2_8_compressed_without_encoding_is_internal", SLICE_LIT("\1\0\0\0\1x"), RPC_INTERNAL,
      "grpc: compressed flag set with identity or empty encoding" },
    { "unknown_flag_is_internal", SLICE_LIT("\2\0\0\0\1x"), RPC_INTERNAL,
      "grpc: received unexpected payload format 2" },
    { "request_that_ends_in_a_message_is_internal", SLICE_LIT("\0\0\0\0\5x"), RPC_INTERNAL,
      "the request ended inside a message" },
    { "request_that_ends_in_a_prefix_is_internal", SLICE_LIT("\0\0"), RPC_INTERNAL,
      "the request ended inside a message" },
};

static void check_message(void **state)
{
    const struct message_case *m = *state;
    struct h2 h = H2_INIT;

    h2_server(&h);
    h2_request(&h, 1, 0, "/a.B/C");
    h2_frame(&h, H2_DATA, H2_END_STREAM, 1, m->bytes.at, m->bytes.len);
    h2_go(&h);
    assert_int_equal(h.messages, 0);
    assert_int_equal(h.closed, 1);
    assert_int_equal(h.status.code, m->want);
    assert_string_equal(h.status.message, m->text);
    assert_true(h.conn->budget.held == 0);
    h2_done(&h);
}

static void limit_is_checked_before_a_byte_is_stored(void **state) /* H2_7 */
{
    struct h2 h = H2_INIT;

    (void)state;
    h2_server(&h);
    h2_request(&h, 1, 0, "/a.B/C");
    h2_frame(&h, H2_DATA, 0, 1, "\0\0\x40\0\1", 5); /* the prefix alone is enough */
    h2_go(&h);
    assert_int_equal(h.closed, 1);
    assert_int_equal(h.status.code, RPC_RESOURCE_EXHAUSTED);
    h2_expect_field(&h, 1, 0, "grpc-status: 8");
    h2_done(&h);
}

static void single(struct h2 *h, struct rpc_call *c)
{
    (void)h;
    rpc_call_set_recv(c, 0, true);
}

static void unary_request_without_message_is_internal(void **state)
{
    struct h2 h = H2_INIT;

    (void)state;
    h.on_open = single;
    h2_server(&h);
    h2_request(&h, 1, H2_END_STREAM, "/a.B/C");
    h2_go(&h);
    assert_int_equal(h.half_closed, 0);
    assert_int_equal(h.status.code, RPC_INTERNAL);
    h2_done(&h);
}

static void unary_request_with_two_messages_is_internal(void **state)
{
    struct h2 h = H2_INIT;

    (void)state;
    h.on_open = single;
    h2_server(&h);
    h2_request(&h, 1, 0, "/a.B/C");
    h2_message(&h, 1, 0, "a");
    h2_message(&h, 1, H2_END_STREAM, "b");
    h2_go(&h);
    assert_int_equal(h.half_closed, 0);
    assert_int_equal(h.status.code, RPC_INTERNAL);
    h2_done(&h);
}

/* Whoever opens a call and keeps to himself what he wants may not hold it for ever. */
static struct late_case {
    const char *name;
    bool message; /* the only message comes, without an end of the stream */
    bool end;     /* and its end                                         */
    bool streams; /* the method takes many messages                      */
    bool expires;
} lates[] = {
    { "request_that_never_comes_expires", .expires = true },
    { "request_without_end_expires_while_more_is_wanted", .message = true, .expires = true },
    { "request_that_is_whole_does_not_expire", .message = true, .end = true },
    { "stream_of_messages_does_not_expire", .streams = true },
};

static void check_late(void **state)
{
    const struct late_case *c = *state;
    struct h2 h = H2_INIT;

    if (!c->streams)
        h.on_open = single;
    h2_server(&h);
    h2_request(&h, 1, 0, "/a.B/C");
    if (c->message)
        h2_message(&h, 1, c->end ? H2_END_STREAM : 0, "a");
    h2_go(&h);
    for (int s = 0; s < 29; s++) { /* the peer is alive and answers what keepalive asks */
        h.now_ms += 1000;
        h2_frame(&h, H2_PING, H2_ACK, 0, "12345678", 8);
        h2_go(&h);
        rpc_conn_tick(h.conn);
        h2_pull(&h);
    }
    assert_int_equal(h.closed, 0);
    h.now_ms += 1000;
    assert_true(!c->expires || rpc_conn_deadline(h.conn) <= h.now_ms);
    rpc_conn_tick(h.conn);
    h2_go(&h);
    assert_int_equal(h.closed, c->expires);
    if (c->expires)
        h2_expect_field(&h, 1, 0, "grpc-status: 4");
    h2_done(&h);
}

/* ---------------------------------------------------------------- H2-1 to H2-5 */

static void expect_calm(struct h2 *h)
{
    assert_non_null(rpc_conn_fault(h->conn));
    assert_true(rpc_conn_was_abused(h->conn));
    h2_pull(h);

    struct cursor at = cursor_of(buf_slice(&h->out));
    struct h2_seen f;
    uint32_t code = 0;

    while (h2_next(&at, &f)) {
        if (f.type == H2_GOAWAY && f.body.len >= 8)
            code = (uint32_t)f.body.at[7];
    }
    assert_int_equal(code, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_true(rpc_conn_is_over(h->conn));
}

static void H2_1_rapid_reset_ends_the_connection(void **state)
{
    struct h2 h = H2_INIT;
    uint32_t stream = 1;

    (void)state;
    h2_server(&h);
    for (int i = 0; i < 100000 && !rpc_conn_fault(h.conn); i++, stream += 2) {
        h2_request(&h, stream, 0, "/a.B/C");
        h2_frame(&h, H2_RST, 0, stream, "\0\0\0\x08", 4);
        if (i % 10 == 0)
            h2_go(&h);
        h.now_ms += i % 100 == 0; /* 100 000 a second */
    }
    assert_true(stream < 2 * 3000);
    assert_int_equal(h.opened, h.closed);
    expect_calm(&h);
    h2_done(&h);
}

static void H2_1_streams_that_make_us_reset_count_alike(void **state)
{
    struct h2 h = H2_INIT;
    uint32_t stream = 1;

    (void)state;
    h2_server(&h);
    for (int i = 0; i < 100000 && !rpc_conn_fault(h.conn); i++, stream += 2) {
        h2_request(&h, stream, 0, "/a.B/C");
        h2_frame(&h, H2_WINDOW, 0, stream, "\x7f\xff\xff\xff", 4); /* above the largest window there is */
        h2_go(&h);
    }
    assert_true(stream < 2 * 3000);
    expect_calm(&h);
    h2_done(&h);
}

static void an_honest_peer_may_cancel_often(void **state)
{
    struct h2 h = H2_INIT;
    uint32_t stream = 1;

    (void)state;
    h2_server(&h);
    for (int i = 0; i < 5000; i++, stream += 2) {
        h2_request(&h, stream, 0, "/a.B/C");
        h2_frame(&h, H2_RST, 0, stream, "\0\0\0\x08", 4);
        h2_go(&h);
        h.now_ms += 20;
    }
    assert_null(rpc_conn_fault(h.conn));
    assert_int_equal(h.closed, 5000);
    h2_done(&h);
}

static void H2_2_endless_continuation_ends_the_connection(void **state)
{
    struct h2 h = H2_INIT;
    uint8_t block[200];
    size_t len = h2_field(block, "a", "b");

    (void)state;
    h2_server(&h);
    h2_frame(&h, H2_HEADERS, 0, 1, block, len);
    for (int i = 0; i < 10000 && !rpc_conn_fault(h.conn); i++) {
        h2_frame(&h, H2_CONT, 0, 1, block, len);
        h2_go(&h);
        assert_true(i < 100);
    }
    assert_non_null(rpc_conn_fault(h.conn));
    assert_true(rpc_conn_is_over(h.conn));
    assert_true(h2_count(&h, H2_GOAWAY) > 0);
    h2_done(&h);
}

static struct flood {
    const char *name;
    uint8_t type, flags;
    uint32_t stream;
    const char *body;
    size_t len;
} floods[] = {
    { "H2_3_settings_flood_ends_the_connection", H2_SETTINGS, 0, 0, "", 0 },
    { "H2_3_ping_flood_ends_the_connection", H2_PING, 0, 0, "12345678", 8 },
    { "H2_3_ping_ack_flood_ends_the_connection", H2_PING, H2_ACK, 0, "12345678", 8 },
    { "H2_3_empty_data_flood_ends_the_connection", H2_DATA, 0, 1, "", 0 },
    { "H2_3_priority_flood_ends_the_connection", H2_PRIORITY, 0, 1, "\0\0\0\0\x10", 5 },
    { "H2_3_priority_of_idle_streams_ends_the_connection", H2_PRIORITY, 0, 99, "\0\0\0\1\x10", 5 },
    { "H2_3_window_update_flood_ends_the_connection", H2_WINDOW, 0, 0, "\0\0\0\1", 4 },
    { "H2_3_unknown_frame_flood_ends_the_connection", 0x77, 0, 0, "xyz", 3 },
    { "H2_3_stream_window_update_flood_ends_the_connection", H2_WINDOW, 0, 1, "\0\0\0\1", 4 },
};

static void check_flood(void **state)
{
    const struct flood *f = *state;
    struct h2 h = H2_INIT;
    int sent = 0;

    h2_server(&h);
    h2_request(&h, 1, 0, "/a.B/C");
    for (; sent < 100000 && !rpc_conn_fault(h.conn); sent++) {
        h2_frame(&h, f->type, f->flags, f->stream, f->body, f->len);
        h2_go(&h);
        h.now_ms += sent % 100 == 0;
    }
    assert_in_range(sent, 100, 20000);
    expect_calm(&h);
    h2_done(&h);
}

/* The peer asks and asks and reads nothing: what waits for it stays small. */
static void H2_3_output_for_a_peer_that_does_not_read_is_bounded(void **state)
{
    struct h2 h = H2_INIT;
    int sent = 0;

    (void)state;
    h2_server(&h);
    for (; sent < 100000 && !rpc_conn_fault(h.conn); sent++) {
        h2_frame(&h, H2_PING, 0, 0, "12345678", 8);
        rpc_conn_feed(h.conn, buf_slice(&h.in)); /* and nothing is pulled */
        buf_consume(&h.in, h.in.len);
    }
    assert_true(sent < 5000);
    expect_calm(&h);
    h2_done(&h);
}

static void small_honest_frames_are_no_flood(void **state)
{
    struct h2 h = H2_INIT;

    (void)state;
    h2_server(&h);
    h2_request(&h, 1, 0, "/a.B/C");
    for (int i = 0; i < 50000; i++) {
        h2_message(&h, 1, 0, "x");
        h2_go(&h);
    }
    assert_null(rpc_conn_fault(h.conn));
    assert_int_equal(h.messages, 50000);
    h2_done(&h);
}

static void reply_big(struct h2 *h, struct rpc_call *c)
{
    struct buf body = BUF_INIT(500000);
    struct err e = ERR_INIT;
    uint8_t *at;

    (void)h;
    assert_true(buf_reserve(&body, body.max, &at, &e));
    buf_extend(&body, body.max);
    rpc_call_reply(c, &body);
}

/* The peer's windows are 0 (settings) and stay so. */
static void H2_4_window_0_and_deadline_frees_the_reply(void **state)
{
    const char *fields[] = { ":method",      "POST",       ":scheme", "http",         ":path",
                             "/a.B/C",       ":authority", "x",       "content-type", "application/grpc",
                             "grpc-timeout", "2S",         NULL };
    struct h2 h = H2_INIT;

    (void)state;
    h.on_open = reply_big;
    h2_server(&h);
    h2_frame(&h, H2_SETTINGS, 0, 0, "\0\4\0\0\0\0", 6);
    h2_headers(&h, 1, H2_END_STREAM, fields);
    h2_go(&h);
    assert_int_equal(h.closed, 0);
    h.now_ms += 1999;
    rpc_conn_tick(h.conn);
    h2_pull(&h);
    assert_int_equal(h.closed, 0);
    h.now_ms += 1;
    assert_true(rpc_conn_deadline(h.conn) <= h.now_ms);
    rpc_conn_tick(h.conn);
    h2_pull(&h);
    assert_int_equal(h.closed, 1);
    assert_int_equal(h.status.code, RPC_DEADLINE_EXCEEDED);
    assert_int_equal(h2_code(&h, H2_RST, 1), NGHTTP2_CANCEL);
    assert_int_equal(rpc_conn_call_count(h.conn), 0);
    h2_done(&h);
}

static void H2_4_window_0_without_deadline_ends_by_stall(void **state)
{
    struct h2 h = H2_INIT;

    (void)state;
    h.on_open = reply_big;
    h2_server(&h);
    h2_frame(&h, H2_SETTINGS, 0, 0, "\0\4\0\0\0\0", 6);
    h2_request(&h, 1, H2_END_STREAM, "/a.B/C");
    h2_go(&h);
    /* The peer is alive and answers what keepalive asks. */
    for (int s = 0; s < 119; s++) {
        h.now_ms += 1000;
        h2_frame(&h, H2_PING, H2_ACK, 0, "12345678", 8);
        h2_go(&h);
        rpc_conn_tick(h.conn);
        h2_pull(&h);
    }
    assert_int_equal(h.closed, 0);
    h.now_ms += 1000;
    rpc_conn_tick(h.conn);
    h2_pull(&h);
    assert_int_equal(h.closed, 1);
    assert_int_equal(h.status.code, RPC_CANCELLED);
    assert_int_equal(h2_code(&h, H2_RST, 1), NGHTTP2_CANCEL);
    h2_done(&h);
}

/* Raw header blocks that HPACK or the limits must refuse. */
static struct hpack {
    const char *name;
    struct slice block;
} hpacks[] = {
    { "H2_5_integer_of_4_gib_is_refused", SLICE_LIT("\x40\x7f\xff\xff\xff\xff\x0f") },
    { "H2_5_endless_integer_is_refused", SLICE_LIT("\x40\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x0f") },
    { "H2_5_index_out_of_the_table_is_refused", SLICE_LIT("\xff\xff\x7f") },
    { "H2_5_table_above_the_setting_is_refused", SLICE_LIT("\x3f\xff\xff\x7f\x82") },
    { "H2_5_index_0_is_refused", SLICE_LIT("\x80") },
};

static void check_hpack(void **state)
{
    const struct hpack *p = *state;
    struct h2 h = H2_INIT;

    h2_server(&h);
    h2_frame(&h, H2_HEADERS, H2_END_HEADERS | H2_END_STREAM, 1, p->block.at, p->block.len);
    h2_go(&h);
    assert_int_equal(h.opened, 0);
    assert_non_null(rpc_conn_fault(h.conn));
    assert_int_equal(h2_code(&h, H2_GOAWAY, 0) != UINT32_MAX, 1);
    assert_true(rpc_conn_is_over(h.conn));
    h2_done(&h);
}

/* One entry of 4000 bytes in the table, then a block of references to it. */
static void H2_5_indexed_bomb_ends_the_connection(void **state)
{
    struct h2 h = H2_INIT;
    static uint8_t block[200000];
    char value[4000];
    size_t len = 0;

    (void)state;
    memset(value, 'v', sizeof(value));
    h2_server(&h);
    block[len++] = 0x40;
    len += h2_string(block + len, "bomb", 4);
    len += h2_string(block + len, value, sizeof(value));
    memset(block + len, 0xbe, sizeof(block) - len); /* the newest entry, again and again: 800 MB */
    h2_frame(&h, H2_HEADERS, H2_END_HEADERS, 1, block, sizeof(block));
    h2_go(&h);
    assert_int_equal(h.opened, 0);
    expect_calm(&h);
    h2_done(&h);
}

/* Table size changes in every block: cheap for both, and no memory is left behind. */
static void H2_5_table_size_churn_is_harmless(void **state)
{
    static const char churn[] = "\x20\x3f\xe1\x1f"; /* 0, then 4096 again */
    struct h2 h = H2_INIT;
    uint32_t stream = 1;

    (void)state;
    h.on_open = finish_ok;
    h2_server(&h);
    for (int i = 0; i < 2000; i++, stream += 2) {
        uint8_t block[512];
        size_t len = sizeof(churn) - 1;

        memcpy(block, churn, len);
        len += h2_field(block + len, ":method", "POST");
        len += h2_field(block + len, ":scheme", "http");
        len += h2_field(block + len, ":path", "/a.B/C");
        len += h2_field(block + len, ":authority", "x");
        len += h2_field(block + len, "content-type", "application/grpc");
        h2_frame(&h, H2_HEADERS, H2_END_HEADERS | H2_END_STREAM, stream, block, len);
        h2_go(&h);
    }
    assert_int_equal(h.opened, 2000);
    assert_int_equal(h.closed, 2000);
    h2_done(&h);
}

/* ------------------------------------------------------------ limits and times */

static void H2_12_streams_above_the_limit_are_refused(void **state)
{
    struct h2 h = H2_INIT;

    (void)state;
    h2_server(&h);
    for (uint32_t i = 0; i < 101; i++)
        h2_request(&h, 1 + 2 * i, 0, "/a.B/C");
    h2_go(&h);
    assert_int_equal(h.opened, 100);
    h2_done(&h);
}

static void H2_12_silent_peer_is_let_go_before_the_handshake(void **state)
{
    struct h2 h = H2_INIT;

    (void)state;
    h2_new(&h, RPC_ROLE_SERVER);
    h2_put(&h, H2_PREFACE, 10);
    h2_go(&h);
    assert_int_equal(rpc_conn_deadline(h.conn), 11000);
    h.now_ms = 11000;
    rpc_conn_tick(h.conn);
    h2_pull(&h);
    assert_non_null(rpc_conn_fault(h.conn));
    assert_true(rpc_conn_is_over(h.conn));
    h2_done(&h);
}

static void H2_12_idle_connection_is_let_go(void **state)
{
    struct h2 h = H2_INIT;

    (void)state;
    h.on_open = finish_ok;
    h2_server(&h);
    h.now_ms += 1000;
    h2_request(&h, 1, H2_END_STREAM, "/a.B/C");
    h2_go(&h);
    h.now_ms += 299999;
    rpc_conn_tick(h.conn);
    h2_pull(&h);
    assert_false(rpc_conn_is_over(h.conn));
    h.now_ms += 1;
    rpc_conn_tick(h.conn);
    h2_pull(&h);
    assert_int_equal(h2_count(&h, H2_GOAWAY), 1);
    assert_true(rpc_conn_is_over(h.conn));
    h2_done(&h);
}

static void keepalive_asks_and_gives_up(void **state)
{
    struct h2 h = H2_INIT;

    (void)state;
    h2_server(&h);
    h2_request(&h, 1, 0, "/a.B/C");
    h2_go(&h);
    h.now_ms += 60000;
    rpc_conn_tick(h.conn);
    h2_pull(&h);
    assert_int_equal(h2_count(&h, H2_PING), 1);
    /* An answer within the same millisecond counts. */
    h2_frame(&h, H2_PING, H2_ACK, 0, "k\0\0\0\0\0\0\0", 8);
    h2_go(&h);
    h.now_ms += 20000;
    rpc_conn_tick(h.conn);
    assert_null(rpc_conn_fault(h.conn));
    h.now_ms += 40000;
    rpc_conn_tick(h.conn);
    h2_pull(&h);
    assert_int_equal(h2_count(&h, H2_PING), 2);
    h.now_ms += 20000;
    rpc_conn_tick(h.conn);
    h2_pull(&h);
    assert_non_null(rpc_conn_fault(h.conn));
    assert_int_equal(h.status.code, RPC_UNAVAILABLE);
    h2_done(&h);
}

static void held_bytes_of_a_connection_are_bounded(void **state)
{
    struct h2 h = H2_INIT;
    static uint8_t data[1 << 20];

    (void)state;
    h.want = false;
    h2_server(&h);
    h.conn->budget.max = 10u << 20;
    for (uint32_t i = 0; i < 50; i++) {
        h2_request(&h, 1 + 2 * i, 0, "/a.B/C");
        for (size_t at = 0; at + 65536 <= sizeof(data); at += 65536)
            h2_frame(&h, H2_DATA, 0, 1 + 2 * i, data + at, 65536);
        h2_go(&h);
        assert_true(h.conn->budget.held <= 10u << 20);
    }
    assert_true(h.closed >= 39);
    assert_int_equal(h.status.code, RPC_RESOURCE_EXHAUSTED);
    assert_null(rpc_conn_fault(h.conn));
    h2_done(&h);
}

/* ----------------------------------------------------------------- H2-13: drain */

static void H2_13_drain_sends_two_goaways_and_lets_calls_finish(void **state)
{
    struct h2 h = H2_INIT;

    (void)state;
    h2_server(&h);
    h2_request(&h, 1, 0, "/a.B/C");
    h2_go(&h);
    rpc_conn_drain(h.conn);
    h2_pull(&h);
    assert_int_equal(h2_count(&h, H2_GOAWAY), 1);
    /* A call that was on its way is taken. */
    h2_request(&h, 3, 0, "/a.B/C");
    h2_frame(&h, H2_PING, H2_ACK, 0, "drain\0\0\0", 8);
    h2_go(&h);
    assert_int_equal(h.opened, 2);
    assert_int_equal(h2_count(&h, H2_GOAWAY), 2);
    /* One after that is not. */
    h2_request(&h, 5, 0, "/a.B/C");
    h2_go(&h);
    assert_int_equal(h.opened, 2);
    assert_false(rpc_conn_is_over(h.conn));
    rpc_call_finish(h.call, RPC_OK, "", NULL);
    h2_pull(&h);
    h2_message(&h, 1, H2_END_STREAM, "late");
    h2_go(&h);
    assert_int_equal(h.messages, 1);
    assert_false(rpc_conn_is_over(h.conn));
    rpc_call_finish(h.conn->calls, RPC_OK, "", NULL);
    h2_pull(&h);
    assert_int_equal(h.closed, 2);
    assert_true(rpc_conn_is_over(h.conn));
    h2_done(&h);
}

static void end_tells_the_peer_of_each_call(void **state)
{
    struct h2 h = H2_INIT;

    (void)state;
    h2_server(&h);
    h2_request(&h, 1, 0, "/a.B/C");
    h2_go(&h);
    rpc_conn_end(h.conn, RPC_UNAVAILABLE, "the server is shutting down");
    h2_pull(&h);
    h2_expect_field(&h, 1, 0, "grpc-status: 14");
    assert_int_equal(h2_count(&h, H2_GOAWAY), 1);
    assert_true(rpc_conn_is_over(h.conn));
    assert_int_equal(h.closed, 1);
    h2_done(&h);
}

/* ------------------------------------------------------------------ rough ends */

static void garbage_instead_of_the_preface_is_refused(void **state)
{
    struct h2 h = H2_INIT;

    (void)state;
    h2_new(&h, RPC_ROLE_SERVER);
    h2_put(&h, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
    h2_go(&h);
    assert_non_null(rpc_conn_fault(h.conn));
    assert_false(rpc_conn_was_abused(h.conn));
    h2_done(&h);
}

static void early_reply_tells_the_peer_to_stop_sending(void **state)
{
    struct h2 h = H2_INIT;

    (void)state;
    h.on_open = finish_ok;
    h2_server(&h);
    h2_request(&h, 1, 0, "/a.B/C");
    h2_go(&h);
    assert_int_equal(h.closed, 1);
    assert_int_equal(h2_code(&h, H2_RST, 1), NGHTTP2_NO_ERROR);
    h2_done(&h);
}

#define ROW(check, row)                       \
    {                                         \
        (row).name, check, NULL, NULL, &(row) \
    }

int main(void)
{
    static struct CMUnitTest tests[128];
    const struct CMUnitTest plain[] = {
        cmocka_unit_test(request_is_delivered_and_answered),
        cmocka_unit_test(ping_is_answered),
        cmocka_unit_test(bytes_one_at_a_time_mean_the_same),
        cmocka_unit_test(unwanted_messages_wait_and_close_the_window),
        cmocka_unit_test(metadata_above_the_limit_is_refused),
        cmocka_unit_test(limit_is_checked_before_a_byte_is_stored),
        cmocka_unit_test(unary_request_without_message_is_internal),
        cmocka_unit_test(unary_request_with_two_messages_is_internal),
        cmocka_unit_test(H2_1_rapid_reset_ends_the_connection),
        cmocka_unit_test(H2_1_streams_that_make_us_reset_count_alike),
        cmocka_unit_test(an_honest_peer_may_cancel_often),
        cmocka_unit_test(H2_2_endless_continuation_ends_the_connection),
        cmocka_unit_test(H2_3_output_for_a_peer_that_does_not_read_is_bounded),
        cmocka_unit_test(small_honest_frames_are_no_flood),
        cmocka_unit_test(H2_4_window_0_and_deadline_frees_the_reply),
        cmocka_unit_test(H2_4_window_0_without_deadline_ends_by_stall),
        cmocka_unit_test(H2_5_indexed_bomb_ends_the_connection),
        cmocka_unit_test(H2_5_table_size_churn_is_harmless),
        cmocka_unit_test(H2_12_streams_above_the_limit_are_refused),
        cmocka_unit_test(H2_12_silent_peer_is_let_go_before_the_handshake),
        cmocka_unit_test(H2_12_idle_connection_is_let_go),
        cmocka_unit_test(keepalive_asks_and_gives_up),
        cmocka_unit_test(held_bytes_of_a_connection_are_bounded),
        cmocka_unit_test(H2_13_drain_sends_two_goaways_and_lets_calls_finish),
        cmocka_unit_test(end_tells_the_peer_of_each_call),
        cmocka_unit_test(garbage_instead_of_the_preface_is_refused),
        cmocka_unit_test(early_reply_tells_the_peer_to_stop_sending),
    };
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        tests[n++] = plain[i];
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        tests[n++] = (struct CMUnitTest)ROW(check_refusal, refusals[i]);
    for (size_t i = 0; i < ARRAY_LEN(messages); i++)
        tests[n++] = (struct CMUnitTest)ROW(check_message, messages[i]);
    for (size_t i = 0; i < ARRAY_LEN(lates); i++)
        tests[n++] = (struct CMUnitTest)ROW(check_late, lates[i]);
    for (size_t i = 0; i < ARRAY_LEN(floods); i++)
        tests[n++] = (struct CMUnitTest)ROW(check_flood, floods[i]);
    for (size_t i = 0; i < ARRAY_LEN(hpacks); i++)
        tests[n++] = (struct CMUnitTest)ROW(check_hpack, hpacks[i]);
    return _cmocka_run_group_tests("rpc/conn", tests, n, NULL, NULL);
}
