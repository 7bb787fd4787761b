/*
 * One run of a plan: its steps as child processes, one after another.
 *
 * Whatever a run has started ends with it, in whatever group or session it
 * is: the program adopts orphans (strays_adopt, before the first run) and has
 * no other children. Case AG-8.
 */
#ifndef RUNNER_RUN_H
#define RUNNER_RUN_H

#include <uv.h>

#include "base/child.h"
#include "runner/plan.h"

#define RUN_ERROR_MAX 4096
#define RUN_STRAYS_MS 10000

struct run;

struct run_config {
    uint64_t deadline_ms; /* for all steps together; 0: none */

    /* Output in pieces of at most 1024 bytes; step tells whose. */
    void (*output)(const struct run_step *step, enum child_stream stream, struct slice bytes, void *ctx);

    /*
     * Once: no process of the run is left, and its leavings are removed. A process that can't be ended
     * within RUN_STRAYS_MS makes it fail, and no other run begins before it is gone. error is "" when all went well,
     * else a text of valid UTF-8 of less than RUN_ERROR_MAX bytes, which starts as our peers know it
     * ("algorithm execution error: exit status 3") and ends with the last lines of stderr.
     * The run is freed when this returns.
     */
    void (*finished)(const char *error, void *ctx);
    void *ctx;
};

/* Takes over the plan, also on failure. Starting is told by `finished` as well, when it fails later. */
bool run_start(uv_loop_t *loop, struct run_plan *take_plan, const struct run_config *cfg, struct run **ret,
               struct err *e) MUST_CHECK;

/* Kills whatever runs; `finished` follows with "... signal: killed". May be repeated. */
void run_stop(struct run *r);

/* Removes what an interrupted run left beneath the work dir. Blocks: for the start of a program. */
bool run_sweep(const char *work_dir, struct err *e) MUST_CHECK;

#endif
