#include "unit/base/unit.h"

#include "agent/upload.h"

static struct parse_case {
    const char *name;
    struct slice wire;
    bool ok;
    const char *first;
    const char *second;
} cases[] = {
    { "empty_message", SLICE_LIT(""), true, "", "" },
    { "both_fields",
      SLICE_LIT("\x0a\x03"
                "abc"
                "\x12\x01"
                "n"),
      true, "abc", "n" },
    { "other_order",
      SLICE_LIT("\x12\x01"
                "n"
                "\x0a\x03"
                "abc"),
      true, "abc", "n" },
    { "last_one_counts",
      SLICE_LIT("\x0a\x01"
                "a"
                "\x0a\x02"
                "bc"),
      true, "bc", "" },
    { "empty_field", SLICE_LIT("\x0a\x00"), true, "", "" },
    { "PB-5_unknown_bytes_skipped",
      SLICE_LIT("\x1a\x02"
                "xx"
                "\x0a\x01"
                "a"),
      true, "a", "" },
    { "PB-5_unknown_varint_skipped",
      SLICE_LIT("\x18\x96\x01"
                "\x0a\x01"
                "a"),
      true, "a", "" },
    { "PB-5_unknown_fixed_skipped",
      SLICE_LIT("\x1d"
                "1234"
                "\x21"
                "12345678"
                "\x0a\x01"
                "a"),
      true, "a", "" },
    { "long_length_varint",
      SLICE_LIT("\x0a\x81\x00"
                "a"),
      true, "a", "" },
    { "cut_in_tag", SLICE_LIT("\x8a"), false, NULL, NULL },
    { "cut_in_length", SLICE_LIT("\x0a"), false, NULL, NULL },
    { "cut_in_bytes",
      SLICE_LIT("\x0a\x03"
                "ab"),
      false, NULL, NULL },
    { "cut_in_fixed",
      SLICE_LIT("\x1d"
                "123"),
      false, NULL, NULL },
    { "length_over_everything",
      SLICE_LIT("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                "ab"),
      false, NULL, NULL },
    { "PB-3_overlong_varint",
      SLICE_LIT("\x0a\x81\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"
                "a"),
      false, NULL, NULL },
    { "PB-3_group", SLICE_LIT("\x1b\x1c"), false, NULL, NULL },
    { "field_0",
      SLICE_LIT("\x02\x01"
                "a"),
      false, NULL, NULL },
    { "algorithm_as_varint", SLICE_LIT("\x08\x01"), false, NULL, NULL },
    { "filename_as_varint", SLICE_LIT("\x10\x01"), false, NULL, NULL },
};

static void check_case(void **state)
{
    const struct parse_case *t = *state;
    struct slice first = SLICE_LIT("unset"), second = SLICE_LIT("unset");
    struct err e = ERR_INIT;

    assert_int_equal(upload_parse(t->wire, &first, &second, &e), t->ok);
    assert_int_equal(e.kind, t->ok ? ERR_KIND_NONE : ERR_KIND_INVALID);
    assert_true(slice_equal_str(first, t->ok ? t->first : "unset"));
    assert_true(slice_equal_str(second, t->ok ? t->second : "unset"));
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases)];
    size_t count = 0;

    UNIT_ROWS(tests, count, cases, check_case);
    return _cmocka_run_group_tests("agent/upload_parse", tests, count, NULL, NULL);
}
