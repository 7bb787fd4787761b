#include "unit/base/unit.h"

#include <uv.h>

#include "cli/pipe.h"
#include "cli/upload.h"
#include "proto/agent.pb-c.h"
#include "proto/pb.h"

/* ---- messages: the bytes, by the numbers of the wire ---- */

static struct message_case {
    const char *name;
    enum cli_upload_field field;
    const char *filename;
    struct slice payload;
    struct slice want;
} message_cases[] = {
    { "algorithm_is_field_1", CLI_UPLOAD_ALGORITHM, "ignored", SLICE_LIT("ab"),
      SLICE_LIT("\x0a\x02"
                "ab") },
    { "requirements_are_field_2", CLI_UPLOAD_REQUIREMENTS, "ignored", SLICE_LIT("ab"),
      SLICE_LIT("\x12\x02"
                "ab") },
    { "dataset_carries_its_filename", CLI_UPLOAD_DATASET, "d.csv", SLICE_LIT("ab"),
      SLICE_LIT("\x0a\x02"
                "ab\x12\x05"
                "d.csv") },
};

static void check_message(void **state)
{
    const struct message_case *c = *state;
    CLEANUP(buf_done) struct buf out = BUF_INIT(1024);
    struct err e = ERR_INIT;

    assert_true(cli_upload_message(c->field, c->filename, c->payload, &out, &e));
    assert_true(slice_equal(buf_slice(&out), c->want));
}

/* ---- the pipe between reader and sender ---- */

#define MESSAGES 1000u

struct run {
    uv_loop_t loop;
    struct cli_pipe pipe;
    uv_work_t work;
    size_t put;
    size_t taken;
    size_t stop_after;
    bool made;
    bool closed;
    bool in_order;
    struct err error;
};

static void make(uv_work_t *work)
{
    struct run *r = work->data;

    for (r->put = 0; r->put < MESSAGES; r->put++) {
        CLEANUP(buf_done) struct buf message = BUF_INIT(64);

        if (!buf_append_be32(&message, (uint32_t)r->put, &r->error) ||
            !cli_pipe_put(&r->pipe, &message, r->put, &r->error))
            return;
        assert_int_equal(message.len, 0); /* it has moved */
    }
}

static void drain(void *ctx)
{
    struct run *r = ctx;
    struct cli_chunk chunk;

    while (r->taken < r->stop_after && cli_pipe_take(&r->pipe, &chunk)) {
        const uint8_t *at = buf_slice(&chunk.message).at;
        size_t number = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];

        r->in_order = r->in_order && number == r->taken && chunk.payload == r->taken;
        r->taken++;
        buf_done(&chunk.message);
    }
    if (r->taken == r->stop_after)
        cli_pipe_stop(&r->pipe);
}

static void made(uv_work_t *work, int status)
{
    struct run *r = work->data;

    (void)status;
    r->made = true;
    drain(r);
    cli_pipe_done(&r->pipe, &r->closed);
}

static void run_pipe(struct run *r, size_t stop_after)
{
    struct err e = ERR_INIT;

    *r = (struct run){ .stop_after = stop_after, .in_order = true, .error = ERR_INIT };
    r->work.data = r;
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_true(cli_pipe_init(&r->pipe, &r->loop, drain, r, &e));
    assert_int_equal(uv_queue_work(&r->loop, &r->work, make, made), 0);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    assert_true(r->made && r->closed && r->in_order);
}

static void all_messages_come_in_order(void **state)
{
    struct run r;

    (void)state;
    run_pipe(&r, SIZE_MAX);
    assert_int_equal(r.put, MESSAGES);
    assert_int_equal(r.taken, MESSAGES);
    assert_int_equal(r.error.kind, ERR_KIND_NONE);
}

static void maker_is_never_far_ahead_and_ends_when_stopped(void **state)
{
    struct run r;

    (void)state;
    run_pipe(&r, 10);
    assert_int_equal(r.taken, 10);
    assert_in_range(r.put, 10, 10 + CLI_PIPE_SLOTS);
    assert_int_equal(r.error.kind, ERR_KIND_CANCELLED);
}

static void stopped_before_the_first_ends_at_once(void **state)
{
    struct run r;

    (void)state;
    run_pipe(&r, 0);
    assert_int_equal(r.taken, 0);
    assert_in_range(r.put, 0, CLI_PIPE_SLOTS);
    assert_int_equal(r.error.kind, ERR_KIND_CANCELLED);
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(all_messages_come_in_order),
        cmocka_unit_test(maker_is_never_far_ahead_and_ends_when_stopped),
        cmocka_unit_test(stopped_before_the_first_ends_at_once),
    };
    struct CMUnitTest tests[ARRAY_LEN(message_cases) + ARRAY_LEN(single)];
    size_t count = 0;

    UNIT_ROWS(tests, count, message_cases, check_message);
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        tests[count++] = single[i];
    return _cmocka_run_group_tests("cli/upload", tests, count, NULL, NULL);
}
