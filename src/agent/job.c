#include "agent/job.h"

#include <assert.h>

static void in_pool(uv_work_t *work)
{
    struct job *j = work->data;

    j->ok = j->run(j->ctx, &j->e);
}

static void on_loop(uv_work_t *work, int status)
{
    struct job *j = work->data;

    (void)status; /* nobody cancels */
    j->done(j->ctx, j->ok, &j->e);
}

void job_start(uv_loop_t *loop, struct job *j, bool (*run)(void *ctx, struct err *e),
               void (*done)(void *ctx, bool ok, struct err *e), void *ctx)
{
    int r;

    j->work.data = j;
    j->run = run;
    j->done = done;
    j->ctx = ctx;
    j->ok = false;
    j->e = (struct err)ERR_INIT;
    r = uv_queue_work(loop, &j->work, in_pool, on_loop);
    assert(r == 0); /* it fails without a function only */
}
