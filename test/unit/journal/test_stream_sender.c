/*
 * The sender against a stream made of these functions instead of rpc's: how
 * much has left its queue and when the peer confirms is up to the test.
 */
#include "journal_unit.h"

#include "journal/stream_sender.h"

#define SENT_MAX 64

static struct fake {
    char sent[SENT_MAX][32];
    size_t sent_count;
    size_t queued; /* bytes that rpc_call_queued tells */
    bool full;
    bool ended;
    void (*acked)(bool ok, void *ctx); /* the barrier under way */
    void *acked_ctx;
    size_t barriers;
} fake;

bool rpc_call_can_send(const struct rpc_call *c)
{
    (void)c;
    return !fake.full;
}

size_t rpc_call_queued(const struct rpc_call *c)
{
    (void)c;
    return fake.queued;
}

bool rpc_call_send(struct rpc_call *c, struct buf *take_body, struct err *e)
{
    (void)c;
    if (fake.ended) {
        buf_done(take_body);
        return err_fail(e, ERR_KIND_CANCELLED, "the call has ended");
    }
    assert_true(fake.sent_count < SENT_MAX);
    snprintf(fake.sent[fake.sent_count++], sizeof(fake.sent[0]), "%.*s", (int)take_body->len,
             (const char *)buf_slice(take_body).at);
    buf_done(take_body);
    return true;
}

bool rpc_client_barrier(struct rpc_client *cl, void (*acked)(bool ok, void *ctx), void *ctx, struct err *e)
{
    (void)cl;
    (void)e;
    assert_null(fake.acked);
    fake.acked = acked;
    fake.acked_ctx = ctx;
    fake.barriers++;
    return true;
}

static void answer_barrier(bool ok)
{
    void (*acked)(bool, void *) = fake.acked;

    assert_non_null(acked);
    fake.acked = NULL;
    acked(ok, fake.acked_ctx);
}

/* ---------------------------------------------------------------------- fixture */

struct fixture {
    char dir[256];
    uv_loop_t loop;
    struct outbox *o;
    struct stream_sender *s;
    uv_timer_t beat; /* keeps the loop going, as a program's sockets do */
    size_t acked;
};

static void on_beat(uv_timer_t *timer)
{
    (void)timer;
}

static void on_acked(void *ctx)
{
    ((struct fixture *)ctx)->acked++;
}

/* Never looked into. */
static char a_client, a_call;

static void attach(struct fixture *f)
{
    stream_sender_attach(f->s, (struct rpc_client *)(void *)&a_client, (struct rpc_call *)(void *)&a_call);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct outbox_config cfg = { .dir = NULL };
    struct err e = ERR_INIT;

    assert_non_null(f);
    fake = (struct fake){ .sent_count = 0 };
    temp_dir_make(f->dir);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(uv_timer_init(&f->loop, &f->beat), 0);
    uv_timer_start(&f->beat, on_beat, 10, 10);
    cfg.dir = f->dir;
    f->o = open_or_fail(&f->loop, &cfg);
    assert_true(stream_sender_new(f->o, on_acked, f, &f->s, &e));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    uv_close((uv_handle_t *)&f->beat, NULL);
    stream_sender_free(f->s);
    if (fake.acked)
        answer_barrier(false); /* the connection ends after the sender: nobody may be touched */
    close_and_wait(&f->loop, f->o);
    loop_done(&f->loop);
    temp_dir_remove(f->dir);
    free(f);
    return 0;
}

static void put(struct fixture *f, const char *text)
{
    struct err e = ERR_INIT;

    assert_true(outbox_append(f->o, OUTBOX_EVENT, 0, slice_of_str(text), NULL, &e));
}

