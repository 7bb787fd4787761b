/* A client's connection against replies made by hand: case H2-9 and its kin. */

#include "unit/rpc/h2.h"

struct client {
    struct h2 h;
    struct rpc_call *call;
    int initial, messages, closed;
    bool no_want;
    struct rpc_status status;
    size_t trailer_count;
};

static void on_initial(struct rpc_call *c, const struct rpc_md *md, void *ctx)
{
    (void)c;
    (void)md;
    ((struct client *)ctx)->initial++;
}

static void on_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct client *k = ctx;

    (void)body;
    k->messages++;
    if (!k->no_want)
        rpc_call_want(c);
}

static void on_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                      void *ctx)
{
    struct client *k = ctx;

    (void)c;
    k->closed++;
    k->status = *status;
    k->trailer_count = trailers->count;
}

static const struct rpc_call_events events = { .initial = on_initial,
                                               .message = on_message,
                                               .closed = on_closed };

/* A call that has been sent whole, to a server that has begun to speak. */
static void client_open(struct client *k, uint64_t timeout_ms)
{
    struct buf body = BUF_INIT(8);
    struct err e = ERR_INIT;

    k->h = (struct h2)H2_INIT;
    h2_new(&k->h, RPC_ROLE_CLIENT);
    h2_frame(&k->h, H2_SETTINGS, 0, 0, NULL, 0);
    h2_frame(&k->h, H2_SETTINGS, H2_ACK, 0, NULL, 0);
    h2_go(&k->h);
    assert_true(rpc_conn_call(k->h.conn, "/a.B/C", NULL, timeout_ms, &events, k, &k->call, &e));
    assert_true(buf_append_str(&body, "hi", &e));
    assert_true(rpc_call_send(k->call, &body, &e));
    rpc_call_send_end(k->call);
    rpc_call_want(k->call);
    h2_go(&k->h);
    buf_consume(&k->h.out, k->h.out.len);
}

static void client_done(struct client *k)
{
    h2_done(&k->h);
    assert_int_equal(k->closed, 1);
}

#define OK_HEAD                                                    \
    {                                                              \
        ":status", "200", "content-type", "application/grpc", NULL \
    }

