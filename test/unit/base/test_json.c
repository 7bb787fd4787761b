#include "unit.h"

#include "base/json.h"

static struct json_case {
    const char *name;
    struct slice in;
    enum err_kind want;
    const char *want_text;
} cases[] = {
    { "empty_object", SLICE_LIT("{}"), ERR_KIND_NONE, "" },
    { "empty_array", SLICE_LIT(" [ ] \n"), ERR_KIND_NONE, "" },
    { "nested", SLICE_LIT("{\"a\":[1,2.5,-3e2,true,false,null,\"\\u00e9\"]}"), ERR_KIND_NONE, "" },
    { "brackets_in_strings_are_no_depth", SLICE_LIT("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[\"]"),
      ERR_KIND_NONE, "" },
    { "largest_integer", SLICE_LIT("[9223372036854775807]"), ERR_KIND_NONE, "" },
    { "empty_is_refused", SLICE_LIT(""), ERR_KIND_INVALID, "JSON: it is empty" },
    { "spaces_alone_are_refused", SLICE_LIT("  "), ERR_KIND_INVALID, "line 1, column 2" },
    { "duplicate_key_PB_6", SLICE_LIT("{\"a\":1,\n \"a\":2}"), ERR_KIND_INVALID,
      "JSON: line 2, column 4: duplicate object key near '\"a\"'" },
    { "duplicate_key_by_escape_PB_6", SLICE_LIT("{\"a\":1,\"\\u0061\":2}"), ERR_KIND_INVALID,
      "duplicate object key" },
    { "nan_PB_6", SLICE_LIT("[NaN]"), ERR_KIND_INVALID, "line 1, column 4" },
    { "infinity_PB_6", SLICE_LIT("[Infinity]"), ERR_KIND_INVALID, "invalid token" },
    { "1e400_PB_6", SLICE_LIT("[1e400]"), ERR_KIND_INVALID, "real number overflow" },
    { "integer_out_of_range_PB_6", SLICE_LIT("[9223372036854775808]"), ERR_KIND_INVALID, "too big integer" },
    { "trailing_bytes_PB_6", SLICE_LIT("{} x"), ERR_KIND_INVALID, "end of file expected" },
    { "trailing_nul_PB_6", SLICE_LIT("{}\0"), ERR_KIND_INVALID, "end of file expected" },
    { "two_values_PB_6", SLICE_LIT("{}{}"), ERR_KIND_INVALID, "end of file expected" },
    { "byte_order_mark_PB_6", SLICE_LIT("\xef\xbb\xbf{}"), ERR_KIND_INVALID, "byte order mark" },
    { "utf16_PB_6", SLICE_LIT("\xff\xfe{\0}\0"), ERR_KIND_INVALID, "line 1" },
    { "bad_utf8", SLICE_LIT("[\"\xff\"]"), ERR_KIND_INVALID, "line 1" },
    { "surrogate_alone", SLICE_LIT("[\"\\ud800\"]"), ERR_KIND_INVALID, "line 1" },
    { "nul_in_string", SLICE_LIT("[\"a\\u0000b\"]"), ERR_KIND_INVALID, "\\u0000 is not allowed" },
    { "raw_control_byte_is_refused_and_shown_RL_6", SLICE_LIT("[\"a\x1b\"]"), ERR_KIND_INVALID,
      "control character 0x1b" },
    { "comment", SLICE_LIT("{/* */}"), ERR_KIND_INVALID, "line 1" },
    { "trailing_comma", SLICE_LIT("[1,]"), ERR_KIND_INVALID, "line 1" },
    { "single_quotes", SLICE_LIT("{'a':1}"), ERR_KIND_INVALID, "line 1" },
    { "leading_zero", SLICE_LIT("[01]"), ERR_KIND_INVALID, "line 1" },
    { "plus_sign", SLICE_LIT("[+1]"), ERR_KIND_INVALID, "line 1" },
    { "cut_object", SLICE_LIT("{\"a\":"), ERR_KIND_INVALID, "line 1" },
    { "cut_string", SLICE_LIT("[\"a"), ERR_KIND_INVALID, "line 1" },
    { "cut_escape", SLICE_LIT("[\"a\\"), ERR_KIND_INVALID, "line 1" },
    { "scalar_root", SLICE_LIT("1"), ERR_KIND_INVALID, "'[' or '{' expected" },
};

static void check(void **state)
{
    const struct json_case *c = *state;
    struct err e = ERR_INIT;
    CLEANUP(json_done) json_t *root = json_read(c->in, &e);

    assert_int_equal(e.kind, c->want);
    assert_int_equal(root != NULL, c->want == ERR_KIND_NONE);
    if (!root && !strstr(err_text(&e), c->want_text))
        fail_msg("%s", err_text(&e));
    assert_true(slice_is_utf8(slice_of_str(err_text(&e))));
    assert_null(strchr(err_text(&e), '\x1b'));
}

static void depth_is_limited_PB_6(void **state)
{
    static char text[20000];

    (void)state;
    for (size_t depth = 1; depth <= 10000; depth = depth == 33 ? 10000 : depth + 1) {
        struct err e = ERR_INIT;

        memset(text, '[', depth);
        memset(text + depth, ']', depth);

        CLEANUP(json_done) json_t *root = json_read(slice_of(text, 2 * depth), &e);

        assert_int_equal(root != NULL, depth <= JSON_DEPTH_MAX);
        assert_int_equal(e.kind, depth <= JSON_DEPTH_MAX ? ERR_KIND_NONE : ERR_KIND_LIMIT);
    }
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(depth_is_limited_PB_6),
    };
    static struct CMUnitTest tests[48];
    size_t count = 0;

    UNIT_ROWS(tests, count, cases, check);
    tests[count++] = single[0];
    return _cmocka_run_group_tests("json", tests, count, NULL, NULL);
}