/* Runs the loop until *value is at least want. */
static void run_until_at_least(struct fixture *f, const size_t *value, size_t want)
{
    uint64_t limit = uv_hrtime() + patience_ms(20000) * 1000 * 1000;

    while (*value < want) {
        assert_true(uv_hrtime() < limit);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static void expect_sent(size_t from, const char *const *want, size_t count)
{
    assert_int_equal(fake.sent_count, from + count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(fake.sent[from + i], want[i]);
}

/* ------------------------------------------------------------------------ tests */

static void records_are_sent_in_order_and_acknowledged_when_confirmed(void **state)
{
    static const char *const want[] = { "one", "two", "three" };
    struct fixture *f = *state;

    put(f, "one");
    put(f, "two");
    attach(f);
    run_until_at_least(f, &fake.sent_count, 2);
    put(f, "three");
    run_until_at_least(f, &fake.sent_count, 3);
    expect_sent(0, want, 3);
    run_until_at_least(f, &fake.barriers, 1);
    assert_false(outbox_is_empty(f->o));
    answer_barrier(true);
    assert_int_equal(f->acked, 0); /* not at once: its reader may be dying */
    run_until_at_least(f, &f->acked, 1);
    /* The third may have come behind the first barrier. */
    while (!outbox_is_empty(f->o)) {
        size_t acked = f->acked;

        run_until_at_least(f, &fake.barriers, 2);
        answer_barrier(true);
        run_until_at_least(f, &f->acked, acked + 1);
    }
    assert_true(fake.barriers <= 2);
}

static void what_has_not_left_the_queue_is_not_confirmed(void **state)
{
    struct fixture *f = *state;

    fake.queued = 3; /* the last record has not left */
    put(f, "one");
    put(f, "two");
    attach(f);
    run_until_at_least(f, &fake.barriers, 1);
    answer_barrier(true);
    run_until_at_least(f, &f->acked, 1);
    assert_false(outbox_is_empty(f->o));
    fake.queued = 0;
    run_until_at_least(f, &fake.barriers, 2);
    answer_barrier(true);
    run_until_at_least(f, &f->acked, 2);
    assert_true(outbox_is_empty(f->o));
}

static void ag_13_broken_stream_begins_again_with_the_first_unconfirmed(void **state)
{
    static const char *const again[] = { "two", "three" };
    struct fixture *f = *state;

    put(f, "one");
    attach(f);
    run_until_at_least(f, &fake.barriers, 1);
    answer_barrier(true);
    run_until_at_least(f, &f->acked, 1);
    put(f, "two");
    put(f, "three");
    run_until_at_least(f, &fake.barriers, 2);
    answer_barrier(false);
    stream_sender_detach(f->s);
    assert_false(stream_sender_is_attached(f->s));
    fake.sent_count = 0;
    attach(f);
    run_until_at_least(f, &fake.sent_count, 2);
    expect_sent(0, again, 2);
}

static void ag_13_stream_that_breaks_right_behind_the_confirmation_sends_again(void **state)
{
    static const char *const again[] = { "one" };
    struct fixture *f = *state;

    put(f, "one");
    attach(f);
    run_until_at_least(f, &fake.barriers, 1);
    answer_barrier(true);
    stream_sender_detach(f->s);
    fake.sent_count = 0;
    attach(f);
    run_until_at_least(f, &fake.sent_count, 1);
    expect_sent(0, again, 1);
}

static void barrier_of_the_stream_before_confirms_nothing_of_this_one(void **state)
{
    struct fixture *f = *state;
    void (*old)(bool, void *);
    void *old_ctx;

    put(f, "one");
    attach(f);
    run_until_at_least(f, &fake.barriers, 1);
    old = fake.acked;
    old_ctx = fake.acked_ctx;
    fake.acked = NULL;
    stream_sender_detach(f->s);
    fake.sent_count = 0;
    attach(f);
    run_until_at_least(f, &fake.sent_count, 1);
    old(true, old_ctx);
    run_until_at_least(f, &fake.barriers, 2);
    assert_int_equal(f->acked, 0);
    answer_barrier(true);
    run_until_at_least(f, &f->acked, 1);
}

static void full_stream_is_waited_for(void **state)
{
    static const char *const want[] = { "one" };
    struct fixture *f = *state;

    fake.full = true;
    put(f, "one");
    attach(f);
    stream_sender_writable(f->s);
    assert_int_equal(fake.sent_count, 0);
    fake.full = false;
    stream_sender_writable(f->s);
    expect_sent(0, want, 1);
}

static void call_that_has_ended_loses_nothing(void **state)
{
    static const char *const want[] = { "one" };
    struct fixture *f = *state;

    put(f, "one");
    attach(f);
    fake.ended = true;
    stream_sender_writable(f->s);
    stream_sender_detach(f->s);
    fake.ended = false;
    attach(f);
    run_until_at_least(f, &fake.sent_count, 1);
    expect_sent(0, want, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_are_sent_in_order_and_acknowledged_when_confirmed),
        TEST(what_has_not_left_the_queue_is_not_confirmed),
        TEST(ag_13_broken_stream_begins_again_with_the_first_unconfirmed),
        TEST(ag_13_stream_that_breaks_right_behind_the_confirmation_sends_again),
        TEST(barrier_of_the_stream_before_confirms_nothing_of_this_one),
        TEST(full_stream_is_waited_for),
        TEST(call_that_has_ended_loses_nothing),
    };

    return cmocka_run_group_tests_name("stream_sender", tests, NULL, NULL);
}