static struct reply {
    const char *name;
    const char *head[12]; /* first block; [0] NULL: none      */
    bool head_ends;       /* trailers-only                    */
    struct slice data;    /* NULL: none                       */
    bool data_ends;
    const char *trailers[12]; /* [0] NULL: none                   */
    int reset;                /* HTTP/2 code, -1: none            */
    enum rpc_code want;
    const char *text; /* NULL: any                        */
    int want_messages;
} replies[] = {
    { "whole_reply_is_ok",
      OK_HEAD,
      false,
      SLICE_LIT("\0\0\0\0\1x"),
      false,
      { "grpc-status", "0", NULL },
      -1,
      RPC_OK,
      "",
      1 },
    { "H2_9_trailers_only_reply",
      { ":status", "200", "content-type", "application/grpc", "grpc-status", "5", "grpc-message",
        "no%20such%C3%A9", NULL },
      true,
      { NULL, 0 },
      false,
      { NULL },
      -1,
      RPC_NOT_FOUND,
      "no such\xc3\xa9",
      0 },
    { "H2_9_message_with_invalid_utf8_is_mended",
      OK_HEAD,
      false,
      { NULL, 0 },
      false,
      { "grpc-status", "9", "grpc-message", "a%FFb", NULL },
      -1,
      RPC_FAILED_PRECONDITION,
      "a\xef\xbf\xbd"
      "b",
      0 },
    { "H2_9_no_trailers_is_internal",
      OK_HEAD,
      false,
      SLICE_LIT("\0\0\0\0\1x"),
      true,
      { NULL },
      -1,
      RPC_INTERNAL,
      "server closed the stream without sending trailers",
      1 },
    { "H2_9_trailers_without_status_are_unknown",
      OK_HEAD,
      false,
      { NULL, 0 },
      false,
      { "a", "b", NULL },
      -1,
      RPC_UNKNOWN,
      NULL,
      0 },
    { "H2_9_status_that_is_no_number_is_unknown",
      OK_HEAD,
      false,
      { NULL, 0 },
      false,
      { "grpc-status", "ok", NULL },
      -1,
      RPC_UNKNOWN,
      "malformed grpc-status",
      0 },
    { "H2_9_status_above_16_is_unknown_and_keeps_its_text",
      OK_HEAD,
      false,
      { NULL, 0 },
      false,
      { "grpc-status", "77", "grpc-message", "odd", NULL },
      -1,
      RPC_UNKNOWN,
      "odd",
      0 },
    { "H2_9_same_status_twice_is_one",
      OK_HEAD,
      false,
      { NULL, 0 },
      false,
      { "grpc-status", "5", "grpc-status", "5", NULL },
      -1,
      RPC_NOT_FOUND,
      NULL,
      0 },
    { "H2_9_two_statuses_that_differ_are_unknown",
      OK_HEAD,
      false,
      { NULL, 0 },
      false,
      { "grpc-status", "0", "grpc-status", "5", NULL },
      -1,
      RPC_UNKNOWN,
      "malformed grpc-status",
      0 },
    { "H2_9_early_trailers_cut_a_message",
      OK_HEAD,
      false,
      SLICE_LIT("\0\0\0\0\5x"),
      false,
      { "grpc-status", "0", NULL },
      -1,
      RPC_INTERNAL,
      "the reply ended inside a message",
      0 },
    { "H2_9_early_trailers_with_a_fault_keep_it",
      OK_HEAD,
      false,
      SLICE_LIT("\0\0\0\0\5x"),
      false,
      { "grpc-status", "7", NULL },
      -1,
      RPC_PERMISSION_DENIED,
      NULL,
      0 },
    { "H2_9_http_503_is_unavailable",
      { ":status", "503", "content-type", "text/html", NULL },
      true,
      { NULL, 0 },
      false,
      { NULL },
      -1,
      RPC_UNAVAILABLE,
      NULL,
      0 },
    { "H2_9_http_404_with_a_body_is_unimplemented",
      { ":status", "404", "content-type", "text/html", NULL },
      false,
      SLICE_LIT("<html>"),
      true,
      { NULL },
      -1,
      RPC_UNIMPLEMENTED,
      NULL,
      0 },
    { "H2_9_grpc_status_wins_over_http_status",
      { ":status", "400", "content-type", "application/grpc", "grpc-status", "13", "grpc-message", "x",
        NULL },
      true,
      { NULL, 0 },
      false,
      { NULL },
      -1,
      RPC_INTERNAL,
      "x",
      0 },
    { "other_content_type_is_unknown",
      { ":status", "200", "content-type", "text/plain", NULL },
      false,
      { NULL, 0 },
      false,
      { NULL },
      -1,
      RPC_UNKNOWN,
      "transport: received unexpected content-type \"text/plain\"",
      0 },
    { "interim_reply_is_passed_over",
      { ":status", "103", NULL },
      false,
      { NULL, 0 },
      false,
      { ":status", "200", "content-type", "application/grpc", "grpc-status", "0", NULL },
      -1,
      RPC_OK,
      NULL,
      0 },
    { "reset_refused_is_unavailable",
      OK_HEAD,
      false,
      { NULL, 0 },
      false,
      { NULL },
      NGHTTP2_REFUSED_STREAM,
      RPC_UNAVAILABLE,
      NULL,
      0 },
    { "reset_cancel_is_cancelled",
      OK_HEAD,
      false,
      { NULL, 0 },
      false,
      { NULL },
      NGHTTP2_CANCEL,
      RPC_CANCELLED,
      NULL,
      0 },
    { "reset_calm_is_exhausted",
      OK_HEAD,
      false,
      { NULL, 0 },
      false,
      { NULL },
      NGHTTP2_ENHANCE_YOUR_CALM,
      RPC_RESOURCE_EXHAUSTED,
      NULL,
      0 },
    { "reset_without_error_is_internal",
      OK_HEAD,
      false,
      { NULL, 0 },
      false,
      { NULL },
      NGHTTP2_NO_ERROR,
      RPC_INTERNAL,
      NULL,
      0 },
    { "data_before_headers_is_internal",
      { ":status", "103", NULL },
      false,
      SLICE_LIT("\0\0\0\0\1x"),
      false,
      { NULL },
      -1,
      RPC_INTERNAL,
      NULL,
      0 },
    { "pseudo_header_in_trailers_is_internal",
      OK_HEAD,
      false,
      { NULL, 0 },
      false,
      { ":status", "200", "grpc-status", "0", NULL },
      -1,
      RPC_INTERNAL,
      NULL,
      0 },
    { "unknown_encoding_is_internal",
      { ":status", "200", "content-type", "application/grpc", "grpc-encoding", "br", NULL },
      false,
      { NULL, 0 },
      false,
      { NULL },
      -1,
      RPC_INTERNAL,
      NULL,
      0 },
    { "H2_7_message_above_the_limit_is_exhausted",
      OK_HEAD,
      false,
      SLICE_LIT("\0\0\x40\0\1"),
      false,
      { NULL },
      -1,
      RPC_RESOURCE_EXHAUSTED,
      "grpc: received message larger than max (4194305 vs. 4194304)",
      0 },
};

