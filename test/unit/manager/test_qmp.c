#include "unit/base/unit.h"

#include <string.h>
#include <unistd.h>

#include "manager/qmp.h"
#include "unit/base/scratch.h"
#include "unit/manager/loop.h"

static const struct line_case {
    const char *name;
    const char *line;
    enum qmp_kind want;
    const char *text; /* the event or error, or the fault of a broken line (its beginning) */
} lines[] = {
    { "greeting", "{\"QMP\":{\"version\":{},\"capabilities\":[]}}", QMP_GREETING, NULL },
    { "return_empty", "{\"return\":{}}", QMP_RETURN, NULL },
    { "event_with_data", "{\"event\":\"SHUTDOWN\",\"data\":{\"guest\":true}}", QMP_EVENT, "SHUTDOWN" },
    { "event_without_data", "{\"event\":\"RESUME\"}", QMP_EVENT, "RESUME" },
    { "error_described", "{\"error\":{\"class\":\"X\",\"desc\":\"why\"}}", QMP_ERROR, "why" },
    { "error_without_description", "{\"error\":{}}", QMP_ERROR, "an error without description" },
    { "error_that_is_no_object", "{\"error\":5}", QMP_ERROR, "an error without description" },
    { "event_that_is_no_text", "{\"event\":5}", QMP_BROKEN, "QMP: neither event nor answer" },
    { "object_of_none_of_these", "{}", QMP_BROKEN, "QMP: neither event nor answer" },
    { "list", "[1]", QMP_BROKEN, "QMP: neither event nor answer" },
    { "empty", "", QMP_BROKEN, "" },
    { "cut", "{\"return\":", QMP_BROKEN, "" },
    { "trailing", "{\"return\":{}} x", QMP_BROKEN, "" },
};

static void check_line(void **state)
{
    const struct line_case *c = *state;
    struct err e = ERR_INIT;
    struct qmp_line l = qmp_line_read(slice_of_str(c->line), &e);

    assert_int_equal(l.kind, c->want);
    if (c->want == QMP_EVENT)
        assert_string_equal(l.event, c->text);
    if (c->want == QMP_ERROR)
        assert_string_equal(l.error, c->text);
    if (c->want == QMP_BROKEN) {
        assert_int_not_equal(e.kind, ERR_KIND_NONE);
        assert_memory_equal(err_text(&e), c->text, strlen(c->text));
    }
    qmp_line_done(&l);
    qmp_line_done(&l); /* may be repeated */
}

/* -------------------------------------------------------------- a QEMU of the test's */

struct peer {
    uv_loop_t loop;
    uv_pipe_t listener, conn;
    uv_write_t write;
    bool accepted;
    const char *answers[4]; /* to the first, second ... piece that comes */
    size_t answered;
    char block[4096];

    struct qmp *q;
    bool ready, closed, done;
    char event[64];
    char why[256];
    char result[64];
};

static void say(struct peer *p, const char *text)
{
    uv_buf_t out = uv_buf_init((char *)(uintptr_t)text, (unsigned)strlen(text));

    assert_int_equal(uv_try_write((uv_stream_t *)&p->conn, &out, 1), (int)strlen(text));
}

static void give(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    struct peer *p = h->data;

    (void)suggested;
    *ret = uv_buf_init(p->block, sizeof(p->block));
}

static void on_bytes(uv_stream_t *s, ssize_t len, const uv_buf_t *block)
{
    struct peer *p = s->data;

    (void)block;
    if (len > 0 && p->answered < ARRAY_LEN(p->answers) && p->answers[p->answered])
        say(p, p->answers[p->answered++]);
    if (len < 0)
        uv_read_stop(s);
}

static void on_connection(uv_stream_t *s, int status)
{
    struct peer *p = s->data;

    assert_int_equal(status, 0);
    uv_pipe_init(&p->loop, &p->conn, 0);
    p->conn.data = p;
    assert_int_equal(uv_accept(s, (uv_stream_t *)&p->conn), 0);
    p->accepted = true;
    uv_read_start((uv_stream_t *)&p->conn, give, on_bytes);
    say(p, "{\"QMP\":{}}\r\n");
}

static void on_ready(struct qmp *q, void *ctx)
{
    struct peer *p = ctx;

    assert_ptr_equal(q, p->q);
    p->ready = true;
}

static void on_event(struct qmp *q, const char *name, const json_t *data, void *ctx)
{
    struct peer *p = ctx;

    (void)q;
    (void)data;
    snprintf(p->event, sizeof(p->event), "%s", name);
}

static void on_closed(struct qmp *q, const struct err *why, void *ctx)
{
    struct peer *p = ctx;

    assert_ptr_equal(q, p->q);
    assert_false(p->closed);
    p->closed = true;
    p->q = NULL;
    snprintf(p->why, sizeof(p->why), "%s", err_text(why));
}

static const struct qmp_events handlers = { on_ready, on_event, on_closed };

static void on_done(const json_t *result, const char *why, void *ctx)
{
    struct peer *p = ctx;

    assert_false(p->done);
    p->done = true;
    snprintf(p->result, sizeof(p->result), "%s", why ? why : json_is_object(result) ? "object" : "none");
}

static int set_up(void **state)
{
    static struct peer p;

    p = (struct peer){ .accepted = false };
    scratch_enter();
    uv_loop_init(&p.loop);
    uv_pipe_init(&p.loop, &p.listener, 0);
    p.listener.data = &p;
    *state = &p;
    return 0;
}

static void start(struct peer *p, uint64_t deadline_ms)
{
    struct err e = ERR_INIT;

    assert_true(qmp_connect(&p->loop, "qmp", deadline_ms, &handlers, p, &p->q, &e));
}

