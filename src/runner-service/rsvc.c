#include "rsvc.h"

#include <assert.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/pb.h"
#include "rpc/answer.h"
#include "proto/runner.pb-c.h"
#include "rsvc_output.h"
#include "runner/run.h"

/* How long an answer waits for the run's events to be out before it. */
#define SETTLE_MAX_MS 1000
#define SETTLE_STEP_MS 5

#define ARGS_MAX 1024
#define REQUEST_MAX ((size_t)1024 * 1024)

struct stop_wait {
    struct stop_wait *next;
    struct rsvc *service;
    struct rpc_call *call;
};

struct rsvc {
    uv_loop_t *loop;
    struct rsvc_config cfg;

    char *computation_id;  /* of the run; NULL: none                              */
    struct run *run;       /* NULL: none, or finished and about to be answered    */
    struct rpc_call *call; /* who waits for it; NULL: nobody any more             */
    char *error;           /* how it ended                                        */
    struct rsvc_output output;
    uint64_t started_ms;

    uv_timer_t timer;
    uint64_t settle_until_ms;
    struct stop_wait *stops;

    bool stopping;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
};

/* -------------------------------------------------------------------- answering */

static void reply_run(struct rpc_call *c, const char *computation_id, const char *error)
{
    Runner__RunResponse r = RUNNER__RUN_RESPONSE__INIT;

    /* protobuf-c wants pointers without const and writes to none of them. */
    r.computation_id = (char *)(uintptr_t)computation_id;
    r.error = (char *)(uintptr_t)error;
    rpc_answer(c, &r.base);
}

static const struct rpc_call_events no_events = { .closed = NULL };

static void answer_stops(struct rsvc *s)
{
    while (s->stops) {
        struct stop_wait *w = s->stops;
        struct rpc_call *call = w->call;

        s->stops = w->next;
        rpc_call_on(call, &no_events, NULL); /* its `closed` must find nothing of us */
        mem_free(w);
        rpc_answer_empty(call);
    }
}

static void tell_stopped(struct rsvc *s)
{
    void (*stopped)(void *) = s->stopped;

    s->stopped = NULL;
    if (stopped)
        stopped(s->stopped_ctx);
}

static void answer(struct rsvc *s)
{
    struct rpc_call *call = s->call;

    uv_timer_stop(&s->timer);
    s->call = NULL;
    if (call)
        reply_run(call, s->computation_id, s->error ? s->error : "");
    mem_free(s->computation_id);
    mem_free(s->error);
    s->computation_id = s->error = NULL;
    journal_set_computation(s->cfg.journal, "");
    answer_stops(s);
    tell_stopped(s);
}

/* The caller tells how the run ended; what the run itself told should be out before. */
static bool is_settled(const struct rsvc *s)
{
    struct outbox_stats st;

    if (!s->output.warning_seq || collector_state(s->cfg.collector) != COLLECTOR_UP ||
        clock_mono_ms(clock_system()) >= s->settle_until_ms)
        return true;
    outbox_stats(journal_outbox(s->cfg.journal), &st);
    return st.acked >= s->output.warning_seq;
}

static void on_settle(uv_timer_t *timer)
{
    struct rsvc *s = timer->data;

    if (is_settled(s))
        answer(s);
}

/* ---------------------------------------------------------------------- the run */

static void on_output(const struct run_step *step, enum child_stream stream, struct slice bytes, void *ctx)
{
    struct rsvc *s = ctx;

    rsvc_output_add(&s->output, stream, step->is_algorithm, bytes);
}

static void on_finished(const char *error, void *ctx)
{
    struct rsvc *s = ctx;
    uint64_t now = clock_mono_ms(clock_system());
    struct err e = ERR_INIT;

    s->run = NULL;
    rsvc_output_end(&s->output);
    s->error = mem_dup_str(error, &e);
    if (*error)
        log_warn("computation %s failed after %llu ms: %s", s->computation_id,
                 (unsigned long long)(now - s->started_ms), error);
    else
        log_info("computation %s has run in %llu ms", s->computation_id,
                 (unsigned long long)(now - s->started_ms));
    s->settle_until_ms = now + SETTLE_MAX_MS;
    uv_timer_start(&s->timer, on_settle, 0, SETTLE_STEP_MS);
}

static void on_run_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                          void *ctx)
{
    struct rsvc *s = ctx;

    (void)trailers;
    if (s->call != c)
        return; /* answered */
    s->call = NULL;
    log_warn("the caller of computation %s has gone (%s): it is stopped", s->computation_id,
             rpc_code_name(status->code));
    if (s->run)
        run_stop(s->run);
}

static const struct rpc_call_events run_events = { .closed = on_run_closed };

static bool plan_of(const struct rsvc *s, const Runner__RunRequest *m, struct run_plan *ret, struct err *e)
{
    struct run_request r = { .kind = m->algo_type,
                             .work_dir = s->cfg.work_dir,
                             .algorithm = m->algorithm_path,
                             .requirements = m->requirements_path,
                             .args = (const char *const *)m->args,
                             .arg_count = m->n_args,
                             .find_links = s->cfg.find_links,
                             .index_url = s->cfg.index_url };

    return run_plan_make(&r, ret, e);
}

static bool begin(struct rsvc *s, const Runner__RunRequest *m, struct run_plan *take_plan, struct err *e)
{
    struct run_config rc = {
        .deadline_ms = s->cfg.max_runtime_ms, .output = on_output, .finished = on_finished, .ctx = s
    };

    s->computation_id = mem_dup_str(m->computation_id, e);
    if (!s->computation_id || !run_start(s->loop, take_plan, &rc, &s->run, e)) {
        run_plan_done(take_plan);
        mem_free(s->computation_id);
        s->computation_id = NULL;
        return false;
    }
    return true;
}

