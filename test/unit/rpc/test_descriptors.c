#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "proto/pb.h"
#include "rpc/descriptors.h"

typedef Google__Protobuf__FileDescriptorProto file_proto;
typedef Google__Protobuf__FieldDescriptorProto field_proto;
typedef Google__Protobuf__DescriptorProto message_proto;

static struct rpc_desc *ours;

static int open_ours(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    if (!rpc_desc_new(pb_descriptor_set(), &ours, &e)) {
        print_error("%s\n", err_text(&e));
        return 1;
    }
    return 0;
}

static int close_ours(void **state)
{
    (void)state;
    rpc_desc_free(ours);
    return 0;
}

/* -------------------------------------------------------- our own descriptors */

static struct symbol_case {
    const char *name;
    const char *symbol;
    const char *file; /* NULL: there is no such symbol */
} symbols[] = {
    { "service_is_found", "agent.AgentService", "agent.proto" },
    { "method_is_found", "agent.AgentService.Algo", "agent.proto" },
    { "message_is_found", "cvms.ComputationRunReq", "cvms.proto" },
    { "field_is_found", "cvms.ComputationRunReq.datasets", "cvms.proto" },
    { "oneof_is_found", "cvms.ClientStreamMessage.message", "cvms.proto" },
    { "enum_is_found", "attestation.v1.PlatformType", "attestation.proto" },
    { "enum_value_is_a_sibling", "attestation.v1.PLATFORM_TYPE_SNP", "attestation.proto" },
    { "nested_enum_is_found", "grpc.health.v1.HealthCheckResponse.ServingStatus", "health.proto" },
    { "nested_enum_value_is_found", "grpc.health.v1.HealthCheckResponse.SERVING", "health.proto" },
    { "imported_message_is_found", "google.protobuf.Timestamp", "google/protobuf/timestamp.proto" },
    { "empty_is_unknown", "", NULL },
    { "package_is_unknown", "cvms", NULL },
    { "leading_dot_is_unknown", ".cvms.Dataset", NULL },
    { "trailing_dot_is_unknown", "cvms.Dataset.", NULL },
    { "prefix_is_unknown", "cvms.Datase", NULL },
    { "longer_name_is_unknown", "cvms.Datasett", NULL },
    { "other_case_is_unknown", "cvms.dataset", NULL },
};

static void check_symbol(void **state)
{
    const struct symbol_case *c = *state;
    size_t by_symbol = SIZE_MAX;
    size_t by_name = SIZE_MAX;

    assert_int_equal(rpc_desc_by_symbol(ours, slice_of_str(c->symbol), &by_symbol), c->file != NULL);
    if (!c->file)
        return;
    assert_true(rpc_desc_by_name(ours, slice_of_str(c->file), &by_name));
    assert_int_equal(by_symbol, by_name);
}

static void only_messages_are_messages(void **state)
{
    (void)state;
    assert_true(rpc_desc_is_message(ours, slice_of_str("cvms.Dataset")));
    assert_false(rpc_desc_is_message(ours, slice_of_str("cvms.Dataset.hash")));
    assert_false(rpc_desc_is_message(ours, slice_of_str("agent.AgentService")));
    assert_false(rpc_desc_is_message(ours, slice_of_str("nothing")));
}

static void a_file_comes_with_its_imports_once_and_unchanged(void **state)
{
    (void)state;
    CLEANUP(pb_done) file_proto *first = NULL;
    CLEANUP(pb_done) file_proto *second = NULL;
    struct err e = ERR_INIT;
    size_t order[64];
    size_t file;

    assert_true(rpc_desc_file_count(ours) <= ARRAY_LEN(order));
    assert_true(rpc_desc_by_name(ours, slice_of_str("cvms.proto"), &file));
    assert_int_equal(rpc_desc_with_imports(ours, file, order), 2);
    first = (file_proto *)pb_decode(&google__protobuf__file_descriptor_proto__descriptor,
                                    rpc_desc_file(ours, order[0]), NULL, &e);
    second = (file_proto *)pb_decode(&google__protobuf__file_descriptor_proto__descriptor,
                                     rpc_desc_file(ours, order[1]), NULL, &e);
    assert_true(first && second);
    assert_string_equal(first->name, "cvms.proto");
    assert_string_equal(second->name, "google/protobuf/timestamp.proto");
    assert_true(rpc_desc_by_name(ours, slice_of_str("health.proto"), &file));
    assert_int_equal(rpc_desc_with_imports(ours, file, order), 1);
}

/* --------------------------------------------------------- descriptors made here */

/* "left" and "right" import "base" (and, with a circle, base imports left); "top" imports both.
 * base declares message p.Base; left extends it with 100 and 101, right with 200. */
static void make_set(struct buf *out, bool circle, bool with_base)
{
    file_proto base = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
    file_proto left = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
    file_proto right = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
    file_proto top = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
    message_proto message = GOOGLE__PROTOBUF__DESCRIPTOR_PROTO__INIT;
    field_proto ext[3] = { GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__INIT,
                           GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__INIT,
                           GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__INIT };
    static char *names[] = { (char *)"one", (char *)"two", (char *)"three" };
    static const int32_t numbers[] = { 100, 101, 200 };
    message_proto *messages[] = { &message };
    field_proto *left_ext[] = { &ext[0], &ext[1] };
    field_proto *right_ext[] = { &ext[2] };
    char *import_base[] = { (char *)"base" };
    char *import_left[] = { (char *)"left" };
    char *import_both[] = { (char *)"left", (char *)"right" };
    file_proto *files[] = { &top, &left, &right, &base };
    Google__Protobuf__FileDescriptorSet set = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_SET__INIT;
    struct err e = ERR_INIT;

    for (size_t i = 0; i < ARRAY_LEN(ext); i++) {
        ext[i].name = names[i];
        ext[i].has_number = true;
        ext[i].number = numbers[i];
        ext[i].extendee = (char *)".p.Base";
    }
    message.name = (char *)"Base";
    base.name = (char *)"base";
    base.package = (char *)"p";
    base.n_message_type = 1;
    base.message_type = messages;
    base.n_dependency = circle;
    base.dependency = import_left;
    left.name = (char *)"left";
    left.package = (char *)"p.left";
    left.n_dependency = 1;
    left.dependency = import_base;
    left.n_extension = 2;
    left.extension = left_ext;
    right.name = (char *)"right"; /* without a package */
    right.n_dependency = 1;
    right.dependency = import_base;
    right.n_extension = 1;
    right.extension = right_ext;
    top.name = (char *)"top";
    top.n_dependency = 2;
    top.dependency = import_both;
    set.n_file = with_base ? 4 : 3;
    set.file = files;
    assert_true(pb_encode(&set.base, out, &e));
}

