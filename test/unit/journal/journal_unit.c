#include "journal_unit.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/stage.h"

void temp_dir_make(char ret[256])
{
    const char *base = getenv("TMPDIR");

    snprintf(ret, 256, "%s/journal-XXXXXX", base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(ret));
}

void temp_dir_remove(const char *dir)
{
    CLEANUP(fd_done) int parent = -1;
    struct err e = ERR_INIT;
    char path[256];

    snprintf(path, sizeof(path), "%s", dir);

    char *slash = strrchr(path, '/');

    *slash = '\0';
    parent = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(parent >= 0);
    assert_true(stage_remove_tree(parent, slash + 1, &e));
}

static void on_timeout(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static void on_timer_closed(uv_handle_t *h)
{
    *(bool *)h->data = true;
}

void run_until(uv_loop_t *loop, const bool *done)
{
    bool late = false, closed = false;
    uv_timer_t timer;

    assert_int_equal(uv_timer_init(loop, &timer), 0);
    timer.data = &late;
    uv_timer_start(&timer, on_timeout, patience_ms(10000), 0);
    while (!*done && !late)
        uv_run(loop, UV_RUN_ONCE);
    timer.data = &closed;
    uv_close((uv_handle_t *)&timer, on_timer_closed);
    while (!closed)
        uv_run(loop, UV_RUN_ONCE);
    assert_true(*done);
}

struct outbox *open_or_fail(uv_loop_t *loop, const struct outbox_config *cfg)
{
    struct outbox *o = NULL;
    struct err e = ERR_INIT;

    if (!outbox_open(loop, cfg, &o, &e))
        fail_msg("%s", err_text(&e));
    return o;
}

static void set_true(void *ctx)
{
    *(bool *)ctx = true;
}

void close_and_wait(uv_loop_t *loop, struct outbox *o)
{
    bool closed = false;

    outbox_close(o, set_true, &closed);
    run_until(loop, &closed);
}

void loop_done(uv_loop_t *loop)
{
    uv_run(loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(loop), 0);
}
