#include "unit/base/unit.h"

#include "cli/bar.h"

#define MIB (1024u * 1024u)

/* ---- one drawing ---- */

static struct bar_case {
    const char *name;
    struct cli_bar_view view;
    const char *want; /* behind "\r" spaces "\r" */
} cases[] = {
    { "half_done_fills_half_the_blocks",
      { .what = "Uploading data", .done = 50, .total = 100, .columns = 40 },
      "📦 Uploading data [█████░░░░░] [50%]" },
    { "algorithm_flies_with_a_rocket",
      { .what = "Uploading algorithm", .done = 0, .total = 100, .columns = 43 },
      "🚀 Uploading algorithm [░░░░░░░░░░] [0%]" },
    { "download_has_its_own_picture",
      { .what = "Downloading result", .done = 100, .total = 100, .columns = 43 },
      "📥 Downloading result [██████████] [100%]" },
    { "almost_done_is_not_called_done",
      { .what = "Uploading data", .done = 999999, .total = 1000000, .columns = 38 },
      "📦 Uploading data [█████████░] [99%]" },
    { "nothing_to_do_is_done",
      { .what = "Uploading data", .done = 0, .total = 0, .columns = 38 },
      "📦 Uploading data [██████████] [100%]" },
    { "more_than_all_stays_at_hundred",
      { .what = "Uploading data", .done = 7, .total = 5, .columns = 38 },
      "📦 Uploading data [██████████] [100%]" },
    { "largest_sizes_do_not_overflow",
      { .what = "Uploading data", .done = UINT64_MAX / 2, .total = UINT64_MAX, .columns = 38 },
      "📦 Uploading data [█████░░░░░] [50%]" },
    { "rate_and_time_left_when_known",
      { .what = "Uploading data", .done = 50 * MIB, .total = 100 * MIB, .rate = 10 * MIB, .columns = 62 },
      "📦 Uploading data [█████░░░░░] [50%] 10.0 MiB/s, 6s left" },
    { "hours_left_as_hours",
      { .what = "Uploading data", .done = 0, .total = UINT64_C(36000) * MIB, .rate = 5 * MIB, .columns = 66 },
      "📦 Uploading data [░░░░░░░░░░] [0%] 5.0 MiB/s, 2h0m1s left" },
    { "no_time_left_at_the_end",
      { .what = "Uploading data", .done = 10, .total = 10, .rate = 10 * MIB, .columns = 50 },
      "📦 Uploading data [██████████] [100%] 10.0 MiB/s" },
    { "weeks_left_are_not_told",
      { .what = "Uploading data", .done = 0, .total = UINT64_C(1) << 40, .rate = 10, .columns = 50 },
      "📦 Uploading data [░░░░░░░░░░] [0%] 10 B/s" },
    { "narrow_loses_the_time_left_first",
      { .what = "Uploading data", .done = 50 * MIB, .total = 100 * MIB, .rate = 10 * MIB, .columns = 50 },
      "📦 Uploading data [█████░░░░░] [50%] 10.0 MiB/s" },
    { "narrower_loses_the_rate",
      { .what = "Uploading data", .done = 50 * MIB, .total = 100 * MIB, .rate = 10 * MIB, .columns = 45 },
      "📦 Uploading data [█████░░░░░] [50%]" },
    { "eighty_columns_have_room_for_all",
      { .what = "Uploading data", .done = 50 * MIB, .total = 100 * MIB, .rate = 10 * MIB, .columns = 80 },
      "📦 Uploading data [████████████░░░░░░░░░░░░] [50%] 10.0 MiB/s, 6s left" },
    { "narrower_still_loses_the_blocks",
      { .what = "Uploading data", .done = 1, .total = 2, .rate = MIB, .columns = 30 },
      "📦 Uploading data [50%]" },
    { "narrowest_loses_the_words",
      { .what = "Uploading data", .done = 1, .total = 2, .columns = 12 },
      " [50%]" },
    { "colour_only_around_what_is_done",
      { .what = "Uploading data", .done = 1, .total = 2, .columns = 38, .colour = true },
      "📦 Uploading data [\x1b[32m█████\x1b[0m░░░░░] [50%]" },
};

