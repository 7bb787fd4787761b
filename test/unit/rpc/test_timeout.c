#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rpc/timeout.h"

#define REFUSED UINT64_MAX

static struct parse_case {
    const char *name;
    struct slice text;
    uint64_t want_ms;
} parses[] = {
    { "H2_10_0n_is_zero", SLICE_LIT("0n"), 0 },
    { "H2_10_1n_is_rounded_up", SLICE_LIT("1n"), 1 },
    { "H2_10_million_ns_are_one_ms", SLICE_LIT("1000000n"), 1 },
    { "H2_10_one_more_ns_is_two_ms", SLICE_LIT("1000001n"), 2 },
    { "H2_10_1500u_is_two_ms", SLICE_LIT("1500u"), 2 },
    { "H2_10_250m", SLICE_LIT("250m"), 250 },
    { "H2_10_3S", SLICE_LIT("3S"), 3000 },
    { "H2_10_2M", SLICE_LIT("2M"), 120000 },
    { "H2_10_1H", SLICE_LIT("1H"), 3600000 },
    { "H2_10_eight_digits_of_hours_fit", SLICE_LIT("99999999H"), UINT64_C(359999996400000) },
    { "H2_10_leading_zeros_are_digits", SLICE_LIT("00000001S"), 1000 },
    { "H2_10_nine_digits_are_refused", SLICE_LIT("100000000m"), REFUSED },
    { "H2_10_negative_is_refused", SLICE_LIT("-1S"), REFUSED },
    { "H2_10_plus_is_refused", SLICE_LIT("+1S"), REFUSED },
    { "H2_10_unknown_unit_is_refused", SLICE_LIT("1s"), REFUSED },
    { "H2_10_no_unit_is_refused", SLICE_LIT("10"), REFUSED },
    { "H2_10_unit_alone_is_refused", SLICE_LIT("S"), REFUSED },
    { "H2_10_empty_is_refused", SLICE_LIT(""), REFUSED },
    { "H2_10_fraction_is_refused", SLICE_LIT("1.5S"), REFUSED },
    { "H2_10_space_is_refused", SLICE_LIT("1 S"), REFUSED },
    { "H2_10_nul_is_refused", SLICE_LIT("1\0S"), REFUSED },
};

static void check_parse(void **state)
{
    const struct parse_case *p = *state;
    struct err e = ERR_INIT;
    uint64_t ms = 77;

    if (p->want_ms == REFUSED) {
        assert_false(rpc_timeout_parse(p->text, &ms, &e));
        assert_int_equal(e.kind, ERR_KIND_INVALID);
        assert_int_equal(ms, 77);
        return;
    }
    assert_true(rpc_timeout_parse(p->text, &ms, &e));
    assert_int_equal(ms, p->want_ms);
}

static void format_is_fine_and_never_shorter(void **state)
{
    static const struct {
        uint64_t ms;
        const char *want;
    } rows[] = {
        { 1, "1m" },
        { 99999999, "99999999m" },
        { 100000000, "100000S" },
        { 100000001, "100001S" },
        { UINT64_C(99999999000), "99999999S" },
        { UINT64_C(99999999001), "1666667M" },
        { UINT64_MAX, "99999999H" },
    };
    struct err e = ERR_INIT;
    uint64_t back;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[RPC_TIMEOUT_TEXT_MAX];

        rpc_timeout_format(rows[i].ms, text);
        assert_string_equal(text, rows[i].want);
        assert_true(rpc_timeout_parse(slice_of_str(text), &back, &e));
        assert_true(back >= rows[i].ms || rows[i].ms == UINT64_MAX);
    }
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(parses) + 1] = { cmocka_unit_test(format_is_fine_and_never_shorter) };

    for (size_t i = 0; i < ARRAY_LEN(parses); i++)
        tests[1 + i] = (struct CMUnitTest){ parses[i].name, check_parse, NULL, NULL, &parses[i] };
    return cmocka_run_group_tests_name("rpc/timeout", tests, NULL, NULL);
}
