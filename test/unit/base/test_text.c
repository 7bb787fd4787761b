#include "unit.h"

#include "base/text.h"

/* ---- base64 and hex ---- */

enum codec { CODEC_BASE64, CODEC_BASE64_LAX, CODEC_HEX };

static struct decode_case {
    const char *name;
    enum codec codec;
    struct slice in;
    bool ok;
    struct slice want;
} decode_cases[] = {
    { "base64_empty_is_empty", CODEC_BASE64, SLICE_LIT(""), true, SLICE_LIT("") },
    { "base64_rfc4648_f", CODEC_BASE64, SLICE_LIT("Zg=="), true, SLICE_LIT("f") },
    { "base64_rfc4648_fo", CODEC_BASE64, SLICE_LIT("Zm8="), true, SLICE_LIT("fo") },
    { "base64_rfc4648_foo", CODEC_BASE64, SLICE_LIT("Zm9v"), true, SLICE_LIT("foo") },
    { "base64_rfc4648_foobar", CODEC_BASE64, SLICE_LIT("Zm9vYmFy"), true, SLICE_LIT("foobar") },
    { "base64_plus_and_slash", CODEC_BASE64, SLICE_LIT("+/+/"), true, SLICE_LIT("\xfb\xff\xbf") },
    { "base64_url_alphabet_is_refused", CODEC_BASE64, SLICE_LIT("-_-_"), false, SLICE_LIT("") },
    { "base64_unpadded_is_refused", CODEC_BASE64, SLICE_LIT("Zg"), false, SLICE_LIT("") },
    { "base64_newline_is_refused", CODEC_BASE64, SLICE_LIT("Zm9\n"), false, SLICE_LIT("") },
    { "base64_spare_bits_are_refused", CODEC_BASE64, SLICE_LIT("Zh=="), false, SLICE_LIT("") },
    { "base64_spare_bits_of_two_are_refused", CODEC_BASE64, SLICE_LIT("Zm9="), false, SLICE_LIT("") },
    { "base64_padding_within_is_refused", CODEC_BASE64, SLICE_LIT("Zg==Zg=="), false, SLICE_LIT("") },
    { "base64_three_padding_is_refused", CODEC_BASE64, SLICE_LIT("Z==="), false, SLICE_LIT("") },
    { "base64_only_padding_is_refused", CODEC_BASE64, SLICE_LIT("===="), false, SLICE_LIT("") },
    { "base64_nul_is_refused", CODEC_BASE64, SLICE_LIT("Zm9\0"), false, SLICE_LIT("") },
    { "base64_lax_takes_padding", CODEC_BASE64_LAX, SLICE_LIT("Zg=="), true, SLICE_LIT("f") },
    { "base64_lax_takes_none", CODEC_BASE64_LAX, SLICE_LIT("Zg"), true, SLICE_LIT("f") },
    { "base64_lax_takes_none_of_two", CODEC_BASE64_LAX, SLICE_LIT("Zm8"), true, SLICE_LIT("fo") },
    { "base64_lax_half_padding_is_refused", CODEC_BASE64_LAX, SLICE_LIT("Zg="), false, SLICE_LIT("") },
    { "base64_lax_one_digit_is_refused", CODEC_BASE64_LAX, SLICE_LIT("Z"), false, SLICE_LIT("") },
    { "base64_lax_spare_bits_are_refused", CODEC_BASE64_LAX, SLICE_LIT("Zh"), false, SLICE_LIT("") },
    { "hex_empty_is_empty", CODEC_HEX, SLICE_LIT(""), true, SLICE_LIT("") },
    { "hex_both_cases", CODEC_HEX, SLICE_LIT("00aAfF09"), true, SLICE_LIT("\0\xaa\xff\x09") },
    { "hex_odd_is_refused", CODEC_HEX, SLICE_LIT("abc"), false, SLICE_LIT("") },
    { "hex_g_is_refused", CODEC_HEX, SLICE_LIT("ag"), false, SLICE_LIT("") },
    { "hex_colon_is_refused", CODEC_HEX, SLICE_LIT("a:"), false, SLICE_LIT("") },
};