static void check_case(void **state)
{
    const struct bar_case *c = *state;
    CLEANUP(buf_done) struct buf out = BUF_INIT(16384);
    CLEANUP(buf_done) struct buf want = BUF_INIT(16384);
    struct err e = ERR_INIT;

    assert_true(buf_format(&want, &e, "\r%*s\r%s", (int)c->view.columns - 1, "", c->want));
    assert_true(cli_bar_render(&c->view, &out, &e));
    assert_string_equal(buf_str(&out, &e), buf_str(&want, &e));
}

/* Columns a terminal needs for the text behind the last "\r": pictures take two, the rest one. */
static unsigned columns_of(const char *text)
{
    const char *at = strrchr(text, '\r');
    unsigned columns = 0;

    for (at++; *at; at++) {
        unsigned char c = (unsigned char)*at;

        if (c >= 0xf0)
            columns += 2;
        else if (c < 0x80 || c >= 0xc0)
            columns++;
    }
    return columns;
}

static void no_width_is_ever_exceeded(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    for (unsigned columns = 1; columns <= 400; columns++) {
        for (unsigned i = 0; i <= 20; i++) {
            CLEANUP(buf_done) struct buf out = BUF_INIT(16384);
            struct cli_bar_view v = { .what = "Downloading Linux IMA measurements",
                                      .done = (uint64_t)i * MIB * 100,
                                      .total = UINT64_C(2000) * MIB,
                                      .rate = i * 12345678u,
                                      .columns = columns };
            const char *text;

            assert_true(cli_bar_render(&v, &out, &e));
            text = buf_str(&out, &e);
            assert_non_null(text);
            if (text[0] != '\0')
                assert_in_range(columns_of(text), 0, columns - 1);
        }
    }
}

static void width_unknown_is_eighty(void **state)
{
    struct cli_bar_view v = { .what = "Uploading data", .done = 1, .total = 2 };
    CLEANUP(buf_done) struct buf out = BUF_INIT(16384);
    struct err e = ERR_INIT;

    (void)state;
    assert_true(cli_bar_render(&v, &out, &e));
    assert_in_range(columns_of(buf_str(&out, &e)), 50, 79);
}

/* ---- the bar over time, never shown ---- */

static void going_past_the_total_is_refused(void **state)
{
    struct cli_bar b;
    struct err e = ERR_INIT;

    (void)state;
    cli_bar_begin(&b, "Downloading result", 100, false, false, 0);
    assert_true(cli_bar_move(&b, 60, 10, &e));
    assert_false(cli_bar_move(&b, 110, 20, &e));
    assert_string_equal(err_text(&e), "progress update exceeds total bytes: attempted to add 50 bytes, but "
                                      "only 40 bytes remain");
    assert_int_equal(e.kind, ERR_KIND_INVALID);
}

static void rate_follows_the_bytes(void **state)
{
    struct cli_bar b;
    struct err e = ERR_INIT;

    (void)state;
    cli_bar_begin(&b, "Uploading data", 100 * MIB, false, false, 1000);
    assert_true(cli_bar_move(&b, MIB, 1100, &e));
    assert_int_equal(b.view.rate, 0); /* too early to tell */
    assert_true(cli_bar_move(&b, 5 * MIB, 1500, &e));
    assert_int_equal(b.view.rate, 10 * MIB);
    assert_true(cli_bar_move(&b, 5 * MIB, 2000, &e)); /* stalled */
    assert_int_equal(b.view.rate, 5 * MIB);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases) + 8];
    size_t count = 0;

    UNIT_ROWS(tests, count, cases, check_case);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(no_width_is_ever_exceeded);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(width_unknown_is_eighty);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(going_past_the_total_is_refused);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(rate_follows_the_bytes);
    return _cmocka_run_group_tests("cli/bar", tests, count, NULL, NULL);
}
