/*
 * One piece of slow work in the pool, answered on the loop.
 */
#ifndef AGENT_JOB_H
#define AGENT_JOB_H

#include <uv.h>

#include "base/err.h"

/* Caller-held; must stay where it is from job_start until done is called. May be used again then. */
struct job {
    uv_work_t work;
    bool (*run)(void *ctx, struct err *e);           /* in the pool */
    void (*done)(void *ctx, bool ok, struct err *e); /* on the loop */
    void *ctx;
    bool ok;
    struct err e;
};

/* done is never called from within. */
void job_start(uv_loop_t *loop, struct job *j, bool (*run)(void *ctx, struct err *e),
               void (*done)(void *ctx, bool ok, struct err *e), void *ctx);

#endif
