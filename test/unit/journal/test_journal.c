#include "journal_unit.h"

#include "base/log.h"
#include "journal/journal.h"
#include "proto/cvms.pb-c.h"
#include "proto/pb.h"

struct fixture {
    char dir[256];
    uv_loop_t loop;
    struct journal *j;
};

static void set_true(void *ctx)
{
    *(bool *)ctx = true;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct journal_config cfg = { .originator = "computation-runner" };
    struct err e = ERR_INIT;

    assert_non_null(f);
    temp_dir_make(f->dir);
    cfg.dir = f->dir;
    assert_int_equal(uv_loop_init(&f->loop), 0);
    if (!journal_open(&f->loop, &cfg, &f->j, &e))
        fail_msg("%s", err_text(&e));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    bool closed = false;

    journal_close(f->j, set_true, &closed);
    run_until(&f->loop, &closed);
    loop_done(&f->loop);
    temp_dir_remove(f->dir);
    free(f);
    return 0;
}

/* The next record, decoded, or NULL; freed with pb_free. */
static Cvms__ClientStreamMessage *next(struct fixture *f)
{
    CLEANUP(buf_done) struct buf payload = BUF_INIT(OUTBOX_RECORD_MAX);
    struct outbox_record r;
    struct err e = ERR_INIT;

    if (outbox_next(journal_outbox(f->j), &r, &payload, &e) != OUTBOX_READY)
        return NULL;

    ProtobufCMessage *m = pb_decode(&cvms__client_stream_message__descriptor, buf_slice(&payload), NULL, &e);

    assert_non_null(m);
    return (Cvms__ClientStreamMessage *)m;
}

static void expect_log(struct fixture *f, const char *level, const char *computation_id, const char *text)
{
    CLEANUP(pb_done) Cvms__ClientStreamMessage *m = next(f);

    assert_non_null(m);
    assert_int_equal(m->message_case, CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_LOG);
    assert_string_equal(m->agent_log->level, level);
    assert_string_equal(m->agent_log->computation_id, computation_id);
    assert_string_equal(m->agent_log->message, text);
}

static void records_carry_the_computation_that_is_set(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;

    journal_log(f->j, LOG_INFO, slice_of_str("before"));
    journal_set_computation(f->j, "c-1");
    journal_log(f->j, LOG_WARN, slice_of_str("during"));
    assert_true(journal_event(f->j, "AlgorithmRun", "Warning", &e));
    assert_true(journal_event_for(f->j, "c-2", "agent", "Running", "Starting", &e));
    journal_set_computation(f->j, "");
    journal_log(f->j, LOG_DEBUG, slice_of_str("behind"));

    expect_log(f, "INFO", "", "before");
    expect_log(f, "WARN", "c-1", "during");

    Cvms__ClientStreamMessage *m = next(f);

    assert_string_equal(m->agent_event->event_type, "AlgorithmRun");
    assert_string_equal(m->agent_event->status, "Warning");
    assert_string_equal(m->agent_event->computation_id, "c-1");
    assert_string_equal(m->agent_event->originator, "computation-runner");
    pb_free(&m->base);
    m = next(f);
    assert_string_equal(m->agent_event->computation_id, "c-2");
    assert_string_equal(m->agent_event->originator, "agent");
    pb_free(&m->base);
    expect_log(f, "DEBUG", "", "behind");
    assert_null(next(f));
}

static void long_log_becomes_pieces_with_rising_stamps(void **state)
{
    struct fixture *f = *state;
    char text[1100];
    int64_t before = 0;
    size_t lens[] = { 500, 500, 100 };

    memset(text, 'x', sizeof(text));
    journal_log(f->j, LOG_ERROR, slice_of(text, sizeof(text)));
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        CLEANUP(pb_done) Cvms__ClientStreamMessage *m = next(f);

        assert_non_null(m);

        int64_t stamp = m->agent_log->timestamp->seconds * 1000000000 + m->agent_log->timestamp->nanos;

        assert_int_equal(strlen(m->agent_log->message), lens[i]);
        assert_true(stamp > before);
        before = stamp;
    }
    assert_null(next(f));
}

static void long_computation_id_is_cut_between_characters(void **state)
{
    struct fixture *f = *state;
    char id[300];

    memset(id, 'i', sizeof(id));
    memcpy(id + 253, "\xe2\x82\xac", 3); /* would be cut after two of three bytes */
    id[299] = '\0';
    journal_set_computation(f->j, id);
    journal_log(f->j, LOG_INFO, slice_of_str("x"));
    id[253] = '\0';
    expect_log(f, "INFO", id, "x");
}

static void program_log_goes_into_the_journal_when_taken(void **state)
{
    struct fixture *f = *state;

    log_open("test", LOG_INFO);
    journal_take_log(f->j);
    log_debug("below the level");
    log_info("kept %d", 7);
    expect_log(f, "INFO", "", "kept 7");
    assert_null(next(f));
}

static void log_from_another_thread(void *ctx)
{
    for (int i = 0; i < 100; i++)
        journal_log(ctx, LOG_INFO, slice_of_str("from a thread"));
}

static void logs_of_other_threads_arrive(void **state)
{
    struct fixture *f = *state;
    uv_thread_t threads[3];
    bool ready = false;

    outbox_on_ready(journal_outbox(f->j), set_true, &ready);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(uv_thread_create(&threads[i], log_from_another_thread, f->j), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        uv_thread_join(&threads[i]);
    run_until(&f->loop, &ready);
    for (int i = 0; i < 300; i++)
        expect_log(f, "INFO", "", "from a thread");
    assert_null(next(f));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_carry_the_computation_that_is_set),
        TEST(long_log_becomes_pieces_with_rising_stamps),
        TEST(long_computation_id_is_cut_between_characters),
        TEST(program_log_goes_into_the_journal_when_taken),
        TEST(logs_of_other_threads_arrive),
    };

    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