static void serve(struct peer *p)
{
    assert_int_equal(uv_pipe_bind(&p->listener, "qmp"), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&p->listener, 1, on_connection), 0);
}

static int tear_down(void **state)
{
    struct peer *p = *state;

    qmp_free(p->q);
    uv_close((uv_handle_t *)&p->listener, NULL);
    if (p->accepted)
        uv_close((uv_handle_t *)&p->conn, NULL);
    loop_end(&p->loop);
    scratch_leave();
    return 0;
}

static void socket_that_comes_later_is_waited_for(void **state)
{
    struct peer *p = *state;
    struct err e = ERR_INIT;

    p->answers[0] = "{\"return\":{}}\n";
    p->answers[1] = "{\"event\":\"STOP\"}\n{\"return\":{\"a\":1}}\n";
    start(p, 20000);
    for (int i = 0; i < 3; i++)
        uv_run(&p->loop, UV_RUN_ONCE); /* tries in vain */
    serve(p);
    loop_until(&p->loop, &p->ready);
    assert_true(qmp_command(p->q, "query-status", on_done, p, &e));
    loop_until(&p->loop, &p->done);
    assert_string_equal(p->event, "STOP");
    assert_string_equal(p->result, "object");
    assert_false(p->closed);
}

static void socket_that_never_comes_is_given_up(void **state)
{
    struct peer *p = *state;

    start(p, 30);
    loop_until(&p->loop, &p->closed);
    assert_string_equal(p->why, "QMP at qmp: no such file or directory");
}

/* What a QEMU answers to qmp_capabilities, and how the connection ends on it. */
static const struct end_case {
    const char *name;
    const char *answer;
    const char *why;
} ends[] = {
    { "capabilities_refused", "{\"error\":{\"desc\":\"no\"}}\n", "QMP at qmp: no" },
    { "second_greeting", "{\"QMP\":{}}\n", "QMP at qmp: a second greeting" },
    { "two_answers_to_one_command", "{\"return\":{}}\n{\"return\":{}}\n",
      "QMP at qmp: an answer to no command" },
    { "not_json", "hello\n", "QMP at qmp: " },
};

static void check_end(void **state)
{
    const struct end_case *c = *state;
    void *peer = NULL;
    struct peer *p;

    set_up(&peer);
    p = peer;
    p->answers[0] = c->answer;
    serve(p);
    start(p, 20000);
    loop_until(&p->loop, &p->closed);
    assert_memory_equal(p->why, c->why, strlen(c->why));
    tear_down(&peer);
}

static void line_above_the_limit_ends_the_connection(void **state)
{
    struct peer *p = *state;
    static char flood[QMP_LINE_MAX + 2];
    uv_buf_t out = uv_buf_init(flood, sizeof(flood));
    size_t sent = 0;

    memset(flood, 'x', sizeof(flood));
    serve(p);
    start(p, 20000);
    loop_until(&p->loop, &p->accepted);
    while (!p->closed) {
        int n = uv_try_write((uv_stream_t *)&p->conn, &out, 1);

        if (n > 0)
            sent += (size_t)n;
        uv_run(&p->loop, UV_RUN_NOWAIT);
        assert_true(sent < 8 * QMP_LINE_MAX);
    }
    assert_false(p->ready);
}

static void command_that_waits_is_told_of_the_end(void **state)
{
    struct peer *p = *state;
    struct err e = ERR_INIT;

    p->answers[0] = "{\"return\":{}}\n";
    serve(p);
    start(p, 20000);
    loop_until(&p->loop, &p->ready);
    assert_true(qmp_command(p->q, "cont", on_done, p, &e));
    uv_close((uv_handle_t *)&p->conn, NULL);
    p->accepted = false;
    loop_until(&p->loop, &p->closed);
    assert_true(p->done);
    assert_string_equal(p->result, p->why); /* an end or a reset: what was sent may not have been read */
}

static void commands_are_bounded_and_need_a_connection(void **state)
{
    struct peer *p = *state;
    struct err e = ERR_INIT;

    start(p, 20000);
    assert_false(qmp_command(p->q, "cont", NULL, NULL, &e));
    assert_int_equal(e.kind, ERR_KIND_UNAVAILABLE);
    err_clear(&e);
    p->answers[0] = "{\"return\":{}}\n";
    serve(p);
    loop_until(&p->loop, &p->ready);
    for (int i = 0; i < QMP_COMMANDS_MAX; i++)
        assert_true(qmp_command(p->q, "stop", NULL, NULL, &e));
    assert_false(qmp_command(p->q, "stop", NULL, NULL, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
}

#define QMP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    struct CMUnitTest tests[5 + ARRAY_LEN(lines) + ARRAY_LEN(ends)] = {
        QMP_TEST(socket_that_comes_later_is_waited_for),      QMP_TEST(socket_that_never_comes_is_given_up),
        QMP_TEST(line_above_the_limit_ends_the_connection),   QMP_TEST(command_that_waits_is_told_of_the_end),
        QMP_TEST(commands_are_bounded_and_need_a_connection),
    };
    size_t count = 5;

    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        tests[count++] = (struct CMUnitTest){ lines[i].name, check_line, NULL, NULL,
                                              (void *)(uintptr_t)&lines[i] };
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        tests[count++] = (struct CMUnitTest){ ends[i].name, check_end, NULL, NULL,
                                              (void *)(uintptr_t)&ends[i] };
    return _cmocka_run_group_tests("qmp", tests, count, NULL, NULL);
}
