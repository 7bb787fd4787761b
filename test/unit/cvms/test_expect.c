#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cvms/expect.h"

/* What a step tells: the first letter says which kind. */
struct step {
    char kind; /* e: event, l: log, s: state, r: RunResponse, 0: none */
    const char *a, *b;
};

static struct expect_case {
    const char *name;
    const char *events[4], *states[4], *logs[4];
    bool once;
    struct step steps[8];
    enum cvms_verdict want;
} cases[] = {
    { "nothing_expected_is_open",
      { 0 },
      { 0 },
      { 0 },
      false,
      { { 'e', "Complete", "Completed" } },
      CVMS_OPEN },
    { "once_waits_for_complete",
      { 0 },
      { 0 },
      { 0 },
      true,
      { { 'e', "Running", "Completed" } },
      CVMS_WAITING },
    { "once_ends_with_complete", { 0 }, { 0 }, { 0 }, true, { { 'e', "Complete", "Completed" } }, CVMS_MET },
    { "once_ends_with_state_complete", { 0 }, { 0 }, { 0 }, true, { { 's', "Complete", NULL } }, CVMS_MET },
    { "once_is_lost_with_failed", { 0 }, { 0 }, { 0 }, true, { { 'e', "Failed", "Failed" } }, CVMS_HOPELESS },
    { "once_is_lost_with_stopped",
      { 0 },
      { 0 },
      { 0 },
      true,
      { { 'e', "Stopped", "Stopped" } },
      CVMS_HOPELESS },
    { "once_is_lost_with_a_refusal",
      { 0 },
      { 0 },
      { 0 },
      true,
      { { 'r', "no algorithm", NULL } },
      CVMS_HOPELESS },
    { "once_is_not_lost_with_acceptance", { 0 }, { 0 }, { 0 }, true, { { 'r', "", NULL } }, CVMS_WAITING },
    { "next_computation_gives_hope",
      { 0 },
      { 0 },
      { 0 },
      true,
      { { 'e', "Failed", "Failed" }, { 'e', "ReceivingAlgorithm", "InProgress" } },
      CVMS_WAITING },
    { "event_by_type_is_met",
      { "Running" },
      { 0 },
      { 0 },
      false,
      { { 'e', "Running", "Starting" } },
      CVMS_MET },
    { "event_by_prefix_is_not_met",
      { "Running" },
      { 0 },
      { 0 },
      false,
      { { 'e', "Run", "Starting" } },
      CVMS_WAITING },
    { "event_with_other_status_is_not_met",
      { "Running/Completed" },
      { 0 },
      { 0 },
      false,
      { { 'e', "Running", "Starting" } },
      CVMS_WAITING },
    { "events_in_order_are_met",
      { "Running/Starting", "Running/Completed" },
      { 0 },
      { 0 },
      false,
      { { 'e', "Running", "Starting" }, { 'e', "Running", "InProgress" }, { 'e', "Running", "Completed" } },
      CVMS_MET },
    { "events_out_of_order_are_not_met",
      { "Running/Completed", "Running/Starting" },
      { 0 },
      { 0 },
      false,
      { { 'e', "Running", "Starting" }, { 'e', "Running", "Completed" } },
      CVMS_WAITING },
    { "event_after_failure_is_lost",
      { "Complete" },
      { 0 },
      { 0 },
      false,
      { { 'e', "Failed", "Failed" } },
      CVMS_HOPELESS },
    { "stop_after_failure_is_not_lost",
      { "Failed", "Stopped" },
      { 0 },
      { 0 },
      false,
      { { 'e', "Failed", "Failed" } },
      CVMS_WAITING },
    { "failure_as_expected_is_met",
      { "Running/Failed", "Failed/Failed" },
      { 0 },
      { 0 },
      true,
      { { 'e', "Running", "Failed" }, { 'e', "Failed", "Failed" } },
      CVMS_MET },
    { "logs_in_any_order_are_met",
      { 0 },
      { 0 },
      { "^b+$", "a{2}" },
      false,
      { { 'l', "xaax", NULL }, { 'l', "bbb", NULL } },
      CVMS_MET },
    { "one_line_may_meet_two_logs", { 0 }, { 0 }, { "a", "b" }, false, { { 'l', "ab", NULL } }, CVMS_MET },
    { "one_log_missing_waits", { 0 }, { 0 }, { "a", "b" }, false, { { 'l', "a", NULL } }, CVMS_WAITING },
    { "log_after_failure_may_still_come",
      { 0 },
      { 0 },
      { "a" },
      true,
      { { 'e', "Failed", "Failed" } },
      CVMS_WAITING },
    { "states_in_order_are_met",
      { 0 },
      { "ReceivingAlgorithm", "Running" },
      { 0 },
      false,
      { { 's', "ReceivingAlgorithm", NULL }, { 's', "ReceivingData", NULL }, { 's', "Running", NULL } },
      CVMS_MET },
    { "state_missing_waits",
      { "Running" },
      { "Running" },
      { 0 },
      false,
      { { 'e', "Running", "Starting" } },
      CVMS_WAITING },
};

