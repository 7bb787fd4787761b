#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cvms/wire.h"
#include "proto/pb.h"

#define WIRE_MAX ((size_t)8 * 1024 * 1024)

/* A request whose serialized form has exactly len bytes; the description pads it. */
static void init_of_len(struct cvms_wire *w, Cvms__ComputationRunReq *req, char **pad, size_t len,
                        bool unchunked)
{
    struct err e = ERR_INIT;
    size_t guess = len;

    cvms__computation_run_req__init(req);
    req->id = (char *)"c1";
    *pad = mem_new(len + 1, &e);
    assert_non_null(*pad);
    for (;;) {
        memset(*pad, 0, len + 1);
        memset(*pad, 'x', guess);
        req->description = *pad;
        if (cvms__computation_run_req__get_packed_size(req) <= len)
            break;
        guess--;
    }
    assert_int_equal(cvms__computation_run_req__get_packed_size(req), len);
    assert_true(cvms_wire_init(w, req, unchunked, &e));
}

static Cvms__ServerStreamMessage *decode(struct buf *m)
{
    struct err e = ERR_INIT;
    ProtobufCMessage *msg = pb_decode(&cvms__server_stream_message__descriptor, buf_slice(m), NULL, &e);

    assert_non_null(msg);
    buf_done(m);
    return (Cvms__ServerStreamMessage *)msg;
}

static struct chunk_case {
    const char *name;
    size_t len;
    size_t count; /* of messages, with the empty last one */
} cases[] = {
    { "small_request_is_two_messages", 300, 2 },
    { "request_one_byte_below_a_piece", CVMS_CHUNK_LEN - 1, 2 },
    { "request_of_one_piece", CVMS_CHUNK_LEN, 2 },
    { "request_one_byte_above_a_piece", CVMS_CHUNK_LEN + 1, 3 },
    { "request_of_three_pieces", 3 * CVMS_CHUNK_LEN, 4 },
};

static void check_chunks(void **state)
{
    const struct chunk_case *c = *state;
    CLEANUP(buf_done) struct buf whole = BUF_INIT(WIRE_MAX);
    CLEANUP(mem_done) char *pad = NULL;
    Cvms__ComputationRunReq req;
    struct cvms_wire w;
    struct err e = ERR_INIT;

    init_of_len(&w, &req, &pad, c->len, false);
    assert_int_equal(cvms_wire_count(&w), c->count);
    for (size_t i = 0; i < c->count; i++) {
        struct buf m = BUF_INIT(0);
        Cvms__ServerStreamMessage *msg;

        assert_true(cvms_wire_part(&w, i, &m, &e));
        msg = decode(&m);
        assert_int_equal(msg->message_case, CVMS__SERVER_STREAM_MESSAGE__MESSAGE_RUN_REQ_CHUNKS);
        assert_string_equal(msg->runreqchunks->id, "c1");
        assert_int_equal(msg->runreqchunks->is_last, i + 1 == c->count);
        assert_int_equal(msg->runreqchunks->data.len == 0, i + 1 == c->count);
        assert_true(buf_append(&whole, pb_slice(msg->runreqchunks->data), &e));
        pb_free(&msg->base);
    }
    assert_true(slice_equal(buf_slice(&whole), buf_slice(&w.request)));
    cvms_wire_done(&w);
}

static void unchunked_request_is_one_run_req(void **state)
{
    CLEANUP(mem_done) char *pad = NULL;
    Cvms__ComputationRunReq req;
    Cvms__ServerStreamMessage *msg;
    struct buf m = BUF_INIT(0);
    struct cvms_wire w;
    struct err e = ERR_INIT;

    (void)state;
    init_of_len(&w, &req, &pad, CVMS_CHUNK_LEN + 5, true);
    assert_int_equal(cvms_wire_count(&w), 1);
    assert_true(cvms_wire_part(&w, 0, &m, &e));
    msg = decode(&m);
    assert_int_equal(msg->message_case, CVMS__SERVER_STREAM_MESSAGE__MESSAGE_RUN_REQ);
    assert_string_equal(msg->runreq->description, pad);
    pb_free(&msg->base);
    cvms_wire_done(&w);
}

static void stop_state_and_disconnect_carry_the_id(void **state)
{
    CLEANUP(mem_done) char *pad = NULL;
    Cvms__ComputationRunReq req;
    Cvms__ServerStreamMessage *msg;
    struct buf m = BUF_INIT(0);
    struct cvms_wire w;
    struct err e = ERR_INIT;

    (void)state;
    init_of_len(&w, &req, &pad, 50, false);
    assert_true(cvms_wire_stop(&w, &m, &e));
    msg = decode(&m);
    assert_int_equal(msg->message_case, CVMS__SERVER_STREAM_MESSAGE__MESSAGE_STOP_COMPUTATION);
    assert_string_equal(msg->stopcomputation->computation_id, "c1");
    pb_free(&msg->base);

    assert_true(cvms_wire_ask_state(&w, &m, &e));
    msg = decode(&m);
    assert_int_equal(msg->message_case, CVMS__SERVER_STREAM_MESSAGE__MESSAGE_AGENT_STATE_REQ);
    assert_string_equal(msg->agentstatereq->id, "c1");
    pb_free(&msg->base);

    assert_true(cvms_wire_disconnect(&w, &m, &e));
    msg = decode(&m);
    assert_int_equal(msg->message_case, CVMS__SERVER_STREAM_MESSAGE__MESSAGE_DISCONNECT_REQ);
    assert_string_equal(msg->disconnectreq->id, "c1");
    pb_free(&msg->base);
    cvms_wire_done(&w);
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(unchunked_request_is_one_run_req),
        cmocka_unit_test(stop_state_and_disconnect_carry_the_id),
    };
    struct CMUnitTest tests[ARRAY_LEN(cases) + ARRAY_LEN(single)];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        tests[i] = (struct CMUnitTest){ cases[i].name, check_chunks, NULL, NULL, &cases[i] };
    memcpy(tests + ARRAY_LEN(cases), single, sizeof(single));
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
