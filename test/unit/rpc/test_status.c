#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rpc/status.h"

static struct text_case {
    const char *name;
    const char *plain;
    const char *wire;
} encodings[] = {
    { "printable_stays", "Hello, World!", "Hello, World!" },
    { "percent_is_encoded", "100%", "100%25" },
    { "line_break_is_encoded", "a\nb\r", "a%0Ab%0D" },
    { "utf8_is_encoded_by_byte", "h\xc3\xa9", "h%C3%A9" },
    { "delete_and_high_bytes_are_encoded", "\x7f\xff", "%7F%FF" },
    { "empty_stays_empty", "", "" },
};

static void check_encode(void **state)
{
    const struct text_case *t = *state;
    char wire[RPC_STATUS_WIRE_MAX];

    assert_int_equal(rpc_status_text_encode(t->plain, wire), strlen(t->wire));
    assert_string_equal(wire, t->wire);
}

static struct decode_case {
    const char *name;
    struct slice wire;
    const char *plain;
} decodings[] = {
    { "H2_9_pairs_are_decoded", SLICE_LIT("h%C3%A9 100%25"), "h\xc3\xa9 100%" },
    { "H2_9_lower_case_pairs_are_decoded", SLICE_LIT("%c3%a9"), "\xc3\xa9" },
    { "H2_9_lone_percent_stands_for_itself", SLICE_LIT("50% off"), "50% off" },
    { "H2_9_cut_pair_stands_for_itself", SLICE_LIT("a%4"), "a%4" },
    { "H2_9_percent_at_the_end_stands_for_itself", SLICE_LIT("a%"), "a%" },
    { "H2_9_invalid_utf8_is_replaced", SLICE_LIT("a%FFb%C3"),
      "a\xef\xbf\xbd"
      "b\xef\xbf\xbd" },
    { "H2_9_raw_invalid_utf8_is_replaced", SLICE_LIT("a\xff"), "a\xef\xbf\xbd" },
    { "H2_9_surrogate_is_replaced", SLICE_LIT("%ED%A0%80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
    { "H2_9_nul_is_replaced", SLICE_LIT("a%00b"),
      "a\xef\xbf\xbd"
      "b" },
    { "H2_9_empty_is_empty", SLICE_LIT(""), "" },
};

static void check_decode(void **state)
{
    const struct decode_case *t = *state;
    char plain[RPC_STATUS_TEXT_MAX];

    rpc_status_text_decode(t->wire, plain);
    assert_string_equal(plain, t->plain);
}

static void long_text_is_cut_on_a_character(void **state)
{
    char text[3 * RPC_STATUS_TEXT_MAX + 1];
    struct rpc_status s;

    (void)state;
    for (size_t i = 0; i + 3 < sizeof(text); i += 3)
        memcpy(text + i, "\xe2\x82\xac", 3);
    text[sizeof(text) - 1] = '\0';
    rpc_status_set(&s, RPC_UNKNOWN, slice_of_str(text));
    assert_int_equal(strlen(s.message), (RPC_STATUS_TEXT_MAX - 1) / 3 * 3);
    assert_true(slice_is_utf8(slice_of_str(s.message)));
}

static void what_is_encoded_comes_back(void **state)
{
    char plain[RPC_STATUS_TEXT_MAX];
    char wire[RPC_STATUS_WIRE_MAX];
    char back[RPC_STATUS_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < 127; i++)
        plain[i] = (char)(i + 1);
    plain[127] = '\0';
    rpc_status_text_encode(plain, wire);
    rpc_status_text_decode(slice_of_str(wire), back);
    assert_string_equal(back, plain);
}

static struct code_case {
    const char *name;
    struct slice text;
    int want; /* -1: refused */
} codes[] = {
    { "H2_9_status_0_is_ok", SLICE_LIT("0"), RPC_OK },
    { "H2_9_status_16", SLICE_LIT("16"), RPC_UNAUTHENTICATED },
    { "H2_9_status_17_is_unknown", SLICE_LIT("17"), RPC_UNKNOWN },
    { "H2_9_huge_status_is_unknown", SLICE_LIT("999999999"), RPC_UNKNOWN },
    { "H2_9_status_of_10_digits_is_refused", SLICE_LIT("4294967296"), -1 },
    { "H2_9_negative_status_is_refused", SLICE_LIT("-1"), -1 },
    { "H2_9_word_is_refused", SLICE_LIT("OK"), -1 },
    { "H2_9_empty_status_is_refused", SLICE_LIT(""), -1 },
};

static void check_code(void **state)
{
    const struct code_case *c = *state;
    enum rpc_code got = RPC_DATA_LOSS;

    if (c->want < 0) {
        assert_false(rpc_code_parse(c->text, &got));
        return;
    }
    assert_true(rpc_code_parse(c->text, &got));
    assert_int_equal(got, c->want);
}

static void http_statuses_map_as_the_specification_says(void **state) /* H2_9 */
{
    static const struct {
        unsigned http;
        enum rpc_code want;
    } rows[] = {
        { 400, RPC_INTERNAL },      { 401, RPC_UNAUTHENTICATED }, { 403, RPC_PERMISSION_DENIED },
        { 404, RPC_UNIMPLEMENTED }, { 429, RPC_UNAVAILABLE },     { 502, RPC_UNAVAILABLE },
        { 503, RPC_UNAVAILABLE },   { 504, RPC_UNAVAILABLE },     { 500, RPC_UNKNOWN },
        { 301, RPC_UNKNOWN },       { 200, RPC_UNKNOWN },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(rpc_code_of_http(rows[i].http), rows[i].want);
}

static void resets_map_as_the_specification_says(void **state) /* H2_9 */
{
    static const enum rpc_code want[] = {
        RPC_INTERNAL, RPC_INTERNAL,           RPC_INTERNAL,          RPC_INTERNAL,  RPC_INTERNAL,
        RPC_UNKNOWN,  RPC_INTERNAL,           RPC_UNAVAILABLE,       RPC_CANCELLED, RPC_INTERNAL,
        RPC_INTERNAL, RPC_RESOURCE_EXHAUSTED, RPC_PERMISSION_DENIED, RPC_UNKNOWN,   RPC_UNKNOWN,
    };

    (void)state;
    for (uint32_t i = 0; i < ARRAY_LEN(want); i++)
        assert_int_equal(rpc_code_of_h2(i), want[i]);
}

static void every_kind_has_a_code_and_comes_back_alike(void **state)
{
    (void)state;
    for (int k = ERR_KIND_NONE; k <= ERR_KIND_INTERNAL; k++)
        assert_int_equal(rpc_err_of_code(rpc_code_of_err((enum err_kind)k)), k);
    for (int c = RPC_OK; c <= RPC_UNAUTHENTICATED; c++) {
        assert_true(strlen(rpc_code_name((enum rpc_code)c)) > 1);
        assert_int_equal(rpc_err_of_code((enum rpc_code)c) == ERR_KIND_NONE, c == RPC_OK);
    }
    assert_string_equal(rpc_code_name((enum rpc_code)99), "Unknown");
    assert_string_equal(rpc_code_name(RPC_CANCELLED), "Canceled");
}

int main(void)
{
    static struct CMUnitTest tests[ARRAY_LEN(encodings) + ARRAY_LEN(decodings) + ARRAY_LEN(codes) + 5] = {
        cmocka_unit_test(long_text_is_cut_on_a_character),
        cmocka_unit_test(what_is_encoded_comes_back),
        cmocka_unit_test(http_statuses_map_as_the_specification_says),
        cmocka_unit_test(resets_map_as_the_specification_says),
        cmocka_unit_test(every_kind_has_a_code_and_comes_back_alike),
    };
    size_t n = 5;

    for (size_t i = 0; i < ARRAY_LEN(encodings); i++)
        tests[n++] = (struct CMUnitTest){ encodings[i].name, check_encode, NULL, NULL, &encodings[i] };
    for (size_t i = 0; i < ARRAY_LEN(decodings); i++)
        tests[n++] = (struct CMUnitTest){ decodings[i].name, check_decode, NULL, NULL, &decodings[i] };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        tests[n++] = (struct CMUnitTest){ codes[i].name, check_code, NULL, NULL, &codes[i] };
    return cmocka_run_group_tests_name("rpc/status", tests, NULL, NULL);
}
