#include "agent/comp_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "proto/pb.h"
#include "proto/runner.pb-c.h"

/* The runner itself gives what an algorithm left running ten seconds to end. */
#define RUNNER_STOP_MS 15000

/* ------------------------------------------------------------------ results */

static bool take_results(void *ctx, struct err *e)
{
    struct comp *c = ctx;
    struct err ignored = ERR_INIT;
    bool ok = work_take_results(&c->work, &c->cancel, &c->result, e);

    /* The inputs have served; the results are in a file without a name. */
    return work_clean(&c->work, ok ? e : &ignored) && ok;
}

static void results_taken(void *ctx, bool ok, struct err *e)
{
    struct comp *c = ctx;

    if (c->ending == END_NONE) {
        comp_tell(c, "Running", ok ? "Completed" : "Failed");
        if (ok)
            comp_event(c, FSM_RUN_COMPLETE);
        else
            comp_fail(c, RPC_UNKNOWN, err_text(e));
    }
    comp_task_end(c);
}

/* ------------------------------------------------------------------ the runner */

static void run_failed(struct comp *c, enum rpc_code code, const char *text)
{
    log_warn("failed to run computation: %s", text);
    comp_tell(c, "Running", "Failed");
    comp_fail(c, code, text);
}

/* False: the run failed, and *ret_code and text say how. */
static bool run_outcome(const struct rpc_status *status, struct buf *reply, enum rpc_code *ret_code,
                        char *text, size_t size)
{
    CLEANUP(pb_done) Runner__RunResponse *res = NULL;
    struct err e = ERR_INIT;

    /* Whoever asks for the result does reach this agent, and asking again changes nothing. */
    *ret_code = status->code == RPC_UNAVAILABLE ? RPC_UNKNOWN : status->code;
    if (status->code != RPC_OK) {
        snprintf(text, size, "%s", status->message);
        return false;
    }
    *ret_code = RPC_UNKNOWN;
    res = (Runner__RunResponse *)pb_decode(&runner__run_response__descriptor, buf_slice(reply), NULL, &e);
    snprintf(text, size, "%s", res ? res->error : err_text(&e));
    return res && !*res->error;
}

static void run_done(const struct rpc_status *status, struct buf *reply, void *ctx)
{
    struct comp *c = ctx;
    char text[RPC_STATUS_TEXT_MAX];
    enum rpc_code code;

    c->run_called = false;
    if (c->ending != END_NONE) {
        comp_task_end(c); /* what was stopped has no outcome: no late Running/Failed */
        return;
    }
    if (run_outcome(status, reply, &code, text, sizeof(text))) {
        job_start(c->d.loop, &c->run_job, take_results, results_taken, c);
        return;
    }
    run_failed(c, code, text);
    comp_task_end(c);
}

static bool run_call(struct comp *c, struct err *e)
{
    Runner__RunRequest req = RUNNER__RUN_REQUEST__INIT;
    CLEANUP(mem_done) char *algo = mem_format(e, "%s/%s", c->work.path, WORK_ALGO);
    CLEANUP(mem_done) char *requirements = mem_format(e, "%s/%s", c->work.path, WORK_REQUIREMENTS);
    CLEANUP(buf_done) struct buf body = BUF_INIT(RPC_MESSAGE_MAX_DEFAULT);

    if (!algo || !requirements)
        return false;
    req.computation_id = c->mf->id;
    req.algo_type = c->algo_type;
    req.algorithm_path = algo;
    req.requirements_path = c->has_requirements ? requirements : (char *)(uintptr_t) "";
    req.args = c->algo_args;
    req.n_args = c->algo_arg_count;
    return pb_encode(&req.base, &body, e) &&
           rpc_client_unary(c->runner, "/runner.ComputationRunner/Run", NULL, &body, 0, run_done, c, e);
}

static bool prepare(void *ctx, struct err *e)
{
    const struct comp *c = ctx;

    return work_prepare_run(&c->work, e);
}

static void prepared(void *ctx, bool ok, struct err *e)
{
    struct comp *c = ctx;

    if (c->ending != END_NONE) {
        comp_task_end(c);
        return;
    }
    if (!ok) {
        run_failed(c, RPC_UNKNOWN, err_text(e));
        comp_task_end(c);
        return;
    }
    comp_tell(c, "Running", "InProgress");
    if (run_call(c, e)) {
        c->run_called = true;
        return;
    }
    run_failed(c, RPC_UNKNOWN, err_text(e));
    comp_task_end(c);
}

void comp_run_begin(struct comp *c)
{
    log_debug("computation run started");
    comp_tell(c, "Running", "Starting");
    comp_task_begin(c);
    job_start(c->d.loop, &c->run_job, prepare, prepared, c);
}

/* ------------------------------------------------------------------ stopping it */

bool comp_runner_stop(struct comp *c, const char *id, rpc_unary_done_fn done, struct err *e)
{
    Runner__StopRequest req = RUNNER__STOP_REQUEST__INIT;
    CLEANUP(buf_done) struct buf body = BUF_INIT(4096);

    req.computation_id = (char *)(uintptr_t)id;
    return pb_encode(&req.base, &body, e) && rpc_client_unary(c->runner, "/runner.ComputationRunner/Stop",
                                                              NULL, &body, RUNNER_STOP_MS, done, c, e);
}

void comp_runner_stopped(struct comp *c, const char *id, const struct rpc_status *status)
{
    /* Where there is no runner, none of its algorithms is left. */
    if (status->code == RPC_OK || status->code == RPC_UNAVAILABLE) {
        if (*c->unended)
            log_info("the algorithm of computation %s has ended", c->unended);
        c->unended[0] = '\0';
        return;
    }
    log_warn("stop the algorithm of computation %s: %s", id, status->message);
    if (id != c->unended)
        snprintf(c->unended, sizeof(c->unended), "%s", id);
}

static void asked_again(const struct rpc_status *status, struct buf *reply, void *ctx)
{
    struct comp *c = ctx;

    (void)reply;
    c->asking_again = false;
    comp_runner_stopped(c, c->unended, status);
}

bool comp_run_check_ended(struct comp *c, struct err *e)
{
    struct err why = ERR_INIT;

    if (!*c->unended)
        return true;
    if (!c->asking_again)
        c->asking_again = comp_runner_stop(c, c->unended, asked_again, &why);
    return err_fail(e, ERR_KIND_UNAVAILABLE,
                    "the runner has not confirmed that the algorithm of computation '%s' has ended, which "
                    "could read what this one brings; it is asked again: order this one again later",
                    c->unended);
}

static void run_stopped(const struct rpc_status *status, struct buf *reply, void *ctx)
{
    struct comp *c = ctx;

    (void)reply;
    comp_runner_stopped(c, c->mf->id, status);
    if (*c->unended)
        snprintf(c->stop_message, sizeof(c->stop_message), "stop the algorithm: %.900s", status->message);
    /* Run has answered by now, or is given up: run_done comes with the end of the connection. */
    rpc_client_disconnect(c->runner);
    comp_task_end(c);
}

void comp_run_stop(struct comp *c)
{
    struct rpc_status status = { RPC_INTERNAL, "" };
    struct err e = ERR_INIT;

    if (!c->run_called)
        return; /* preparing or zipping: over soon, and told to end */
    comp_task_begin(c);
    if (comp_runner_stop(c, c->mf->id, run_stopped, &e))
        return;
    snprintf(status.message, sizeof(status.message), "%s", err_text(&e));
    run_stopped(&status, NULL, c);
}
