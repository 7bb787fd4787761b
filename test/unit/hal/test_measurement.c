#include "unit/base/unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "hal/measurement.h"
#include "unit/base/scratch.h"

/* Files as the kernel shows them: upper-case hex and a newline; PCR i is full of the byte i. */
static void write_pcrs(void)
{
    assert_int_equal(mkdir("pcrs", 0700), 0);
    for (unsigned i = 0; i < HAL_PCR_COUNT; i++) {
        char name[16];
        char text[80] = "";

        snprintf(name, sizeof(name), "pcrs/%u", i);
        for (size_t n = 0; n < 32; n++)
            snprintf(text + 2 * n, sizeof(text) - 2 * n, "%02X", i | 0xa0);
        text[64] = '\n';
        scratch_write(name, slice_of(text, 65), 0600);
    }
}

static void pcrs_are_read_as_lower_case_hex(void **state)
{
    struct hal_pcrs pcrs;
    struct err e = ERR_INIT;
    bool there;

    (void)state;
    write_pcrs();
    assert_true(hal_pcrs_read("pcrs", &pcrs, &there, &e));
    assert_true(there);
    assert_string_equal(pcrs.hex[0], "a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0");
    assert_string_equal(pcrs.hex[10], "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
}

static void no_tpm_is_no_error(void **state)
{
    struct hal_pcrs pcrs;
    struct err e = ERR_INIT;
    bool there = true;

    (void)state;
    assert_true(hal_pcrs_read("pcrs", &pcrs, &there, &e));
    assert_false(there);
}

static struct fault_row {
    const char *name;
    struct slice text;
    const char *fault;
} faults[] = {
    { "pcr_empty", SLICE_LIT(""), "pcrs/3: 0 digits, 64 are wanted" },
    { "pcr_one_digit_short", SLICE_LIT("000000000000000000000000000000000000000000000000000000000000000\n"),
      "pcrs/3: 63 digits, 64 are wanted" },
    { "pcr_one_digit_too_many",
      SLICE_LIT("00000000000000000000000000000000000000000000000000000000000000000"),
      "pcrs/3: 65 digits, 64 are wanted" },
    { "pcr_no_digit", SLICE_LIT("000000000000000000000000000000000000000000000000000000000000000g\n"), NULL },
};

static void check_fault(void **state)
{
    const struct fault_row *row = *state;
    struct hal_pcrs pcrs;
    struct err e = ERR_INIT;
    bool there;

    scratch_enter();
    write_pcrs();
    scratch_write("pcrs/3", row->text, 0600);
    assert_false(hal_pcrs_read("pcrs", &pcrs, &there, &e));
    assert_false(there);
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    if (row->fault)
        assert_string_equal(err_text(&e), row->fault);
    scratch_leave();
}

static void missing_pcr_is_named(void **state)
{
    struct hal_pcrs pcrs;
    struct err e = ERR_INIT;
    bool there;

    (void)state;
    write_pcrs();
    assert_int_equal(unlink("pcrs/7"), 0);
    assert_false(hal_pcrs_read("pcrs", &pcrs, &there, &e));
    assert_int_equal(e.kind, ERR_KIND_MISSING);
    assert_non_null(strstr(err_text(&e), "pcrs/7"));
}

static struct log_row {
    const char *name;
    size_t len;
    const char *want; /* between the two marks */
} logs[] = {
    { "log_empty", 0, "" },
    { "log_of_one_byte", 1, "AA==\n" },
    { "log_of_one_whole_line", 57,
      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n" },
    { "log_of_one_byte_more", 58,
      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nAA==\n" },
};

static void check_log(void **state)
{
    static const uint8_t zeros[64];
    const struct log_row *row = *state;
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
    struct err e = ERR_INIT;
    char want[512];

    scratch_enter();
    scratch_write("log", slice_of(zeros, row->len), 0600);
    snprintf(want, sizeof(want), "-----BEGIN TPM EVENT LOG-----\n%s-----END TPM EVENT LOG-----\n", row->want);
    assert_true(hal_event_log_text("log", &text, &e));
    assert_string_equal(buf_str(&text, &e), want);
    scratch_leave();
}

static void log_above_the_limit_is_refused(void **state)
{
    static const uint8_t block[HAL_EVENT_LOG_MAX + 1];
    CLEANUP(buf_done) struct buf text = BUF_INIT(4 * HAL_EVENT_LOG_MAX);
    struct err e = ERR_INIT;

    (void)state;
    scratch_write("log", slice_of(block, sizeof(block)), 0600);
    assert_false(hal_event_log_text("log", &text, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
    scratch_write("log", slice_of(block, HAL_EVENT_LOG_MAX), 0600);
    assert_true(hal_event_log_text("log", &text, &e));
}

static void missing_log_is_missing(void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
    struct err e = ERR_INIT;

    (void)state;
    assert_false(hal_event_log_text("log", &text, &e));
    assert_int_equal(e.kind, ERR_KIND_MISSING);
}

static struct wish_row {
    const char *name;
    struct slice line;
    enum hal_found want;
} wishes[] = {
    { "log_not_asked_for", SLICE_LIT("console=ttyS0 quiet"), HAL_ABSENT },
    { "log_asked_for", SLICE_LIT("quiet cocos.event-log=console\n"), HAL_FOUND },
    { "log_to_nowhere", SLICE_LIT("cocos.event-log="), HAL_BAD },
    { "log_to_another_place", SLICE_LIT("cocos.event-log=net"), HAL_BAD },
    { "log_asked_for_twice", SLICE_LIT("cocos.event-log=console cocos.event-log=console"), HAL_BAD },
};

static void check_wish(void **state)
{
    const struct wish_row *row = *state;
    struct err e = ERR_INIT;

    assert_int_equal(hal_event_log_wanted(row->line, &e), row->want);
    assert_int_equal(e.kind, row->want == HAL_BAD ? ERR_KIND_INVALID : ERR_KIND_NONE);
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {
        cmocka_unit_test_setup_teardown(pcrs_are_read_as_lower_case_hex, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(no_tpm_is_no_error, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(missing_pcr_is_named, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(log_above_the_limit_is_refused, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(missing_log_is_missing, scratch_setup, scratch_teardown),
    };
    struct CMUnitTest tests[ARRAY_LEN(fixed) + ARRAY_LEN(faults) + ARRAY_LEN(logs) + ARRAY_LEN(wishes)];
    size_t n = ARRAY_LEN(fixed);

    memcpy(tests, fixed, sizeof(fixed));
    UNIT_ROWS(tests, n, faults, check_fault);
    UNIT_ROWS(tests, n, logs, check_log);
    UNIT_ROWS(tests, n, wishes, check_wish);
    return cmocka_run_group_tests_name("hal/measurement", tests, NULL, NULL);
}
