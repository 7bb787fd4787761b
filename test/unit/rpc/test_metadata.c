#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rpc/metadata.h"

static struct add_case {
    const char *name;
    const char *key;
    struct slice value;
    bool want;
} adds[] = {
    { "plain_is_taken", "user-id", SLICE_LIT("abc"), true },
    { "underscore_dot_and_digits_are_taken", "a_b.c-9", SLICE_LIT("x"), true },
    { "empty_value_is_taken", "a", SLICE_LIT(""), true },
    { "binary_takes_any_bytes", "sig-bin", SLICE_LIT("\0\xff\n"), true },
    { "upper_case_is_refused", "User", SLICE_LIT("x"), false },
    { "space_in_key_is_refused", "a b", SLICE_LIT("x"), false },
    { "empty_key_is_refused", "", SLICE_LIT("x"), false },
    { "grpc_key_is_reserved", "grpc-timeout", SLICE_LIT("1S"), false },
    { "pseudo_header_is_reserved", ":path", SLICE_LIT("/"), false },
    { "content_type_is_reserved", "content-type", SLICE_LIT("x"), false },
    { "te_is_reserved", "te", SLICE_LIT("x"), false },
    { "connection_is_reserved", "connection", SLICE_LIT("close"), false },
    { "line_break_in_value_is_refused", "a", SLICE_LIT("x\r\ny: z"), false },
    { "nul_in_value_is_refused", "a", SLICE_LIT("x\0"), false },
    { "utf8_in_value_is_refused", "a", SLICE_LIT("\xc3\xa9"), false },
};

static void check_add(void **state)
{
    const struct add_case *a = *state;
    struct rpc_md md = RPC_MD_INIT;
    struct err e = ERR_INIT;
    struct slice got;

    assert_int_equal(rpc_md_add(&md, a->key, a->value, &e), a->want);
    assert_int_equal(md.count, a->want);
    if (a->want) {
        assert_true(rpc_md_get(&md, a->key, 0, &got));
        assert_true(slice_equal(got, a->value));
        assert_int_equal(md.bytes, strlen(a->key) + a->value.len + 32);
    } else {
        assert_int_equal(e.kind, ERR_KIND_INVALID);
        assert_int_equal(md.bytes, 0);
    }
    rpc_md_done(&md);
}

static struct wire_case {
    const char *name;
    const char *key;
    struct slice wire;
    int want; /* values, -1: refused */
    struct slice first, last;
} wires[] = {
    { "text_is_kept_with_its_commas", "a", SLICE_LIT("x,y"), 1, SLICE_LIT("x,y"), SLICE_LIT("x,y") },
    { "padded_base64_is_decoded", "a-bin", SLICE_LIT("AP8="), 1, SLICE_LIT("\0\xff"), SLICE_LIT("\0\xff") },
    { "unpadded_base64_is_decoded", "a-bin", SLICE_LIT("AP8"), 1, SLICE_LIT("\0\xff"), SLICE_LIT("\0\xff") },
    { "comma_list_is_several_values", "a-bin", SLICE_LIT("AA,AQ==,Ag"), 3, SLICE_LIT("\0"), SLICE_LIT("\2") },
    { "empty_elements_are_empty_values", "a-bin", SLICE_LIT(",AQ,"), 3, SLICE_LIT(""), SLICE_LIT("") },
    { "empty_binary_is_one_empty_value", "a-bin", SLICE_LIT(""), 1, SLICE_LIT(""), SLICE_LIT("") },
    { "not_base64_is_refused", "a-bin", SLICE_LIT("!!"), -1, SLICE_LIT(""), SLICE_LIT("") },
    { "one_sign_of_base64_is_refused", "a-bin", SLICE_LIT("A"), -1, SLICE_LIT(""), SLICE_LIT("") },
    { "bad_element_refuses", "a-bin", SLICE_LIT("AA,*"), -1, SLICE_LIT(""), SLICE_LIT("") },
};

static void check_wire(void **state)
{
    const struct wire_case *w = *state;
    struct rpc_md md = RPC_MD_INIT;
    struct err e = ERR_INIT;
    struct slice got;

    assert_int_equal(rpc_md_add_wire(&md, slice_of_str(w->key), w->wire, &e), w->want >= 0);
    if (w->want >= 0) {
        assert_int_equal(rpc_md_count(&md, w->key), w->want);
        assert_true(rpc_md_get(&md, w->key, 0, &got));
        assert_true(slice_equal(got, w->first));
        assert_true(rpc_md_get(&md, w->key, (size_t)w->want - 1, &got));
        assert_true(slice_equal(got, w->last));
        assert_false(rpc_md_get(&md, w->key, (size_t)w->want, &got));
    } else {
        assert_int_equal(e.kind, ERR_KIND_INVALID);
    }
    rpc_md_done(&md);
}

static void headers_to_send_encode_binary_without_padding(void **state)
{
    struct rpc_headers h = RPC_HEADERS_INIT;
    struct rpc_md md = RPC_MD_INIT;
    struct rpc_md copy = RPC_MD_INIT;
    struct err e = ERR_INIT;

    (void)state;
    for (int i = 0; i < 40; i++)
        assert_true(rpc_md_add(&md, "a-bin", slice_of("\0\xff", 2), &e));
    assert_true(rpc_md_add_str(&md, "b", "text", &e));
    assert_true(rpc_md_copy(&copy, &md, &e));
    assert_int_equal(copy.count, 41);
    assert_int_equal(copy.bytes, md.bytes);
    rpc_headers_add_str(&h, ":status", "200");
    rpc_headers_add_md(&h, &copy);
    rpc_headers_add_md(&h, NULL);
    assert_false(h.failed);
    assert_int_equal(h.count, 42);
    for (size_t i = 1; i <= 40; i++)
        assert_true(slice_equal_str(slice_of(h.at[i].value, h.at[i].valuelen), "AP8"));
    assert_true(slice_equal_str(slice_of(h.at[41].value, h.at[41].valuelen), "text"));
    rpc_headers_done(&h);
    rpc_headers_done(&h);
    rpc_md_done(&md);
    rpc_md_done(&md);
    rpc_md_done(&copy);
}

int main(void)
{
    static struct CMUnitTest tests[ARRAY_LEN(adds) + ARRAY_LEN(wires) + 1] = {
        cmocka_unit_test(headers_to_send_encode_binary_without_padding),
    };
    size_t n = 1;

    for (size_t i = 0; i < ARRAY_LEN(adds); i++)
        tests[n++] = (struct CMUnitTest){ adds[i].name, check_add, NULL, NULL, &adds[i] };
    for (size_t i = 0; i < ARRAY_LEN(wires); i++)
        tests[n++] = (struct CMUnitTest){ wires[i].name, check_wire, NULL, NULL, &wires[i] };
    return cmocka_run_group_tests_name("rpc/metadata", tests, NULL, NULL);
}
