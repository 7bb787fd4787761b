#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_rpc.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "proto/pb.h"
#include "proto/reflection_v1alpha.pb-c.h"

/* The tests speak through the structs of v1alpha, the code through those of v1. */
typedef Grpc__Reflection__V1alpha__ServerReflectionRequest request;
typedef Grpc__Reflection__V1alpha__ServerReflectionResponse response;

#define IN(arm) GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##arm
#define OUT(arm) GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##arm

static const char *const versions[] = { "grpc.reflection.v1.ServerReflection",
                                        "grpc.reflection.v1alpha.ServerReflection" };

static void server_init(struct rpc_server *s)
{
    static const struct rpc_service other = { "zebra.Service", NULL, 0 };
    struct err e = ERR_INIT;

    *s = (struct rpc_server){ .count = 0 };
    assert_true(rpc_server_add(s, &other, NULL, &e));
    if (!rpc_server_add_reflection(s, pb_descriptor_set(), &e))
        fail_msg("%s", err_text(&e));
}

static void open_call(const struct rpc_server *s, const char *service, struct rpc_call *c)
{
    void *ctx = NULL;
    const struct rpc_method *m = fake_method(s, service, "ServerReflectionInfo", &ctx);

    assert_non_null(m);
    *c = (struct rpc_call){ .full = false };
    m->open(c, ctx);
    assert_int_equal(c->wants, 1);
}

static void give(struct rpc_call *c, request *q)
{
    CLEANUP(buf_done) struct buf wire = BUF_INIT(4096);
    struct err e = ERR_INIT;

    q->host = (char *)"localhost";
    assert_true(pb_encode(&q->base, &wire, &e));
    fake_call_give(c, buf_slice(&wire));
}

/* The last answer, whose echo of the request is checked. */
static response *answer(const struct rpc_call *c, const request *q)
{
    struct err e = ERR_INIT;

    if (c->finished)
        fail_msg("ended: %s", c->text);
    assert_true(c->sent_count > 0);

    response *r = (response *)pb_decode(&grpc__reflection__v1alpha__server_reflection_response__descriptor,
                                        buf_slice(&c->sent[c->sent_count - 1]), NULL, &e);

    if (!r)
        fail_msg("%s", err_text(&e));
    assert_string_equal(r->valid_host, "localhost");
    assert_non_null(r->original_request);
    assert_int_equal(r->original_request->message_request_case, q->message_request_case);
    return r;
}

static bool has_file(const response *r, const char *name)
{
    bool found = false;

    for (size_t i = 0; i < r->file_descriptor_response->n_file_descriptor_proto; i++) {
        struct err e = ERR_INIT;
        Google__Protobuf__FileDescriptorProto *f = (Google__Protobuf__FileDescriptorProto *)pb_decode(
            &google__protobuf__file_descriptor_proto__descriptor,
            pb_slice(r->file_descriptor_response->file_descriptor_proto[i]), NULL, &e);

        assert_non_null(f);
        found = found || strcmp(f->name, name) == 0;
        pb_free(&f->base);
    }
    return found;
}

static void services_are_listed_sorted_and_only_those_added(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s;

    server_init(&s);
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        struct rpc_call c;
        request q = GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__INIT;

        open_call(&s, versions[v], &c);
        q.message_request_case = IN(LIST_SERVICES);
        q.list_services = (char *)"*";
        give(&c, &q);
        CLEANUP(pb_done) response *r = answer(&c, &q);

        assert_int_equal(r->message_response_case, OUT(LIST_SERVICES_RESPONSE));
        assert_int_equal(r->list_services_response->n_service, 3);
        assert_string_equal(r->list_services_response->service[0]->name, versions[0]);
        assert_string_equal(r->list_services_response->service[1]->name, versions[1]);
        assert_string_equal(r->list_services_response->service[2]->name, "zebra.Service");
        fake_call_done(&c);
    }
}

static void file_comes_with_its_imports_by_name_and_by_symbol(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s;
    struct rpc_call c;

    server_init(&s);
    open_call(&s, versions[1], &c);
    for (int by_symbol = 0; by_symbol < 2; by_symbol++) {
        request q = GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__INIT;

        if (by_symbol) {
            q.message_request_case = IN(FILE_CONTAINING_SYMBOL);
            q.file_containing_symbol = (char *)"cvms.Service.Process";
        } else {
            q.message_request_case = IN(FILE_BY_FILENAME);
            q.file_by_filename = (char *)"cvms.proto";
        }
        give(&c, &q);
        CLEANUP(pb_done) response *r = answer(&c, &q);

        assert_int_equal(r->message_response_case, OUT(FILE_DESCRIPTOR_RESPONSE));
        assert_int_equal(r->file_descriptor_response->n_file_descriptor_proto, 2);
        assert_true(has_file(r, "cvms.proto"));
        assert_true(has_file(r, "google/protobuf/timestamp.proto"));
    }
    assert_int_equal(c.wants, 3);
    c.events->half_closed(&c, c.ctx);
    assert_true(c.finished);
    assert_int_equal(c.code, RPC_OK);
    fake_call_done(&c);
}