static void check_reply(void **state)
{
    const struct reply *r = *state;
    struct client k = { 0 };
    uint8_t code[4] = { 0, 0, 0, (uint8_t)r->reset };

    client_open(&k, 0);
    if (r->head[0])
        h2_headers(&k.h, 1, r->head_ends ? H2_END_STREAM : 0, r->head);
    if (r->data.at)
        h2_frame(&k.h, H2_DATA, r->data_ends ? H2_END_STREAM : 0, 1, r->data.at, r->data.len);
    if (r->trailers[0])
        h2_headers(&k.h, 1, H2_END_STREAM, r->trailers);
    if (r->reset >= 0)
        h2_frame(&k.h, H2_RST, 0, 1, code, sizeof(code));
    h2_go(&k.h);
    assert_int_equal(k.closed, 1);
    if (r->text)
        assert_string_equal(k.status.message, r->text);
    assert_int_equal(k.status.code, r->want);
    assert_int_equal(k.messages, r->want_messages);
    assert_null(rpc_conn_fault(k.h.conn));
    assert_int_equal(rpc_conn_call_count(k.h.conn), 0);
    client_done(&k);
}

static void second_reply_header_block_is_internal(void **state)
{
    static const char *const head[] = OK_HEAD;
    struct client k = { 0 };

    (void)state;
    client_open(&k, 0);
    h2_headers(&k.h, 1, 0, head);
    h2_headers(&k.h, 1, 0, head);
    h2_go(&k.h);
    assert_int_equal(k.initial, 1);
    assert_int_equal(k.status.code, RPC_INTERNAL);
    client_done(&k);
}

static void messages_are_taken_before_the_end_is_told(void **state)
{
    static const char *const head[] = OK_HEAD;
    static const char *const end[] = { "grpc-status", "0", "t", "1", NULL };
    struct client k = { .no_want = true };

    (void)state;
    client_open(&k, 0);
    h2_headers(&k.h, 1, 0, head);
    h2_message(&k.h, 1, 0, "a");
    h2_message(&k.h, 1, 0, "b");
    h2_headers(&k.h, 1, H2_END_STREAM, end);
    h2_go(&k.h);
    assert_int_equal(k.messages, 1);
    assert_int_equal(k.closed, 0);
    rpc_call_want(k.call);
    assert_int_equal(k.messages, 1); /* never from within */
    h2_go(&k.h);
    assert_int_equal(k.messages, 2);
    assert_int_equal(k.closed, 1);
    assert_int_equal(k.status.code, RPC_OK);
    assert_int_equal(k.trailer_count, 1);
    client_done(&k);
}

static void messages_that_came_survive_a_lost_connection(void **state)
{
    static const char *const head[] = OK_HEAD;
    static const char *const end[] = { "grpc-status", "0", NULL };
    struct client k = { .no_want = true };
    struct err why = ERR_INIT;

    (void)state;
    client_open(&k, 0);
    h2_headers(&k.h, 1, 0, head);
    h2_message(&k.h, 1, 0, "a");
    h2_message(&k.h, 1, 0, "b");
    h2_headers(&k.h, 1, H2_END_STREAM, end);
    h2_go(&k.h);
    err_fail(&why, ERR_KIND_UNAVAILABLE, "the line is cut");
    rpc_conn_fail(k.h.conn, &why);
    h2_pull(&k.h);
    assert_int_equal(k.closed, 0);
    rpc_call_want(k.call);
    h2_pull(&k.h);
    assert_int_equal(k.messages, 2);
    assert_int_equal(k.status.code, RPC_OK);
    client_done(&k);
}

static void deadline_does_not_wait_for_messages(void **state)
{
    static const char *const head[] = OK_HEAD;
    struct client k = { .no_want = true };

    (void)state;
    client_open(&k, 500);
    h2_headers(&k.h, 1, 0, head);
    h2_message(&k.h, 1, 0, "a");
    h2_message(&k.h, 1, 0, "b");
    h2_go(&k.h);
    k.h.now_ms += 499;
    rpc_conn_tick(k.h.conn);
    h2_pull(&k.h);
    assert_int_equal(k.closed, 0);
    assert_true(rpc_conn_deadline(k.h.conn) == k.h.now_ms + 1);
    k.h.now_ms += 1;
    rpc_conn_tick(k.h.conn);
    h2_pull(&k.h);
    assert_int_equal(k.closed, 1);
    assert_int_equal(k.status.code, RPC_DEADLINE_EXCEEDED);
    assert_int_equal(h2_code(&k.h, H2_RST, 1), NGHTTP2_CANCEL);
    client_done(&k);
}

