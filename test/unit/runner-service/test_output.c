#include "unit/base/unit.h"

#include <fcntl.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "base/stage.h"
#include "journal/journal.h"
#include "proto/cvms.pb-c.h"
#include "proto/pb.h"
#include "runner-service/rsvc_output.h"

static struct cut_case {
    const char *name;
    struct slice in;
    size_t want;
} cut_cases[] = {
    { "nothing_is_not_cut", SLICE_LIT(""), 0 },
    { "ascii_is_not_cut", SLICE_LIT("abc"), 0 },
    { "whole_characters_are_not_cut", SLICE_LIT("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"), 0 },
    { "one_of_two", SLICE_LIT("a\xc3"), 1 },
    { "one_of_three", SLICE_LIT("a\xe2"), 1 },
    { "two_of_three", SLICE_LIT("a\xe2\x82"), 2 },
    { "three_of_four", SLICE_LIT("\xf0\x9f\x98"), 3 },
    { "only_continuations_are_no_start", SLICE_LIT("\x80\x80\x80\x80"), 0 },
    { "continuations_behind_ascii_are_no_start", SLICE_LIT("a\x80"), 0 },
    { "bytes_that_start_nothing", SLICE_LIT("a\xff"), 0 },
    { "overlong_starts_nothing", SLICE_LIT("a\xc0"), 0 },
};

static void check_cut(void **state)
{
    const struct cut_case *c = *state;

    assert_int_equal(rsvc_cut_character(c->in), c->want);
}

/* ------------------------------------------------------------- into a journal */

struct fixture {
    char dir[256];
    uv_loop_t loop;
    struct journal *j;
    struct rsvc_output out;
    char logs[2][8192]; /* by stream: what was told of it */
    size_t events;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const char *tmp = getenv("TMPDIR");
    struct journal_config cfg = { .originator = "computation-runner" };
    struct err e = ERR_INIT;

    assert_non_null(f);
    snprintf(f->dir, sizeof(f->dir), "%s/output-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    cfg.dir = f->dir;
    assert_int_equal(uv_loop_init(&f->loop), 0);
    if (!journal_open(&f->loop, &cfg, &f->j, &e))
        fail_msg("%s", err_text(&e));
    rsvc_output_begin(&f->out, f->j, LOG_DEBUG);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    CLEANUP(fd_done) int parent = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct err e = ERR_INIT;

    journal_close(f->j, NULL, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    assert_true(stage_remove_tree(parent, f->dir + 1, &e));
    free(f);
    return 0;
}

static void add(struct fixture *f, enum child_stream stream, const char *text)
{
    rsvc_output_add(&f->out, stream, true, slice_of_str(text));
}

static void collect(struct fixture *f)
{
    CLEANUP(buf_done) struct buf payload = BUF_INIT(OUTBOX_RECORD_MAX);
    struct outbox_record r;
    struct err e = ERR_INIT;

    while (outbox_next(journal_outbox(f->j), &r, &payload, &e) == OUTBOX_READY) {
        CLEANUP(pb_done) Cvms__ClientStreamMessage *m = NULL;

        m = (Cvms__ClientStreamMessage *)pb_decode(&cvms__client_stream_message__descriptor,
                                                   buf_slice(&payload), NULL, &e);
        assert_non_null(m);
        if (r.cls == OUTBOX_EVENT) {
            f->events++;
            continue;
        }

        char *to = f->logs[strcmp(m->agent_log->level, "ERROR") == 0 ? CHILD_STDERR : CHILD_STDOUT];
        size_t len = strlen(to);

        snprintf(to + len, sizeof(f->logs[0]) - len, "%s|", m->agent_log->message);
    }
}

static void character_cut_by_a_read_is_put_together(void **state)
{
    struct fixture *f = *state;

    add(f, CHILD_STDOUT, "a\xe2");
    add(f, CHILD_STDERR, "\xf0\x9f");
    add(f, CHILD_STDOUT, "\x82");
    add(f, CHILD_STDERR, "\x98\x80!");
    add(f, CHILD_STDOUT,
        "\xac"
        "b");
    rsvc_output_end(&f->out);
    collect(f);
    assert_string_equal(f->logs[CHILD_STDOUT], "a|\xe2\x82\xac"
                                               "b|");
    assert_string_equal(f->logs[CHILD_STDERR], "\xf0\x9f\x98\x80!|");
}

static void cut_character_at_the_end_is_told_as_replaced(void **state)
{
    struct fixture *f = *state;

    add(f, CHILD_STDOUT, "a\xe2\x82");
    rsvc_output_end(&f->out);
    collect(f);
    assert_string_equal(f->logs[CHILD_STDOUT], "a|\xef\xbf\xbd\xef\xbf\xbd|");
}

static void each_piece_of_stderr_makes_an_event_up_to_a_bound(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < RSVC_WARNINGS_AT_ONCE + 500; i++)
        add(f, CHILD_STDERR, "x");
    collect(f);
    /* A few more while the loop above ran: one per 100 ms. */
    assert_in_range(f->events, RSVC_WARNINGS_AT_ONCE, RSVC_WARNINGS_AT_ONCE + 400);
    assert_int_equal(f->events + f->out.warnings_held, RSVC_WARNINGS_AT_ONCE + 500);
}

static void output_of_the_setup_makes_no_event(void **state)
{
    struct fixture *f = *state;

    rsvc_output_add(&f->out, CHILD_STDERR, false, slice_of_str("a warning of pip"));
    collect(f);
    assert_int_equal(f->events, 0);
    assert_string_equal(f->logs[CHILD_STDERR], "a warning of pip|");
}

static void output_below_the_level_is_not_kept(void **state)
{
    struct fixture *f = *state;

    rsvc_output_begin(&f->out, f->j, LOG_INFO);
    add(f, CHILD_STDOUT, "chatter");
    add(f, CHILD_STDERR, "trouble");
    collect(f);
    assert_string_equal(f->logs[CHILD_STDOUT], "");
    assert_string_equal(f->logs[CHILD_STDERR], "trouble|");
    assert_int_equal(f->events, 1);
}

#define TEST(name) (struct CMUnitTest) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static struct CMUnitTest tests[ARRAY_LEN(cut_cases) + 5];
    size_t count = 0;

    UNIT_ROWS(tests, count, cut_cases, check_cut);
    tests[count++] = TEST(character_cut_by_a_read_is_put_together);
    tests[count++] = TEST(cut_character_at_the_end_is_told_as_replaced);
    tests[count++] = TEST(each_piece_of_stderr_makes_an_event_up_to_a_bound);
    tests[count++] = TEST(output_of_the_setup_makes_no_event);
    tests[count++] = TEST(output_below_the_level_is_not_kept);
    return cmocka_run_group_tests_name("output", tests, NULL, NULL);
}