static void check_error(request *q, const char *text)
{
    CLEANUP(fake_server_done) struct rpc_server s;
    struct rpc_call c;

    server_init(&s);
    open_call(&s, versions[0], &c);
    give(&c, q);
    CLEANUP(pb_done) response *r = answer(&c, q);

    assert_int_equal(r->message_response_case, OUT(ERROR_RESPONSE));
    assert_int_equal(r->error_response->error_code, RPC_NOT_FOUND);
    assert_string_equal(r->error_response->error_message, text);
    assert_int_equal(c.wants, 2); /* the stream goes on */
    fake_call_done(&c);
}

static void what_is_not_there_is_answered_within_the_stream(void **state)
{
    (void)state;
    Grpc__Reflection__V1alpha__ExtensionRequest ext = GRPC__REFLECTION__V1ALPHA__EXTENSION_REQUEST__INIT;
    request q = GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__INIT;

    q.message_request_case = IN(FILE_BY_FILENAME);
    q.file_by_filename = (char *)"none.proto";
    check_error(&q, "file not found: none.proto");
    q.message_request_case = IN(FILE_CONTAINING_SYMBOL);
    q.file_containing_symbol = (char *)"no.Such";
    check_error(&q, "symbol not found: no.Such");
    ext.containing_type = (char *)"cvms.Dataset";
    ext.extension_number = 5;
    q.message_request_case = IN(FILE_CONTAINING_EXTENSION);
    q.file_containing_extension = &ext;
    check_error(&q, "extension of message not found: cvms.Dataset");
    q.message_request_case = IN(ALL_EXTENSION_NUMBERS_OF_TYPE);
    q.all_extension_numbers_of_type = (char *)"no.Such";
    check_error(&q, "message not found: no.Such");
}

static void long_name_is_cut_between_characters(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s;

    server_init(&s);
    for (size_t shift = 0; shift < 3; shift++) {
        struct rpc_call c;
        request q = GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__INIT;
        char name[1000] = "aa";
        size_t len = shift;

        while (len + 4 < sizeof(name)) {
            memcpy(name + len, "\xe2\x82\xac", 4);
            len += 3;
        }
        open_call(&s, versions[0], &c);
        q.message_request_case = IN(FILE_BY_FILENAME);
        q.file_by_filename = name;
        give(&c, &q);
        CLEANUP(pb_done) response *r = answer(&c, &q); /* decodes: so it is UTF-8 */

        assert_true(strlen(r->error_response->error_message) > 500);
        fake_call_done(&c);
    }
}

static void message_without_extensions_has_an_empty_list(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s;
    struct rpc_call c;
    request q = GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__INIT;

    server_init(&s);
    open_call(&s, versions[0], &c);
    q.message_request_case = IN(ALL_EXTENSION_NUMBERS_OF_TYPE);
    q.all_extension_numbers_of_type = (char *)"cvms.Dataset";
    give(&c, &q);
    CLEANUP(pb_done) response *r = answer(&c, &q);

    assert_int_equal(r->message_response_case, OUT(ALL_EXTENSION_NUMBERS_RESPONSE));
    assert_string_equal(r->all_extension_numbers_response->base_type_name, "cvms.Dataset");
    assert_int_equal(r->all_extension_numbers_response->n_extension_number, 0);
    fake_call_done(&c);
}

static void request_for_nothing_ends_the_stream(void **state)
{
    (void)state;
    static const char *const wires[] = { "", "\x0a\x01h", "\x42\x01x", "\x1a\x05x" };
    CLEANUP(fake_server_done) struct rpc_server s;

    server_init(&s);
    for (size_t i = 0; i < ARRAY_LEN(wires); i++) {
        struct rpc_call c;

        open_call(&s, versions[0], &c);
        fake_call_give(&c, slice_of_str(wires[i]));
        assert_true(c.finished);
        assert_int_equal(c.code, RPC_INVALID_ARGUMENT);
        assert_int_equal(c.sent_count, 0);
        fake_call_done(&c);
    }
}

static void full_queue_stops_reading_until_there_is_room(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s;
    struct rpc_call c;
    request q = GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__INIT;

    server_init(&s);
    open_call(&s, versions[0], &c);
    c.fills = true;
    q.message_request_case = IN(LIST_SERVICES);
    q.list_services = (char *)"";
    give(&c, &q);
    assert_int_equal(c.sent_count, 1);
    assert_int_equal(c.wants, 1);
    c.full = false;
    c.events->writable(&c, c.ctx);
    assert_int_equal(c.wants, 2);
    fake_call_done(&c);
}

static void descriptors_that_are_none_are_refused(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s = { .count = 0 };
    struct err e = ERR_INIT;

    assert_false(rpc_server_add_reflection(&s, slice_of_str("\x0a\x05"), &e));
    assert_int_equal(s.count, 0);
    assert_non_null(strstr(err_text(&e), "reflection: descriptors: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(services_are_listed_sorted_and_only_those_added),
        cmocka_unit_test(file_comes_with_its_imports_by_name_and_by_symbol),
        cmocka_unit_test(what_is_not_there_is_answered_within_the_stream),
        cmocka_unit_test(long_name_is_cut_between_characters),
        cmocka_unit_test(message_without_extensions_has_an_empty_list),
        cmocka_unit_test(request_for_nothing_ends_the_stream),
        cmocka_unit_test(full_queue_stops_reading_until_there_is_room),
        cmocka_unit_test(descriptors_that_are_none_are_refused),
    };

    return cmocka_run_group_tests_name("reflection", tests, NULL, NULL);
}
