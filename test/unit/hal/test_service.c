#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <unistd.h>

#include "base/stage.h"
#include "hal/service.h"

static void backoff_doubles_up_to_its_limit(void **state)
{
    static const struct {
        unsigned failures;
        uint64_t want_ms;
    } rows[] = { { 0, 200 },   { 1, 200 },   { 2, 400 },        { 3, 800 },
                 { 8, 25600 }, { 9, 30000 }, { 1000000, 30000 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(hal_service_backoff_ms(rows[i].failures), rows[i].want_ms);
}

static void a_long_run_forgets_earlier_failures(void **state)
{
    struct hal_service s = { .name = "s", .output = -1, .pid = 7, .started_ms = 1000, .failures = 5 };

    (void)state;
    hal_service_ended(&s, 1000 + HAL_STABLE_MS - 1);
    assert_int_equal(s.failures, 6);
    s.started_ms = 1000;
    hal_service_ended(&s, 1000 + HAL_STABLE_MS);
    assert_int_equal(s.failures, 1);
    assert_int_equal(s.pid, 0);
    assert_int_equal(s.state, HAL_SERVICE_BACKOFF);
    assert_int_equal(s.retry_ms, 1000 + HAL_STABLE_MS + HAL_BACKOFF_FIRST_MS);
}

static void a_program_the_image_lacks_is_absent(void **state)
{
    struct hal_service s = { .name = "s", .path = "/nonexistent/program", .output = -1 };
    struct hal_env env = { NULL, 0 };
    struct err e = ERR_INIT;

    (void)state;
    assert_false(hal_service_start(&s, &env, 0, &e));
    assert_int_equal(s.state, HAL_SERVICE_ABSENT);
    assert_int_equal(e.kind, ERR_KIND_MISSING);
}

/* Feeds text as a service's output and returns what reaches the console. */
static void pump_text(const char *text, struct buf *out)
{
    int in[2];
    int console[2];
    struct err e = ERR_INIT;
    struct hal_service s = { .name = "svc" };

    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(console), 0);
    assert_true(stage_write_all(in[1], slice_of_str(text), &e));
    close(in[1]);
    s.output = in[0];
    assert_false(hal_service_pump(&s, console[1], 5000));
    assert_int_equal(s.output, -1);
    close(console[1]);
    assert_true(stage_read_fd(console[0], out, &e));
    close(console[0]);
}

static void output_is_named_line_by_line_RL_6(void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);

    (void)state;
    pump_text("one\ntw\x1bo\nlast", &out);
    assert_true(slice_equal_str(buf_slice(&out), "svc: one\nsvc: tw\\x1bo\nsvc: last\n"));
}

static void a_flood_is_dropped_and_a_long_line_is_cut_MG_9(void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(1 << 20);
    CLEANUP(buf_done) struct buf in = BUF_INIT(1 << 20);
    struct err e = ERR_INIT;
    size_t lines = 0;

    (void)state;
    for (size_t i = 0; i < 3 * HAL_LINE_MAX; i++)
        assert_true(buf_append_u8(&in, 'x', &e));
    assert_true(buf_append_u8(&in, '\n', &e));
    for (unsigned i = 0; i < 2 * HAL_LINES_PER_SECOND; i++)
        assert_true(buf_append_str(&in, "flood\n", &e));
    pump_text(buf_str(&in, &e), &out);
    for (struct slice left = buf_slice(&out); left.len; lines++) {
        size_t len = slice_find(left, '\n');

        assert_in_range(len, 1, HAL_LINE_MAX + strlen("svc: "));
        left = slice_after(left, len + 1);
    }
    assert_int_equal(lines, HAL_LINES_PER_SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backoff_doubles_up_to_its_limit),
        cmocka_unit_test(a_long_run_forgets_earlier_failures),
        cmocka_unit_test(a_program_the_image_lacks_is_absent),
        cmocka_unit_test(output_is_named_line_by_line_RL_6),
        cmocka_unit_test(a_flood_is_dropped_and_a_long_line_is_cut_MG_9),
    };
    return cmocka_run_group_tests_name("hal/service", tests, NULL, NULL);
}