static void extensions_are_found_by_type_and_number(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf set = BUF_INIT(65536);
    struct rpc_desc *d = NULL;
    struct err e = ERR_INIT;
    size_t file = SIZE_MAX;
    size_t want = SIZE_MAX;
    int32_t number = 0;
    struct slice base = slice_of_str("p.Base");

    make_set(&set, false, true);
    if (!rpc_desc_new(buf_slice(&set), &d, &e))
        fail_msg("%s", err_text(&e));
    assert_true(rpc_desc_by_extension(d, base, 101, &file));
    assert_true(rpc_desc_by_name(d, slice_of_str("left"), &want));
    assert_int_equal(file, want);
    assert_true(rpc_desc_by_extension(d, base, 200, &file));
    assert_true(rpc_desc_by_name(d, slice_of_str("right"), &want));
    assert_int_equal(file, want);
    assert_false(rpc_desc_by_extension(d, base, 102, &file));
    assert_false(rpc_desc_by_extension(d, slice_of_str("p.Other"), 100, &file));
    assert_true(rpc_desc_by_symbol(d, slice_of_str("p.left.one"), &file));
    assert_true(rpc_desc_by_symbol(d, slice_of_str("three"), &file));

    int32_t sum = 0;
    size_t count = 0;

    while (rpc_desc_extension_number(d, base, count, &number)) {
        sum += number;
        count++;
    }
    assert_int_equal(count, 3);
    assert_int_equal(sum, 401);
    rpc_desc_free(d);
}

static void shared_imports_and_circles_come_once(void **state)
{
    (void)state;
    for (int circle = 0; circle < 2; circle++) {
        CLEANUP(buf_done) struct buf set = BUF_INIT(65536);
        struct rpc_desc *d = NULL;
        struct err e = ERR_INIT;
        size_t order[4];
        size_t file;

        make_set(&set, circle, true);
        assert_true(rpc_desc_new(buf_slice(&set), &d, &e));
        assert_true(rpc_desc_by_name(d, slice_of_str("top"), &file));
        assert_int_equal(rpc_desc_with_imports(d, file, order), 4);
        assert_int_equal(order[0], file);
        assert_true(rpc_desc_by_name(d, slice_of_str("base"), &file));
        assert_int_equal(rpc_desc_with_imports(d, file, order), circle ? 2 : 1);
        rpc_desc_free(d);
    }
}

static void a_missing_import_is_named(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf set = BUF_INIT(65536);
    struct rpc_desc *d = NULL;
    struct err e = ERR_INIT;

    make_set(&set, false, false);
    assert_false(rpc_desc_new(buf_slice(&set), &d, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    assert_string_equal(err_text(&e), "descriptors: 'left' imports 'base', which is missing");
    assert_null(d);
}

static void bytes_that_are_no_set_are_refused(void **state)
{
    (void)state;
    static const struct slice rows[] = { SLICE_LIT("\x0a\x05"), SLICE_LIT("\x0a\x02\x0a\x05"),
                                         SLICE_LIT("\x10\x01\x0a\x00") };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rpc_desc *d = NULL;
        struct err e = ERR_INIT;

        assert_false(rpc_desc_new(rows[i], &d, &e));
        assert_int_equal(e.kind, ERR_KIND_INVALID);
    }
}

static void the_empty_set_knows_nothing(void **state)
{
    (void)state;
    struct rpc_desc *d = NULL;
    struct err e = ERR_INIT;
    size_t file;

    assert_true(rpc_desc_new(SLICE_EMPTY, &d, &e));
    assert_int_equal(rpc_desc_file_count(d), 0);
    assert_false(rpc_desc_by_symbol(d, slice_of_str("a"), &file));
    rpc_desc_free(d);
    rpc_desc_free(NULL);
}

int main(void)
{
    enum { ROWS = ARRAY_LEN(symbols) };
    static const struct CMUnitTest fixed[] = {
        cmocka_unit_test(only_messages_are_messages),
        cmocka_unit_test(a_file_comes_with_its_imports_once_and_unchanged),
        cmocka_unit_test(extensions_are_found_by_type_and_number),
        cmocka_unit_test(shared_imports_and_circles_come_once),
        cmocka_unit_test(a_missing_import_is_named),
        cmocka_unit_test(bytes_that_are_no_set_are_refused),
        cmocka_unit_test(the_empty_set_knows_nothing),
    };
    struct CMUnitTest tests[ROWS];

    for (size_t i = 0; i < ROWS; i++)
        tests[i] = (struct CMUnitTest){ symbols[i].name, check_symbol, NULL, NULL, &symbols[i] };

    int failed = cmocka_run_group_tests_name("symbols", tests, open_ours, close_ours);

    return failed + cmocka_run_group_tests_name("descriptors", fixed, open_ours, close_ours);
}
