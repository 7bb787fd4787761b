/*
 * PB-8: the .proto files against test/fixtures/wire-contract.txt, line by
 * line in both directions, so that a number, type, label or method can't
 * change without the change being seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "proto/pb.h"

#define CONTRACT "test/fixtures/wire-contract.txt"
#define LINES_MAX 1024

struct lines {
    char *at[LINES_MAX];
    size_t count;
};

static void lines_done(struct lines *l)
{
    for (size_t i = 0; i < l->count; i++)
        mem_free(l->at[i]);
}

static void lines_add(struct lines *l, char *take_line)
{
    assert_non_null(take_line);
    assert_true(l->count < LINES_MAX);
    l->at[l->count++] = take_line;
}

static bool lines_have(const struct lines *l, const char *line)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->at[i], line) == 0)
            return true;
    return false;
}

static const char *type_name(const Google__Protobuf__FieldDescriptorProto *f)
{
    static const char *const scalar[] = {
        [1] = "double",  [2] = "float",     [3] = "int64",     [4] = "uint64",  [5] = "int32",
        [6] = "fixed64", [7] = "fixed32",   [8] = "bool",      [9] = "string",  [12] = "bytes",
        [13] = "uint32", [15] = "sfixed32", [16] = "sfixed64", [17] = "sint32", [18] = "sint64",
    };

    if (f->type_name && *f->type_name)
        return f->type_name + 1;
    assert_true((size_t)f->type < ARRAY_LEN(scalar) && scalar[f->type]);
    return scalar[f->type];
}

static void add_enum(struct lines *l, const char *scope, const Google__Protobuf__EnumDescriptorProto *en)
{
    struct err e = ERR_INIT;

    for (size_t i = 0; i < en->n_value; i++)
        lines_add(
            l, mem_format(&e, "enum %s.%s %d %s", scope, en->name, en->value[i]->number, en->value[i]->name));
}

static void add_message(struct lines *l, const char *scope, const Google__Protobuf__DescriptorProto *m)
{
    struct err e = ERR_INIT;
    CLEANUP(mem_done) char *name = mem_format(&e, "%s.%s", scope, m->name);

    if (m->n_field == 0)
        lines_add(l, mem_format(&e, "%s -", name));
    for (size_t i = 0; i < m->n_field; i++) {
        const Google__Protobuf__FieldDescriptorProto *f = m->field[i];
        const char *label = f->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REPEATED
                                ? "repeated"
                            : f->has_oneof_index ? "oneof"
                                                 : "single";

        lines_add(l, mem_format(&e, "%s %d %s %s %s", name, f->number, f->name, type_name(f), label));
    }
    for (size_t i = 0; i < m->n_nested_type; i++)
        add_message(l, name, m->nested_type[i]);
    for (size_t i = 0; i < m->n_enum_type; i++)
        add_enum(l, name, m->enum_type[i]);
}

static void add_file(struct lines *l, const Google__Protobuf__FileDescriptorProto *f)
{
    struct err e = ERR_INIT;

    for (size_t i = 0; i < f->n_message_type; i++)
        add_message(l, f->package, f->message_type[i]);
    for (size_t i = 0; i < f->n_enum_type; i++)
        add_enum(l, f->package, f->enum_type[i]);
    for (size_t i = 0; i < f->n_service; i++)
        for (size_t k = 0; k < f->service[i]->n_method; k++) {
            const Google__Protobuf__MethodDescriptorProto *m = f->service[i]->method[k];

            lines_add(l, mem_format(&e, "rpc /%s.%s/%s %s%s %s%s", f->package, f->service[i]->name, m->name,
                                    m->client_streaming ? "stream " : "", m->input_type + 1,
                                    m->server_streaming ? "stream " : "", m->output_type + 1));
        }
}

static void read_built(struct lines *l)
{
    struct err e = ERR_INIT;
    CLEANUP(pb_done)
    Google__Protobuf__FileDescriptorSet *set = (Google__Protobuf__FileDescriptorSet *)pb_decode(
        &google__protobuf__file_descriptor_set__descriptor, pb_descriptor_set(), NULL, &e);

    if (!set)
        fail_msg("%s", err_text(&e));
    for (size_t i = 0; i < set->n_file; i++)
        if (strncmp(set->file[i]->package, "google.", 7) != 0)
            add_file(l, set->file[i]);
}

static void read_contract(struct lines *l)
{
    char line[512];
    struct err e = ERR_INIT;
    FILE *f = fopen(CONTRACT, "r");

    if (!f)
        fail_msg(CONTRACT ": run from the top of the source tree");
    while (fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = 0;
        if (line[0] && line[0] != '#')
            lines_add(l, mem_dup_str(line, &e));
    }
    fclose(f);
}

static void PB_8_every_line_of_the_contract_is_kept(void **state)
{
    (void)state;
    CLEANUP(lines_done) struct lines contract = { .count = 0 };
    CLEANUP(lines_done) struct lines built = { .count = 0 };

    read_contract(&contract);
    read_built(&built);
    assert_true(contract.count > 200);
    for (size_t i = 0; i < contract.count; i++)
        if (!lines_have(&built, contract.at[i]))
            fail_msg("src/proto no longer has '%s': released peers depend on it", contract.at[i]);
}

static void PB_8_nothing_is_built_that_the_contract_lacks(void **state)
{
    (void)state;
    CLEANUP(lines_done) struct lines contract = { .count = 0 };
    CLEANUP(lines_done) struct lines built = { .count = 0 };

    read_contract(&contract);
    read_built(&built);
    for (size_t i = 0; i < built.count; i++)
        if (!lines_have(&contract, built.at[i]))
            fail_msg("'%s' is not in " CONTRACT ": add it when it is meant to be released", built.at[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(PB_8_every_line_of_the_contract_is_kept),
        cmocka_unit_test(PB_8_nothing_is_built_that_the_contract_lacks),
    };

    return cmocka_run_group_tests_name("PB-8 wire contract", tests, NULL, NULL);
}
