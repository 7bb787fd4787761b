#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "proto/cvms.pb-c.h"
#include "proto/pb.h"
#include "proto/reflection_v1.pb-c.h"

#define WIRE_MAX ((size_t)8 * 1024 * 1024)

/* ----------------------------------------------------- one message, one verdict */

static struct decode_case {
    const char *name;
    const ProtobufCMessageDescriptor *type;
    struct slice wire;
    enum err_kind want; /* NONE: it decodes */
    const char *text;   /* part of the error */
} decode_cases[] = {
    { "empty_message_decodes", &cvms__dataset__descriptor, SLICE_LIT(""), ERR_KIND_NONE, NULL },
    { "whole_string_decodes", &cvms__dataset__descriptor,
      SLICE_LIT("\x1a\x03"
                "a.b"),
      ERR_KIND_NONE, NULL },
    { "tag_without_value_invalid", &cvms__dataset__descriptor, SLICE_LIT("\x1a"), ERR_KIND_INVALID,
      "cvms.Dataset.filename has a cut or overlong length" },
    { "string_cut_invalid", &cvms__dataset__descriptor,
      SLICE_LIT("\x1a\x03"
                "a."),
      ERR_KIND_INVALID, "cvms.Dataset.filename is longer than its message" },
    { "trailing_byte_invalid", &cvms__dataset__descriptor,
      SLICE_LIT("\x1a\x01"
                "a\x80"),
      ERR_KIND_INVALID, "cvms.Dataset: a field's tag is cut or overlong" },
    { "PB_3_length_of_4_gib_invalid", &cvms__dataset__descriptor,
      SLICE_LIT("\x0a\xff\xff\xff\xff\x0f"
                "x"),
      ERR_KIND_INVALID, "cvms.Dataset.hash is longer than its message" },
    { "PB_3_length_of_64_bits_invalid", &cvms__dataset__descriptor,
      SLICE_LIT("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                "x"),
      ERR_KIND_INVALID, "cut or overlong length" },
    { "PB_3_tag_of_six_bytes_invalid", &cvms__dataset__descriptor, SLICE_LIT("\x9a\x80\x80\x80\x80\x00\x00"),
      ERR_KIND_INVALID, "tag is cut or overlong" },
    { "PB_3_varint_of_ten_bytes_decodes", &cvms__dataset__descriptor,
      SLICE_LIT("\x28\x81\x80\x80\x80\x80\x80\x80\x80\x80\x00"), ERR_KIND_NONE, NULL },
    { "PB_3_varint_of_eleven_bytes_invalid", &cvms__dataset__descriptor,
      SLICE_LIT("\x28\x81\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"), ERR_KIND_INVALID,
      "cvms.Dataset.decompress has a cut or overlong varint" },
    { "PB_3_varint_above_64_bits_invalid", &cvms__dataset__descriptor,
      SLICE_LIT("\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), ERR_KIND_INVALID, "overlong varint" },
    { "PB_3_group_invalid", &cvms__dataset__descriptor, SLICE_LIT("\x1b\x1c"), ERR_KIND_INVALID,
      "cvms.Dataset.filename is a group" },
    { "PB_3_unknown_group_invalid", &cvms__dataset__descriptor, SLICE_LIT("\xa3\x06\xa4\x06"),
      ERR_KIND_INVALID, "cvms.Dataset field 100 is a group" },
    { "PB_3_group_end_invalid", &cvms__dataset__descriptor, SLICE_LIT("\x1c"), ERR_KIND_INVALID,
      "is a group" },
    { "wire_type_6_invalid", &cvms__dataset__descriptor, SLICE_LIT("\x1e\x00"), ERR_KIND_INVALID,
      "cvms.Dataset.filename has an unknown wire type" },
    { "wire_type_7_invalid", &cvms__dataset__descriptor, SLICE_LIT("\x1f\x00"), ERR_KIND_INVALID,
      "unknown wire type" },
    { "field_number_0_invalid", &cvms__dataset__descriptor, SLICE_LIT("\x02\x00"), ERR_KIND_INVALID,
      "field number 0" },
    { "varint_for_string_invalid", &cvms__dataset__descriptor, SLICE_LIT("\x18\x01"), ERR_KIND_INVALID,
      "cvms.Dataset.filename has the wrong wire type" },
    { "string_for_bool_invalid", &cvms__dataset__descriptor, SLICE_LIT("\x2a\x01\x01"), ERR_KIND_INVALID,
      "cvms.Dataset.decompress has the wrong wire type" },
    { "fixed32_for_message_invalid", &cvms__dataset__descriptor, SLICE_LIT("\x25\0\0\0\0"), ERR_KIND_INVALID,
      "cvms.Dataset.source has the wrong wire type" },
    { "fixed32_cut_invalid", &cvms__dataset__descriptor, SLICE_LIT("\x25\0\0\0"), ERR_KIND_INVALID,
      "cvms.Dataset.source is cut" },
    { "fixed64_cut_invalid", &cvms__dataset__descriptor, SLICE_LIT("\xa1\x06\0\0\0\0\0\0\0"),
      ERR_KIND_INVALID, "cvms.Dataset field 100 is cut" },
    { "PB_4_lone_continuation_invalid", &cvms__dataset__descriptor, SLICE_LIT("\x1a\x01\x80"),
      ERR_KIND_INVALID, "cvms.Dataset.filename is not UTF-8" },
    { "PB_4_overlong_slash_invalid", &cvms__dataset__descriptor, SLICE_LIT("\x1a\x02\xc0\xaf"),
      ERR_KIND_INVALID, "is not UTF-8" },
    { "PB_4_surrogate_invalid", &cvms__dataset__descriptor, SLICE_LIT("\x1a\x03\xed\xa0\x80"),
      ERR_KIND_INVALID, "is not UTF-8" },
    { "PB_4_nested_string_invalid", &cvms__computation_run_req__descriptor, SLICE_LIT("\x22\x03\x1a\x01\xff"),
      ERR_KIND_INVALID, "cvms.Dataset.filename is not UTF-8" },
    { "PB_4_repeated_string_invalid", &cvms__algorithm__descriptor,
      SLICE_LIT("\x2a\x01"
                "a\x2a\x01\xff"),
      ERR_KIND_INVALID, "cvms.Algorithm.algo_args is not UTF-8" },
    { "string_with_zero_byte_invalid", &cvms__dataset__descriptor,
      SLICE_LIT("\x1a\x03"
                "a\0b"),
      ERR_KIND_INVALID, "cvms.Dataset.filename has a zero byte" },
    { "bytes_of_any_kind_decode", &cvms__dataset__descriptor, SLICE_LIT("\x0a\x03\xff\x00\x80"),
      ERR_KIND_NONE, NULL },
    { "nested_message_longer_than_parent_invalid", &cvms__computation_run_req__descriptor,
      SLICE_LIT("\x2a\x05\x0a\x01"
                "a"),
      ERR_KIND_INVALID, "cvms.ComputationRunReq.algorithm is longer than its message" },
    { "nested_field_leaves_its_message_invalid", &cvms__computation_run_req__descriptor,
      SLICE_LIT("\x2a\x03\x0a\x02"
                "ab"),
      ERR_KIND_INVALID, "cvms.Algorithm.hash is longer than its message" },
    { "packed_int32_decodes", &grpc__reflection__v1__extension_number_response__descriptor,
      SLICE_LIT("\x12\x03\x01\x80\x01"), ERR_KIND_NONE, NULL },
    { "unpacked_int32_decodes", &grpc__reflection__v1__extension_number_response__descriptor,
      SLICE_LIT("\x10\x01\x10\x02"), ERR_KIND_NONE, NULL },
    { "packed_int32_cut_invalid", &grpc__reflection__v1__extension_number_response__descriptor,
      SLICE_LIT("\x12\x02\x01\x80"), ERR_KIND_INVALID,
      "ExtensionNumberResponse.extension_number has a cut or overlong element" },
    { "PB_5_unknown_varint_skipped", &cvms__dataset__descriptor, SLICE_LIT("\xa0\x06\x01"), ERR_KIND_NONE,
      NULL },
    { "PB_5_unknown_oneof_arm_decodes", &cvms__server_stream_message__descriptor,
      SLICE_LIT("\xa2\x06\x02\x0a\x00"), ERR_KIND_NONE, NULL },
};

static void check_decode(void **state)
{
    const struct decode_case *c = *state;
    struct err e = ERR_INIT;
    ProtobufCMessage *m = pb_decode(c->type, c->wire, NULL, &e);

    if (c->want == ERR_KIND_NONE && !m)
        fail_msg("did not decode: %s", err_text(&e));
    if (c->want != ERR_KIND_NONE) {
        assert_null(m);
        assert_int_equal(e.kind, c->want);
        if (!strstr(err_text(&e), c->text))
            fail_msg("'%s' does not say '%s'", err_text(&e), c->text);
    }
    pb_free(m);
}

/* -------------------------------------------------------------------- limits */

/* depth messages of DescriptorProto in one another, the innermost empty; written from the back. */
static void build_nested(struct buf *out, size_t depth)
{
    struct err e = ERR_INIT;
    uint8_t *all = mem_new(WIRE_MAX, &e);
    size_t start = WIRE_MAX;

    assert_non_null(all);
    for (size_t i = 1; i < depth; i++) {
        uint8_t prefix[6] = { 3 << 3 | 2 }; /* nested_type */
        size_t len = WIRE_MAX - start;
        size_t n = 1;

        do {
            prefix[n++] = (uint8_t)((len & 0x7f) | (len > 0x7f ? 0x80 : 0));
            len >>= 7;
        } while (len);
        assert_true(start >= n);
        start -= n;
        memcpy(all + start, prefix, n);
    }
    assert_true(buf_append(out, slice_of(all + start, WIRE_MAX - start), &e));
    mem_free(all);
}

static void PB_3_depth_at_limit_decodes_one_more_is_refused(void **state)
{
    (void)state;
    const struct pb_limits limits = { .depth = 3 };

    for (size_t depth = 1; depth <= 5; depth++) {
        CLEANUP(buf_done) struct buf wire = BUF_INIT(WIRE_MAX);
        struct err e = ERR_INIT;

        build_nested(&wire, depth);
        ProtobufCMessage *m = pb_decode(&google__protobuf__descriptor_proto__descriptor, buf_slice(&wire),
                                        &limits, &e);

        assert_int_equal(m != NULL, depth <= 3);
        if (!m) {
            assert_int_equal(e.kind, ERR_KIND_LIMIT);
            assert_string_equal(err_text(&e), "google.protobuf.DescriptorProto.nested_type is nested deeper "
                                              "than 3 messages");
        }
        pb_free(m);
    }
}

static void PB_3_100000_nested_messages_are_refused(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf wire = BUF_INIT(WIRE_MAX);
    struct err e = ERR_INIT;

    build_nested(&wire, 100000);
    assert_null(pb_decode(&google__protobuf__descriptor_proto__descriptor, buf_slice(&wire), NULL, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
    assert_non_null(strstr(err_text(&e), "deeper than 16 messages"));
}

static void fill(struct buf *out, struct slice unit, size_t count)
{
    struct err e = ERR_INIT;

    for (size_t i = 0; i < count; i++)
        assert_true(buf_append(out, unit, &e));
}

static void PB_3_elements_at_limit_decode_one_more_is_refused(void **state)
{
    (void)state;
    struct slice empty_dataset = SLICE_LIT("\x22\x00");

    for (size_t over = 0; over <= 1; over++) {
        CLEANUP(buf_done) struct buf wire = BUF_INIT(WIRE_MAX);
        struct err e = ERR_INIT;

        fill(&wire, empty_dataset, 65536 + over);
        ProtobufCMessage *m = pb_decode(&cvms__computation_run_req__descriptor, buf_slice(&wire), NULL, &e);

        assert_int_equal(m != NULL, !over);
        if (!m) {
            assert_int_equal(e.kind, ERR_KIND_LIMIT);
            assert_string_equal(err_text(&e), "cvms.ComputationRunReq: more than 65536 fields in "
                                              "one message");
        }
        pb_free(m);
    }
}

static void PB_3_packed_elements_count_one_by_one(void **state)
{
    (void)state;
    const struct pb_limits limits = { .elements = 5 };

    /* The field itself and its elements: five are just right, six too many. */
    for (size_t count = 4; count <= 5; count++) {
        CLEANUP(buf_done) struct buf wire = BUF_INIT(64);
        struct err e = ERR_INIT;

        assert_true(buf_append_u8(&wire, 0x12, &e));
        assert_true(buf_append_u8(&wire, (uint8_t)count, &e));
        fill(&wire, slice_of_str("\x01"), count);
        ProtobufCMessage *m = pb_decode(&grpc__reflection__v1__extension_number_response__descriptor,
                                        buf_slice(&wire), &limits, &e);

        assert_int_equal(m != NULL, count == 4);
        if (!m)
            assert_int_equal(e.kind, ERR_KIND_LIMIT);
        pb_free(m);
    }
}

static void PB_3_unknown_fields_count(void **state)
{
    (void)state;
    const struct pb_limits limits = { .elements = 2 };
    struct slice three_unknown = SLICE_LIT("\xa0\x06\x01\xa0\x06\x01\xa0\x06\x01");
    struct err e = ERR_INIT;

    assert_null(pb_decode(&cvms__dataset__descriptor, three_unknown, &limits, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
}

/* ------------------------------------------------------------------ contents */

static void PB_5_unknown_fields_are_dropped_in_every_message(void **state)
{
    (void)state;
    /* ComputationRunReq { id "c"; datasets { filename "f"; 100: 1 }; algorithm { 101: "xx" }; 102: fixed32 } */
    struct slice wire = SLICE_LIT("\x0a\x01"
                                  "c"
                                  "\x22\x06\x1a\x01"
                                  "f\xa0\x06\x01"
                                  "\x2a\x05\xaa\x06\x02xx"
                                  "\xb5\x06\0\0\0\0");
    struct slice known = SLICE_LIT("\x0a\x01"
                                   "c\x22\x03\x1a\x01"
                                   "f\x2a\x00");
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf again = BUF_INIT(1024);
    CLEANUP(pb_done)
    Cvms__ComputationRunReq *req = (Cvms__ComputationRunReq *)pb_decode(
        &cvms__computation_run_req__descriptor, wire, NULL, &e);

    assert_non_null(req);
    assert_int_equal(req->base.n_unknown_fields, 0);
    assert_int_equal(req->n_datasets, 1);
    assert_int_equal(req->datasets[0]->base.n_unknown_fields, 0);
    assert_int_equal(req->algorithm->base.n_unknown_fields, 0);
    assert_true(pb_encode(&req->base, &again, &e));
    assert_true(slice_equal(buf_slice(&again), known));
}

static void PB_5_unknown_oneof_arm_leaves_the_oneof_unset(void **state)
{
    (void)state;
    struct slice wire = SLICE_LIT("\xa2\x06\x02\x0a\x00");
    struct err e = ERR_INIT;
    CLEANUP(pb_done)
    Cvms__ServerStreamMessage *m = (Cvms__ServerStreamMessage *)pb_decode(
        &cvms__server_stream_message__descriptor, wire, NULL, &e);

    assert_non_null(m);
    assert_int_equal(m->message_case, CVMS__SERVER_STREAM_MESSAGE__MESSAGE__NOT_SET);
    assert_int_equal(m->base.n_unknown_fields, 0);
}

static void unknown_fields_are_dropped_below_a_oneof(void **state)
{
    (void)state;
    /* stopComputation { computation_id "x"; 100: 1 } */
    struct slice wire = SLICE_LIT("\x1a\x06\x0a\x01x\xa0\x06\x01");
    struct err e = ERR_INIT;
    CLEANUP(pb_done)
    Cvms__ServerStreamMessage *m = (Cvms__ServerStreamMessage *)pb_decode(
        &cvms__server_stream_message__descriptor, wire, NULL, &e);

    assert_non_null(m);
    assert_int_equal(m->message_case, CVMS__SERVER_STREAM_MESSAGE__MESSAGE_STOP_COMPUTATION);
    assert_string_equal(m->stopcomputation->computation_id, "x");
    assert_int_equal(m->stopcomputation->base.n_unknown_fields, 0);
}

static void last_arm_of_a_oneof_wins(void **state)
{
    (void)state;
    struct slice wire = SLICE_LIT("\x1a\x03\x0a\x01"
                                  "a\x22\x03\x0a\x01"
                                  "b");
    struct err e = ERR_INIT;
    CLEANUP(pb_done)
    Cvms__ServerStreamMessage *m = (Cvms__ServerStreamMessage *)pb_decode(
        &cvms__server_stream_message__descriptor, wire, NULL, &e);

    assert_non_null(m);
    assert_int_equal(m->message_case, CVMS__SERVER_STREAM_MESSAGE__MESSAGE_AGENT_STATE_REQ);
    assert_string_equal(m->agentstatereq->id, "b");
}

static void encode_beyond_the_buffer_is_limit_and_adds_nothing(void **state)
{
    (void)state;
    Cvms__Dataset d = CVMS__DATASET__INIT;
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf out = BUF_INIT(4);

    d.filename = (char *)"longer than four";
    assert_false(pb_encode(&d.base, &out, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
    assert_non_null(strstr(err_text(&e), "cvms.Dataset"));
    assert_int_equal(out.len, 0);
}

static void encode_appends_and_empty_message_adds_nothing(void **state)
{
    (void)state;
    Cvms__Dataset d = CVMS__DATASET__INIT;
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf out = BUF_INIT(64);

    assert_true(pb_encode(&d.base, &out, &e));
    assert_int_equal(out.len, 0);
    d.hash = pb_bytes(slice_of("\x01\x02", 2));
    assert_true(pb_encode(&d.base, &out, &e));
    assert_true(pb_encode(&d.base, &out, &e));
    assert_true(slice_equal(buf_slice(&out), slice_of("\x0a\x02\x01\x02\x0a\x02\x01\x02", 8)));
}

static void free_and_done_accept_nothing(void **state)
{
    (void)state;
    Cvms__Dataset *d = NULL;

    pb_free(NULL);
    pb_done(&d);
    assert_null(d);
}

int main(void)
{
    enum { ROWS = ARRAY_LEN(decode_cases) };
    static const struct CMUnitTest fixed[] = {
        cmocka_unit_test(PB_3_depth_at_limit_decodes_one_more_is_refused),
        cmocka_unit_test(PB_3_100000_nested_messages_are_refused),
        cmocka_unit_test(PB_3_elements_at_limit_decode_one_more_is_refused),
        cmocka_unit_test(PB_3_packed_elements_count_one_by_one),
        cmocka_unit_test(PB_3_unknown_fields_count),
        cmocka_unit_test(PB_5_unknown_fields_are_dropped_in_every_message),
        cmocka_unit_test(PB_5_unknown_oneof_arm_leaves_the_oneof_unset),
        cmocka_unit_test(unknown_fields_are_dropped_below_a_oneof),
        cmocka_unit_test(last_arm_of_a_oneof_wins),
        cmocka_unit_test(encode_beyond_the_buffer_is_limit_and_adds_nothing),
        cmocka_unit_test(encode_appends_and_empty_message_adds_nothing),
        cmocka_unit_test(free_and_done_accept_nothing),
    };
    struct CMUnitTest tests[ROWS];

    for (size_t i = 0; i < ROWS; i++)
        tests[i] = (struct CMUnitTest){ decode_cases[i].name, check_decode, NULL, NULL, &decode_cases[i] };

    int failed = cmocka_run_group_tests_name("pb rows", tests, NULL, NULL);

    return failed + cmocka_run_group_tests_name("pb", fixed, NULL, NULL);
}