static void check_decode(void **state)
{
    const struct decode_case *c = *state;
    CLEANUP(buf_done) struct buf out = BUF_INIT(64);
    struct err e = ERR_INIT;
    bool ok = false;

    assert_true(buf_append_str(&out, "<", &e));
    switch (c->codec) {
    case CODEC_BASE64: ok = base64_decode(c->in, &out, &e); break;
    case CODEC_BASE64_LAX: ok = base64_decode_lax(c->in, &out, &e); break;
    case CODEC_HEX: ok = hex_decode(c->in, &out, &e); break;
    }
    assert_int_equal(ok, c->ok);
    assert_int_equal(e.kind, ok ? ERR_KIND_NONE : ERR_KIND_INVALID);
    /* What was there stays, and a refused text adds nothing. */
    assert_true(slice_starts(buf_slice(&out), "<"));
    assert_true(slice_equal(slice_after(buf_slice(&out), 1), c->want));
}

static void base64_and_hex_round_trip_all_lengths(void **state)
{
    uint8_t bytes[70];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 151 + 7);
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        CLEANUP(buf_done) struct buf text = BUF_INIT(1024);
        CLEANUP(buf_done) struct buf back = BUF_INIT(1024);
        char hex[sizeof(bytes) * 2 + 1];
        struct slice in = slice_of(bytes, len);
        struct err e = ERR_INIT;

        assert_true(base64_encode(in, &text, &e));
        assert_int_equal(text.len, (len + 2) / 3 * 4);
        assert_true(base64_decode(buf_slice(&text), &back, &e));
        assert_true(slice_equal(buf_slice(&back), in));
        buf_truncate(&back, 0);
        hex_encode(in, hex);
        assert_int_equal(strlen(hex), len * 2);
        assert_true(hex_decode(slice_of_str(hex), &back, &e));
        assert_true(slice_equal(buf_slice(&back), in));
    }
}