static void request_carries_what_grpc_wants(void **state)
{
    struct h2 h = H2_INIT;
    struct client k = { 0 };
    struct rpc_md md = RPC_MD_INIT;
    struct err e = ERR_INIT;

    (void)state;
    h2_new(&h, RPC_ROLE_CLIENT);
    assert_true(rpc_md_add(&md, "sig-bin", slice_of("\0\xff", 2), &e));
    assert_true(rpc_conn_call(h.conn, "/a.B/C", &md, 1500, &events, &k, &k.call, &e));
    h2_pull(&h);
    assert_memory_equal(buf_slice(&h.out).at, H2_PREFACE, strlen(H2_PREFACE));
    buf_consume(&h.out, strlen(H2_PREFACE));
    h2_expect_field(&h, 1, 0, ":method: POST\n");
    h2_expect_field(&h, 1, 0, ":path: /a.B/C\n");
    h2_expect_field(&h, 1, 0, ":scheme: http\n");
    h2_expect_field(&h, 1, 0, "content-type: application/grpc\n");
    h2_expect_field(&h, 1, 0, "te: trailers\n");
    h2_expect_field(&h, 1, 0, "grpc-timeout: 1500m\n");
    h2_expect_field(&h, 1, 0, "sig-bin: AP8\n");
    rpc_md_done(&md);
    h2_done(&h);
    assert_int_equal(k.closed, 1);
}

static void goaway_refuses_calls_not_begun_and_lets_others_end(void **state)
{
    static const char *const only[] = { ":status", "200", "content-type", "application/grpc", "grpc-status",
                                        "0",       NULL };
    struct client a = { 0 };
    struct client b = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    client_open(&a, 0);
    assert_true(rpc_conn_call(a.h.conn, "/a.B/C", NULL, 0, &events, &b, &b.call, &e));
    h2_pull(&a.h);
    h2_frame(&a.h, H2_GOAWAY, 0, 0, "\0\0\0\1\0\0\0\0", 8); /* stream 1 is the last that counts */
    h2_go(&a.h);
    assert_false(rpc_conn_takes_calls(a.h.conn));
    assert_int_equal(b.closed, 1);
    assert_int_equal(b.status.code, RPC_UNAVAILABLE);
    assert_int_equal(a.closed, 0);
    assert_false(rpc_conn_is_over(a.h.conn));
    h2_headers(&a.h, 1, H2_END_STREAM, only);
    h2_go(&a.h);
    assert_int_equal(a.closed, 1);
    assert_int_equal(a.status.code, RPC_OK);
    assert_true(rpc_conn_is_over(a.h.conn));
    client_done(&a);
}

static void http_1_server_is_named(void **state)
{
    struct client k = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    k.h = (struct h2)H2_INIT;
    h2_new(&k.h, RPC_ROLE_CLIENT);
    assert_true(rpc_conn_call(k.h.conn, "/a.B/C", NULL, 0, &events, &k, &k.call, &e));
    h2_put(&k.h, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    h2_go(&k.h);
    assert_int_equal(k.status.code, RPC_UNAVAILABLE);
    assert_non_null(strstr(k.status.message, "HTTP/1"));
    client_done(&k);
}

static void pushed_stream_is_refused(void **state)
{
    uint8_t block[200] = { 0, 0, 0, 2 };
    size_t len = 4;
    struct client k = { 0 };

    (void)state;
    client_open(&k, 0);
    len += h2_field(block + len, ":path", "/x");
    h2_frame(&k.h, H2_PUSH, H2_END_HEADERS, 1, block, len);
    h2_go(&k.h);
    assert_non_null(rpc_conn_fault(k.h.conn));
    assert_int_equal(k.status.code, RPC_UNAVAILABLE);
    client_done(&k);
}

int main(void)
{
    static struct CMUnitTest tests[ARRAY_LEN(replies) + 9] = {
        cmocka_unit_test(second_reply_header_block_is_internal),
        cmocka_unit_test(messages_are_taken_before_the_end_is_told),
        cmocka_unit_test(messages_that_came_survive_a_lost_connection),
        cmocka_unit_test(deadline_does_not_wait_for_messages),
        cmocka_unit_test(request_carries_what_grpc_wants),
        cmocka_unit_test(goaway_refuses_calls_not_begun_and_lets_others_end),
        cmocka_unit_test(http_1_server_is_named),
        cmocka_unit_test(pushed_stream_is_refused),
    };
    size_t n = 8;

    for (size_t i = 0; i < ARRAY_LEN(replies); i++)
        tests[n++] = (struct CMUnitTest){ replies[i].name, check_reply, NULL, NULL, &replies[i] };
    return _cmocka_run_group_tests("rpc/reply", tests, n, NULL, NULL);
}