static void run_decoded(struct rsvc *s, struct rpc_call *c, const Runner__RunRequest *m)
{
    struct run_plan plan = { .count = 0 };
    struct err e = ERR_INIT;

    if (s->stopping) {
        rpc_call_finish(c, RPC_UNAVAILABLE, "the runner is shutting down", NULL);
        return;
    }
    if (s->computation_id) {
        reply_run(c, m->computation_id, "computation already running");
        return;
    }
    if (!*m->algorithm_path) {
        rpc_call_finish(c, RPC_UNKNOWN, "algorithm path is required", NULL);
        return;
    }
    if (m->n_args > ARGS_MAX) {
        rpc_call_finishf(c, RPC_INVALID_ARGUMENT, "%zu arguments, at most %d are passed on", m->n_args,
                         ARGS_MAX);
        return;
    }
    if (!run_kind_check(m->algo_type, &e)) {
        log_warn("computation %s was not run: %s", m->computation_id, err_text(&e));
        rpc_call_finish(c, RPC_UNKNOWN, err_text(&e), NULL);
        return;
    }
    journal_set_computation(s->cfg.journal, m->computation_id);
    if (!plan_of(s, m, &plan, &e) || !begin(s, m, &plan, &e)) {
        log_warn("computation %s was not run: %s", m->computation_id, err_text(&e));
        journal_set_computation(s->cfg.journal, "");
        reply_run(c, m->computation_id, err_text(&e));
        return;
    }
    s->started_ms = clock_mono_ms(clock_system());
    s->call = c;
    rpc_call_on(c, &run_events, s);
    rsvc_output_begin(&s->output, s->cfg.journal, s->cfg.log_level);
    log_info("computation %s runs (%s)", m->computation_id, *m->algo_type ? m->algo_type : "bin");
}

static void run_method(struct rpc_call *c, struct slice request, void *service)
{
    CLEANUP(pb_done) Runner__RunRequest *m = NULL;
    struct err e = ERR_INIT;

    m = (Runner__RunRequest *)pb_decode(&runner__run_request__descriptor, request, NULL, &e);
    if (!m)
        rpc_call_finish(c, rpc_code_of_err(e.kind), err_text(&e), NULL);
    else
        run_decoded(service, c, m);
}

/* ------------------------------------------------------------------------- stop */

static void on_stop_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                           void *ctx)
{
    struct stop_wait *w = ctx, **at = &w->service->stops;

    (void)c;
    (void)status;
    (void)trailers;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    mem_free(w);
}

static const struct rpc_call_events stop_events = { .closed = on_stop_closed };

/* Answered when no process of the run is left. */
static void stop_method(struct rpc_call *c, struct slice request, void *service)
{
    struct rsvc *s = service;
    CLEANUP(pb_done) Runner__StopRequest *m = NULL;
    struct stop_wait *w = NULL;
    struct err e = ERR_INIT;

    m = (Runner__StopRequest *)pb_decode(&runner__stop_request__descriptor, request, NULL, &e);
    if (!m) {
        rpc_call_finish(c, rpc_code_of_err(e.kind), err_text(&e), NULL);
        return;
    }
    if (!s->computation_id) {
        rpc_answer_empty(c); /* what does not run is stopped */
        return;
    }
    if (*m->computation_id && strcmp(m->computation_id, s->computation_id) != 0) {
        rpc_call_finishf(c, RPC_NOT_FOUND, "computation '%.128s' is not running, '%.128s' is",
                         m->computation_id, s->computation_id);
        return;
    }
    w = mem_new(sizeof(*w), &e);
    if (!w) {
        rpc_call_finish(c, rpc_code_of_err(e.kind), err_text(&e), NULL);
        return;
    }
    *w = (struct stop_wait){ s->stops, s, c };
    s->stops = w;
    rpc_call_on(c, &stop_events, w);
    if (s->run)
        run_stop(s->run);
}

/* ------------------------------------------------------------------------- life */

static const struct rpc_method methods[] = {
    { .name = "Run", .allow = RPC_ALLOW_ANYONE, .max_recv = REQUEST_MAX, .unary = run_method },
    { .name = "Stop", .allow = RPC_ALLOW_ANYONE, .max_recv = REQUEST_MAX, .unary = stop_method },
};

/* Who may call is decided by the socket's mode. */
const struct rpc_service rsvc_runner = { "runner.ComputationRunner", methods, ARRAY_LEN(methods) };

bool rsvc_new(uv_loop_t *loop, const struct rsvc_config *cfg, struct rsvc **ret, struct err *e)
{
    struct rsvc *s = mem_new(sizeof(*s), e);

    if (!s)
        return false;
    s->loop = loop;
    s->cfg = *cfg;
    uv_timer_init(loop, &s->timer);
    s->timer.data = s;
    *ret = s;
    return true;
}

void rsvc_stop(struct rsvc *s, void (*stopped)(void *ctx), void *ctx)
{
    s->stopping = true;
    s->stopped = stopped;
    s->stopped_ctx = ctx;
    if (s->run)
        run_stop(s->run);
    else if (!s->computation_id)
        tell_stopped(s);
}

static void on_timer_closed(uv_handle_t *h)
{
    mem_free(h->data);
}

void rsvc_free(struct rsvc *s)
{
    if (!s)
        return;
    assert(!s->run);
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}