static void base64_over_the_limit_leaves_the_buf(void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(7);
    struct err e = ERR_INIT;

    (void)state;
    assert_false(base64_encode((struct slice)SLICE_LIT("foobar"), &out, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
    assert_int_equal(out.len, 0);
}

/* ---- quoting ---- */

static struct quote_case {
    const char *name;
    bool json;
    struct slice in;
    const char *want;
} quote_cases[] = {
    { "json_plain", true, SLICE_LIT("plain"), "\"plain\"" },
    { "json_empty", true, SLICE_LIT(""), "\"\"" },
    { "json_quote_and_backslash", true, SLICE_LIT("a\"b\\c"), "\"a\\\"b\\\\c\"" },
    { "json_control_bytes_RL_6", true, SLICE_LIT("\0\n\x1b[2J\x7f"), "\"\\u0000\\u000a\\u001b[2J\\u007f\"" },
    { "json_c1_RL_6", true, SLICE_LIT("\xc2\x9b"), "\"\\u009b\"" },
    { "json_keeps_utf8", true, SLICE_LIT("h\xc3\xa9 \xe2\x9c\x94 \xf0\x9f\x94\x97"),
      "\"h\xc3\xa9 \xe2\x9c\x94 \xf0\x9f\x94\x97\"" },
    { "json_bad_bytes_are_replaced_one_by_one", true,
      SLICE_LIT("a\xff\xfe"
                "b"),
      "\"a\xef\xbf\xbd\xef\xbf\xbd"
      "b\"" },
    { "json_surrogate_is_replaced", true, SLICE_LIT("\xed\xa0\x80"),
      "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
    { "json_cut_sequence_is_replaced", true, SLICE_LIT("x\xe2\x9c"), "\"x\xef\xbf\xbd\xef\xbf\xbd\"" },
    { "json_tag_rune_is_a_surrogate_pair", true, SLICE_LIT("\xf3\xa0\x81\x81"), "\"\\udb40\\udc41\"" },
    { "json_bidi_RL_6", true, SLICE_LIT("\xe2\x80\xae"), "\"\\u202e\"" },
    { "safe_plain", false, SLICE_LIT("a b\\\"c\""), "a b\\\"c\"" },
    { "safe_newline_RL_6", false, SLICE_LIT("a\r\nlevel=ERROR"), "a\\x0d\\x0alevel=ERROR" },
    { "safe_escape_RL_6", false, SLICE_LIT("\x1b]0;x\x07"), "\\x1b]0;x\\x07" },
    { "safe_c1_RL_6", false,
      SLICE_LIT("\xc2\x9b"
                "31m"),
      "\\u{9b}31m" },
    { "safe_bidi_RL_6", false,
      SLICE_LIT("\xe2\x80\xae"
                "txt\xe2\x81\xa6"),
      "\\u{202e}txt\\u{2066}" },
    { "safe_bad_utf8_RL_6", false, SLICE_LIT("\xff\xc0\x80z"), "\\xff\\xc0\\x80z" },
    { "safe_keeps_utf8", false, SLICE_LIT("\xe2\x9c\x94 ok"), "\xe2\x9c\x94 ok" },
    { "safe_tab_and_nul", false, SLICE_LIT("\t\0"), "\\x09\\x00" },
    { "safe_del", false, SLICE_LIT("\x7f"), "\\x7f" },
};

static void check_quote(void **state)
{
    const struct quote_case *c = *state;
    CLEANUP(buf_done) struct buf out = BUF_INIT(256);
    struct err e = ERR_INIT;

    assert_true(c->json ? text_json_string(c->in, &out, &e) : text_safe(c->in, &out, &e));
    assert_string_equal(buf_str(&out, &e), c->want);
}

static void quoting_over_the_limit_leaves_the_buf(void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(8);
    struct err e = ERR_INIT;

    (void)state;
    assert_true(buf_append_str(&out, "ab", &e));
    assert_false(text_json_string((struct slice)SLICE_LIT("\1\2"), &out, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
    assert_false(text_safe((struct slice)SLICE_LIT("ok\1\2"), &out, &e));
    assert_string_equal(buf_str(&out, &e), "ab");
}

static void short_text_is_cut_and_safe(void **state)
{
    char longest[TEXT_SHORT_SIZE];
    char ret[TEXT_SHORT_SIZE];

    (void)state;
    memset(longest, 'x', sizeof(longest));
    text_short(slice_of(longest, sizeof(longest)), ret);
    assert_int_equal(strlen(ret), TEXT_SHORT_SIZE - 1);
    assert_string_equal(ret + TEXT_SHORT_SIZE - 5, "x...");
    text_short((struct slice)SLICE_LIT("a\x1b\xff\xc2\x9b\xc3\xa9"), ret);
    assert_string_equal(ret, "a\\x1b\\xff\\u{9b}\xc3\xa9");
    /* A sequence is never cut in two. */
    for (size_t i = 0; i + 3 <= sizeof(longest); i += 3)
        memcpy(longest + i, "\xe2\x9c\x94", 3);
    text_short(slice_of(longest, 78), ret);
    assert_true(slice_is_utf8(slice_of_str(ret)));
}

/* ---- numbers, booleans, durations, times ---- */

static struct parse_case {
    const char *name;
    enum { PARSE_BOOL, PARSE_U64, PARSE_DURATION } what;
    const char *in;
    bool ok;
    uint64_t want;
    uint64_t min, max;
} parse_cases[] = {
    { "bool_1", PARSE_BOOL, "1", true, 1, 0, 0 },
    { "bool_t", PARSE_BOOL, "t", true, 1, 0, 0 },
    { "bool_True", PARSE_BOOL, "True", true, 1, 0, 0 },
    { "bool_TRUE", PARSE_BOOL, "TRUE", true, 1, 0, 0 },
    { "bool_F", PARSE_BOOL, "F", true, 0, 0, 0 },
    { "bool_false", PARSE_BOOL, "false", true, 0, 0, 0 },
    { "bool_yes_is_refused", PARSE_BOOL, "yes", false, 0, 0, 0 },
    { "bool_tRue_is_refused", PARSE_BOOL, "tRue", false, 0, 0, 0 },
    { "bool_empty_is_refused", PARSE_BOOL, "", false, 0, 0, 0 },
    { "u64_min", PARSE_U64, "5", true, 5, 5, 9 },
    { "u64_max", PARSE_U64, "9", true, 9, 5, 9 },
    { "u64_below_min", PARSE_U64, "4", false, 0, 5, 9 },
    { "u64_above_max", PARSE_U64, "10", false, 0, 5, 9 },
    { "u64_largest", PARSE_U64, "18446744073709551615", true, UINT64_MAX, 0, UINT64_MAX },
    { "u64_one_more_is_refused", PARSE_U64, "18446744073709551616", false, 0, 0, UINT64_MAX },
    { "u64_much_more_is_refused", PARSE_U64, "99999999999999999999", false, 0, 0, UINT64_MAX },
    { "u64_sign_is_refused", PARSE_U64, "+1", false, 0, 0, 9 },
    { "u64_minus_is_refused", PARSE_U64, "-1", false, 0, 0, 9 },
    { "u64_space_is_refused", PARSE_U64, " 1", false, 0, 0, 9 },
    { "u64_trailing_is_refused", PARSE_U64, "1x", false, 0, 0, 9 },
    { "u64_empty_is_refused", PARSE_U64, "", false, 0, 0, 9 },
    { "u64_leading_zero", PARSE_U64, "007", true, 7, 0, 9 },
    { "duration_0", PARSE_DURATION, "0", true, 0, 0, 0 },
    { "duration_60s", PARSE_DURATION, "60s", true, 60000, 0, 0 },
    { "duration_1h0m0s", PARSE_DURATION, "1h0m0s", true, 3600000, 0, 0 },
    { "duration_100ms", PARSE_DURATION, "100ms", true, 100, 0, 0 },
    { "duration_1_5s", PARSE_DURATION, "1.5s", true, 1500, 0, 0 },
    { "duration_point_first", PARSE_DURATION, ".5m", true, 30000, 0, 0 },
    { "duration_point_last", PARSE_DURATION, "2.s", true, 2000, 0, 0 },
    { "duration_us_rounds_down", PARSE_DURATION, "1999us", true, 1, 0, 0 },
    { "duration_micro_sign", PARSE_DURATION, "2000\xc2\xb5s", true, 2, 0, 0 },
    { "duration_greek_mu", PARSE_DURATION, "2000\xce\xbcs", true, 2, 0, 0 },
    { "duration_parts_are_added_before_rounding", PARSE_DURATION, "999us1us", true, 1, 0, 0 },
    { "duration_many_digits", PARSE_DURATION, "1.0000000000000000000000001s", true, 1000, 0, 0 },
    { "duration_largest", PARSE_DURATION, "9223372036854775807ns", true, 9223372036854, 0, 0 },
    { "duration_one_more_is_refused", PARSE_DURATION, "9223372036854775808ns", false, 0, 0, 0 },
    { "duration_sum_over_is_refused", PARSE_DURATION, "9223372036s9223372036s", false, 0, 0, 0 },
    { "duration_hours_over_is_refused", PARSE_DURATION, "2562048h", false, 0, 0, 0 },
    { "duration_no_unit_is_refused", PARSE_DURATION, "60", false, 0, 0, 0 },
    { "duration_day_is_refused", PARSE_DURATION, "1d", false, 0, 0, 0 },
    { "duration_sign_is_refused", PARSE_DURATION, "-1s", false, 0, 0, 0 },
    { "duration_space_is_refused", PARSE_DURATION, "1 s", false, 0, 0, 0 },
    { "duration_point_alone_is_refused", PARSE_DURATION, ".s", false, 0, 0, 0 },
    { "duration_empty_is_refused", PARSE_DURATION, "", false, 0, 0, 0 },
    { "duration_unit_alone_is_refused", PARSE_DURATION, "s", false, 0, 0, 0 },
};

static void check_parse(void **state)
{
    const struct parse_case *c = *state;
    struct slice in = slice_of_str(c->in);
    struct err e = ERR_INIT;
    uint64_t v = 77;
    bool b = false;
    bool ok = false;

    switch (c->what) {
    case PARSE_BOOL:
        ok = text_parse_bool(in, &b, &e);
        v = ok ? b : v;
        break;
    case PARSE_U64: ok = text_parse_u64(in, c->min, c->max, &v, &e); break;
    case PARSE_DURATION: ok = text_parse_duration_ms(in, &v, &e); break;
    }
    assert_int_equal(ok, c->ok);
    assert_int_equal(e.kind, ok ? ERR_KIND_NONE : ERR_KIND_INVALID);
    assert_true(v == (ok ? c->want : 77)); /* nothing is written on failure */
}

static void u64_error_names_seen_and_wanted(void **state)
{
    struct err e = ERR_INIT;
    uint64_t v;

    (void)state;
    assert_false(text_parse_u64((struct slice)SLICE_LIT("7"), 0, 3, &v, &e));
    assert_string_equal(err_text(&e), "'7': a whole number from 0 to 3 is wanted");
}

static struct duration_text_case {
    const char *name;
    uint64_t ms;
    const char *want;
} duration_texts[] = {
    { "duration_text_0", 0, "0s" },
    { "duration_text_1", 1, "1ms" },
    { "duration_text_999", 999, "999ms" },
    { "duration_text_1000", 1000, "1s" },
    { "duration_text_1500", 1500, "1.5s" },
    { "duration_text_60000", 60000, "1m0s" },
    { "duration_text_60050", 60050, "1m0.05s" },
    { "duration_text_3600000", 3600000, "1h0m0s" },
    { "duration_text_3723004", 3723004, "1h2m3.004s" },
    { "duration_text_largest", UINT64_MAX, "5124095576030h25m51.615s" },
};

static void check_duration_text(void **state)
{
    const struct duration_text_case *c = *state;
    char ret[32];

    text_format_duration_ms(c->ms, ret);
    assert_string_equal(ret, c->want);
}

static struct time_case {
    const char *name;
    int64_t ns;
    const char *want;
} time_cases[] = {
    { "time_epoch", 0, "1970-01-01T00:00:00.000000000Z" },
    { "time_before_epoch", -1, "1969-12-31T23:59:59.999999999Z" },
    { "time_2026", 1767323045000000006, "2026-01-02T03:04:05.000000006Z" },
    { "time_leap_day", 1709164800123456789, "2024-02-29T00:00:00.123456789Z" },
    { "time_earliest", INT64_MIN, "1677-09-21T00:12:43.145224192Z" },
    { "time_latest", INT64_MAX, "2262-04-11T23:47:16.854775807Z" },
};

static void check_time(void **state)
{
    const struct time_case *c = *state;
    char ret[40];

    text_format_time(c->ns, ret);
    assert_string_equal(ret, c->want);
}

static struct bytes_case {
    const char *name;
    uint64_t len;
    const char *want;
} bytes_cases[] = {
    { "bytes_0", 0, "0 B" },
    { "bytes_1023", 1023, "1023 B" },
    { "bytes_1024", 1024, "1.0 KiB" },
    { "bytes_1536", 1536, "1.5 KiB" },
    { "bytes_just_under_mib", 1024 * 1024 - 1, "1.0 MiB" },
    { "bytes_12_3_mib", 12897485, "12.3 MiB" },
    { "bytes_4_gib", 4294967296, "4.0 GiB" },
    { "bytes_largest", UINT64_MAX, "16.0 EiB" },
};

static void check_bytes(void **state)
{
    const struct bytes_case *c = *state;
    char ret[24];

    text_format_bytes(c->len, ret);
    assert_string_equal(ret, c->want);
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(base64_and_hex_round_trip_all_lengths),
        cmocka_unit_test(base64_over_the_limit_leaves_the_buf),
        cmocka_unit_test(quoting_over_the_limit_leaves_the_buf),
        cmocka_unit_test(short_text_is_cut_and_safe),
        cmocka_unit_test(u64_error_names_seen_and_wanted),
    };
    static struct CMUnitTest tests[256];
    size_t count = 0;

    UNIT_ROWS(tests, count, decode_cases, check_decode);
    UNIT_ROWS(tests, count, quote_cases, check_quote);
    UNIT_ROWS(tests, count, parse_cases, check_parse);
    UNIT_ROWS(tests, count, duration_texts, check_duration_text);
    UNIT_ROWS(tests, count, time_cases, check_time);
    UNIT_ROWS(tests, count, bytes_cases, check_bytes);
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        tests[count++] = single[i];
    return _cmocka_run_group_tests("text", tests, count, NULL, NULL);
}