static void to_list(const char *const *texts, const char **at, struct config_list *ret)
{
    ret->at = at;
    for (ret->count = 0; ret->count < 4 && texts[ret->count]; ret->count++)
        at[ret->count] = texts[ret->count];
}

static void check_case(void **state)
{
    const struct expect_case *c = *state;
    const char *events[4], *states[4], *logs[4];
    struct cvms_options o = { .once = c->once };
    struct cvms_expect x;
    struct err e = ERR_INIT;

    to_list(c->events, events, &o.expect_event);
    to_list(c->states, states, &o.expect_state);
    to_list(c->logs, logs, &o.expect_log);
    assert_true(cvms_expect_init(&x, &o, &e));
    for (size_t i = 0; i < ARRAY_LEN(c->steps) && c->steps[i].kind; i++) {
        const struct step *s = &c->steps[i];

        if (s->kind == 'e')
            cvms_expect_see_event(&x, s->a, s->b);
        else if (s->kind == 'l')
            cvms_expect_see_log(&x, s->a);
        else if (s->kind == 's')
            cvms_expect_see_state(&x, s->a);
        else
            cvms_expect_see_run_res(&x, s->a);
    }
    assert_int_equal(cvms_expect_verdict(&x), c->want);
    cvms_expect_done(&x);
}

static void report_says_what_is_missing_and_what_was_seen(void **state)
{
    const char *events[] = { "Running/Starting", "Running/Completed" }, *logs[] = { "slope" };
    struct cvms_options o = { .expect_event = { events, 2 }, .expect_log = { logs, 1 } };
    CLEANUP(buf_done) struct buf out = BUF_INIT(65536);
    struct cvms_expect x;
    struct err e = ERR_INIT;

    (void)state;
    assert_true(cvms_expect_init(&x, &o, &e));
    cvms_expect_see_event(&x, "Running", "Starting");
    cvms_expect_see_event(&x, "Run\x1b[31m", "Failed");
    cvms_expect_see_log(&x, "nothing of interest");
    cvms_expect_see_state(&x, "Failed");
    cvms_expect_see_run_res(&x, "hash: 31 bytes");
    assert_true(cvms_expect_report(&x, &out, &e));
    assert_string_equal(buf_str(&out, &e), "  met      event 'Running/Starting'\n"
                                           "  missing  event 'Running/Completed'\n"
                                           "  missing  log 'slope'\n"
                                           "  seen     2 events, 1 log lines\n"
                                           "  seen     event Running/Starting\n"
                                           "  seen     event Run\\x1b[31m/Failed\n"
                                           "  seen     state Failed\n"
                                           "  seen     the manifest refused: hash: 31 bytes\n");
    cvms_expect_done(&x);
}

static void report_keeps_the_latest_events(void **state)
{
    struct cvms_options o = { .once = true };
    CLEANUP(buf_done) struct buf out = BUF_INIT(65536);
    struct cvms_expect x;
    struct err e = ERR_INIT;
    const char *text;

    (void)state;
    assert_true(cvms_expect_init(&x, &o, &e));
    for (int i = 0; i < CVMS_EXPECT_TAIL + 5; i++) {
        char status[16];

        snprintf(status, sizeof(status), "%d", i);
        cvms_expect_see_event(&x, "E", status);
    }
    assert_true(cvms_expect_report(&x, &out, &e));
    text = buf_str(&out, &e);
    assert_non_null(strstr(text, "missing  a computation that ends in Complete"));
    assert_non_null(strstr(text, "25 events"));
    assert_null(strstr(text, "E/4\n"));
    assert_non_null(strstr(text, "E/5\n"));
    assert_non_null(strstr(text, "E/24\n"));
    cvms_expect_done(&x);
}

static void log_longer_than_searched_is_cut(void **state)
{
    static char text[CVMS_EXPECT_LOG_MAX + 8];
    const char *logs[] = { "needle", "needl$" };
    struct cvms_options o = { .expect_log = { logs, 2 } };
    struct cvms_expect x;
    struct err e = ERR_INIT;

    (void)state;
    memset(text, '.', sizeof(text) - 1);
    memcpy(text + CVMS_EXPECT_LOG_MAX - 5, "needle", 6);
    assert_true(cvms_expect_init(&x, &o, &e));
    cvms_expect_see_log(&x, text);
    assert_int_equal(x.logs_met, 1);
    assert_true(x.log_met[1]);
    cvms_expect_done(&x);
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(report_says_what_is_missing_and_what_was_seen),
        cmocka_unit_test(report_keeps_the_latest_events),
        cmocka_unit_test(log_longer_than_searched_is_cut),
    };
    struct CMUnitTest tests[ARRAY_LEN(cases) + ARRAY_LEN(single)];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        tests[i] = (struct CMUnitTest){ cases[i].name, check_case, NULL, NULL, &cases[i] };
    memcpy(tests + ARRAY_LEN(cases), single, sizeof(single));
    return cmocka_run_group_tests_name("expect", tests, NULL, NULL);
}
