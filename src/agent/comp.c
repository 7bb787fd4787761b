#include "agent/comp_int.h"

#include <assert.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "base/text.h"

/* ------------------------------------------------------------------ telling */

const char *comp_state_name(const struct comp *c)
{
    return fsm_state_name(c->state);
}

void comp_log_method(const struct comp *c, const char *what, uint64_t started_ms, const char *error)
{
    uint64_t now = comp_now_ms(c);
    char took[32];

    text_format_duration_ms(now > started_ms ? now - started_ms : 0, took);
    if (*error)
        log_warn("Method %s took %s to complete with error: %s", what, took, error);
    else
        log_info("Method %s took %s to complete without errors", what, took);
}

void comp_tell(struct comp *c, const char *type, const char *status)
{
    struct err e = ERR_INIT;

    if (!journal_event(c->d.journal, type, status, &e))
        log_error("event %s/%s: %s", type, status, err_text(&e));
}

struct forgetting {
    struct comp *c;
    uint64_t number;
};

static void forget_flushed(bool ok, void *ctx)
{
    struct forgetting *f = ctx;
    struct err e = ERR_INIT;

    /* By now the next computation may have been noted in its place. */
    if (ok && f->number == f->c->number && !running_remove(f->c->d.state_fd, &e))
        log_error("%s", err_text(&e));
    mem_free(f);
}

/* Once the event that ends the computation is on the disk, nothing is left to report after a crash. */
static void forget_when_flushed(struct comp *c)
{
    struct err e = ERR_INIT;
    struct forgetting *f = mem_new(sizeof(*f), &e);

    if (f) {
        *f = (struct forgetting){ c, c->number };
        if (outbox_flush(journal_outbox(c->d.journal), forget_flushed, f, &e))
            return;
        mem_free(f);
    }
    log_error("forget the computation: %s", err_text(&e));
}

/* The event that ends the computation: noted, then told at the noted time. */
static void tell_last(struct comp *c, struct running *r)
{
    struct err e = ERR_INIT;

    if (!running_write(c->d.state_fd, r, &e))
        log_error("%s", err_text(&e));
    err_clear(&e);
    if (!journal_event_at(c->d.journal, r->id, NULL, r->type, r->status, r->time_ns, &e))
        log_error("event %s/%s: %s", r->type, r->status, err_text(&e));
    else
        forget_when_flushed(c);
}

static void tell_end(struct comp *c, const struct fsm_step *s)
{
    struct running r = { .time_ns = journal_stamp(c->d.journal) };

    assert(c->mf); /* the table forgets only what has begun */
    snprintf(r.id, sizeof(r.id), "%s", c->mf->id);
    snprintf(r.type, sizeof(r.type), "%s", s->tell);
    snprintf(r.status, sizeof(r.status), "%s", s->tell_status);
    tell_last(c, &r);
}

/* ------------------------------------------------------------------ events */

static bool clean_run(void *ctx, struct err *e)
{
    const struct comp *c = ctx;

    return work_clean(&c->work, e);
}

static void clean_failed_done(void *ctx, bool ok, struct err *e)
{
    struct comp *c = ctx;

    if (!ok)
        log_error("%s", err_text(e));
    comp_task_end(c);
}

void comp_event(struct comp *c, enum fsm_event event)
{
    struct fsm_step s = fsm_step(c->state, event, c->mf && c->mf->dataset_count > 0);

    if (!s.valid) {
        log_debug("event %s means nothing in state %s", fsm_event_name(event), comp_state_name(c));
        return;
    }
    c->state = s.to;
    if (s.actions & FSM_DO_TELL) {
        if (s.actions & FSM_DO_FORGET)
            tell_end(c, &s);
        else
            comp_tell(c, s.tell, s.tell_status);
    }
    if (s.actions & FSM_DO_RUN)
        comp_run_begin(c);
    if (s.actions & FSM_DO_CLEAN) {
        comp_task_begin(c);
        job_start(c->d.loop, &c->clean_job, clean_run, clean_failed_done, c);
    }
}

void comp_fail(struct comp *c, enum rpc_code code, const char *text)
{
    c->failure.code = code;
    snprintf(c->failure.message, sizeof(c->failure.message), "%s", text);
    comp_event(c, FSM_RUN_FAILED);
}

/* ------------------------------------------------------------------ order */

/* What is asked for and not built yet; the manifest itself is right. */
static bool check_supported(const struct mf *m, struct err *e)
{
    if (m->agent.attested_tls)
        return err_fail(e, ERR_KIND_UNSUPPORTED,
                        "agent_config.attested_tls: attested TLS is not built into this agent yet; "
                        "send attested_tls false");
    if (m->algo_source.remote)
        return err_fail(e, ERR_KIND_UNSUPPORTED,
                        "algorithm.source.url '%.200s': remote resources are not supported yet; upload the "
                        "algorithm",
                        m->algo_source.url);
    if (m->algo_source.encrypted)
        return err_fail(e, ERR_KIND_UNSUPPORTED,
                        "algorithm.source.encrypted: encrypted uploads are not supported yet");
    for (size_t i = 0; i < m->dataset_count; i++) {
        if (m->datasets[i].source.remote)
            return err_fail(e, ERR_KIND_UNSUPPORTED,
                            "datasets[%zu].source.url '%.200s': remote resources are not supported yet; "
                            "upload the dataset",
                            i, m->datasets[i].source.url);
        if (m->datasets[i].source.encrypted)
            return err_fail(e, ERR_KIND_UNSUPPORTED,
                            "datasets[%zu].source.encrypted: encrypted uploads are not supported yet", i);
    }
    return true;
}

static void forget_mf(struct comp *c)
{
    for (size_t i = 0; i < c->algo_arg_count; i++)
        mem_free(c->algo_args[i]);
    mem_free(c->algo_args);
    mem_free(c->algo_type);
    mem_free(c->pending);
    auth_free(c->auth);
    mf_free(c->mf);
    c->algo_args = NULL;
    c->algo_arg_count = 0;
    c->algo_type = NULL;
    c->pending = NULL;
    c->auth = NULL;
    c->mf = NULL;
    c->measured.count = 0;
    c->algo = SLOT_PENDING;
    c->has_requirements = false;
    c->failure = (struct rpc_status){ RPC_OK, "" };
    fd_done(&c->result.fd);
    c->result = (struct work_result){ -1, 0 };
    c->run_called = false;
    atomic_store(&c->cancel, false);
}

/* What can be refused without having touched anything. */
static bool prepare(struct comp *c, struct mf *take_mf, struct err *e)
{
    c->mf = take_mf;
    c->number++;
    c->missing = c->mf->dataset_count;
    c->auth = auth_new(c->mf, c->d.cfg->require_bound_signatures, e);
    c->pending = mem_new_array(c->mf->dataset_count, sizeof(*c->pending), e);
    if (!c->auth || !c->pending || !check_supported(c->mf, e))
        return false;
    for (size_t i = 0; i < c->mf->dataset_count; i++)
        c->pending[i] = true;
    return true;
}

static void say_measured(const struct comp *c)
{
    char text[MEASURE_SAID_MAX];

    if (c->measured.count == 0) {
        log_info("the manifest was not measured: this agent has no TPM to use");
        return;
    }
    measure_say(&c->measured, text);
    log_info("%s", text);
    if (c->measured.unknown > 0)
        log_warn("%zu banks of the TPM are of algorithms that this agent does not know: the manifest is not "
                 "in them",
                 c->measured.unknown);
}

static bool begin(struct comp *c, struct err *e)
{
    struct running r = { 0 };

    /* Noted before anyone can bring anything, so that no crash goes unreported. */
    snprintf(r.id, sizeof(r.id), "%s", c->mf->id);
    if (!running_write(c->d.state_fd, &r, e))
        return false;
    journal_set_computation(c->d.journal, c->mf->id);
    say_measured(c);
    if (comp_listen(c, e))
        return true;
    journal_set_computation(c->d.journal, "");
    return false;
}

/* The answer, which ends the order. */
static void order_answer(struct comp *c, const struct err *why)
{
    comp_ordered_fn ordered = c->ordered;
    char what[sizeof("InitComputation for computation id ") + MF_ID_MAX];

    snprintf(c->answer.error, sizeof(c->answer.error), "%s", why ? err_text(why) : "");
    snprintf(what, sizeof(what), "InitComputation for computation id %s", c->answer.id);
    comp_log_method(c, what, c->ordered_ms, c->answer.error);
    c->ordered = NULL;
    if (!why)
        comp_event(c, FSM_MANIFEST_RECEIVED);
    ordered(&c->answer, c->ordered_ctx);
}

static void order_failed(struct comp *c, const struct err *why)
{
    struct err e = ERR_INIT;

    if (!running_remove(c->d.state_fd, &e))
        log_error("%s", err_text(&e));
    forget_mf(c);
    order_answer(c, why);
}

static void order_go_on(struct comp *c)
{
    struct err e = ERR_INIT;

    if (begin(c, &e))
        order_answer(c, NULL);
    else
        order_failed(c, &e);
}

static void end_answer(struct comp *c);

static void measured(const struct ev_measured *m, const struct err *why, void *ctx)
{
    struct comp *c = ctx;
    struct err e = ERR_INIT;

    if (c->shut) { /* asked for meanwhile */
        err_fail(&e, ERR_KIND_CANCELLED, "the agent is shutting down");
        order_failed(c, &e);
        end_answer(c);
    } else if (m) {
        c->measured = *m;
        order_go_on(c);
    } else {
        order_failed(c, why);
    }
}

/* To the TPM first, where there is one. */
static bool order_measure(struct comp *c, struct slice request, struct err *e)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(MF_JSON_MAX);
    const char *tpm = measure_tpm(c->d.cfg);

    if (!*tpm && c->d.cfg->require_tpm)
        return err_fail(e, ERR_KIND_MISSING,
                        "measure the manifest: this machine has no TPM, and AGENT_REQUIRE_TPM wants one");
    if (*tpm)
        return mf_json_of(request, &text, e) &&
               measure_start(c->d.loop, tpm, c->d.cfg->tpm_timeout_ms, &text, measured, c, &c->measure, e);
    order_go_on(c);
    return true;
}

/* A computation is here already: is it the very one that is asked for? */
static bool same_order(const struct comp *c, struct slice request, struct err *e)
{
    uint8_t hash[HASH_SHA256_LEN];

    if (!hash_bytes(HASH_SHA256, request, hash, e))
        return false;
    if (c->mf && memcmp(hash, c->request_hash, sizeof(hash)) == 0) {
        log_info("computation %s was asked for again: it is %s", c->mf->id, comp_state_name(c));
        return true;
    }
    return err_fail(e, ERR_KIND_DENIED, "this agent has computation '%s', which is %s; stop it first",
                    c->mf ? c->mf->id : "", comp_state_name(c));
}

void comp_order(struct comp *c, struct slice request, comp_ordered_fn ordered, void *ctx)
{
    struct err e = ERR_INIT;
    struct mf *m;

    assert(!c->ordered);
    c->ordered = ordered;
    c->ordered_ctx = ctx;
    c->ordered_ms = comp_now_ms(c);
    m = mf_decode(request, c->answer.id, &e);
    if (m && (c->state != FSM_RECEIVING_MANIFEST || c->ending != END_NONE)) {
        mf_free(m);
        if (same_order(c, request, &e)) {
            c->ordered = NULL;
            c->answer.error[0] = '\0';
            ordered(&c->answer, ctx);
            return;
        }
        m = NULL;
    }
    if (m && !comp_run_check_ended(c, &e)) {
        mf_free(m);
        m = NULL;
    }
    if (!m)
        order_answer(c, &e);
    else if (!prepare(c, m, &e) || !hash_bytes(HASH_SHA256, request, c->request_hash, &e) ||
             !order_measure(c, request, &e))
        order_failed(c, &e);
}

/* ------------------------------------------------------------------ end */

void comp_task_begin(struct comp *c)
{
    c->tasks++;
}

static void end_go_on(struct comp *c);

void comp_task_end(struct comp *c)
{
    c->tasks--;
    end_go_on(c);
}

static void stopped_now(uv_timer_t *timer)
{
    struct comp *c = timer->data;
    comp_stopped_fn stopped = c->stopped;
    enum ending ending = c->ending;

    c->stopped = NULL;
    c->ending = ending == END_SHUTDOWN || c->shut ? END_SHUTDOWN : END_NONE;
    if (stopped)
        stopped(c->stop_message, c->stopped_ctx);
    if (c->shut)
        c->shut(c->shut_ctx);
}

/* On another turn, as comp_stop promises. */
static void end_answer(struct comp *c)
{
    uv_timer_start(&c->stop_timer, stopped_now, 0, 0);
}

static void unlistened(void *ctx)
{
    struct comp *c = ctx;

    forget_mf(c);
    journal_set_computation(c->d.journal, "");
    c->state = FSM_RECEIVING_MANIFEST;
    end_answer(c);
}

static void clean_end_done(void *ctx, bool ok, struct err *e)
{
    struct comp *c = ctx;

    if (!ok) {
        log_error("%s", err_text(e));
        snprintf(c->stop_message, sizeof(c->stop_message), "%s", err_text(e));
    }
    comp_unlisten(c, unlistened, c);
}

/* Everyone who uses files has let go, then the files go, then the listener. */
static void end_go_on(struct comp *c)
{
    if (c->ending == END_NONE || !c->mf || c->tasks > 0 || c->cleaned)
        return;
    c->cleaned = true;
    job_start(c->d.loop, &c->clean_job, clean_run, clean_end_done, c);
}

static void end_begin(struct comp *c, enum ending ending, const struct fsm_step *s)
{
    c->ending = ending;
    c->cleaned = false;
    c->stop_message[0] = '\0';
    atomic_store(&c->cancel, true);
    if (ending == END_STOP && (s->actions & FSM_DO_TELL))
        tell_end(c, s);
    upload_abort_all(c, ending == END_STOP ? "the computation was stopped" : "the agent is shutting down");
    if (s->actions & FSM_DO_STOP_RUN)
        comp_run_stop(c);
    rpc_client_disconnect(c->attester); /* nobody waits for its answers any more */
    comp_drain(c);
}

void comp_stop(struct comp *c, const char *id, comp_stopped_fn stopped, void *ctx)
{
    struct fsm_step s = fsm_step(c->state, FSM_STOP, false);

    c->stopped = stopped;
    c->stopped_ctx = ctx;
    if (c->ending != END_NONE)
        return; /* the agent is shutting down; its end is ours */
    c->stop_message[0] = '\0';
    if (s.actions == 0) { /* nothing to stop: that is what was wanted */
        end_answer(c);
        return;
    }
    if (strcmp(id, c->mf->id) != 0) {
        snprintf(c->stop_message, sizeof(c->stop_message),
                 "computation '%.256s' is not here: this agent has '%s', which is %s", id, c->mf->id,
                 comp_state_name(c));
        end_answer(c);
        return;
    }
    end_begin(c, END_STOP, &s);
}

void comp_shutdown(struct comp *c, void (*done)(void *ctx), void *ctx)
{
    struct fsm_step s = fsm_step(c->state, FSM_STOP, false);

    c->shut = done;
    c->shut_ctx = ctx;
    if (c->starting || c->ordered || c->ending == END_STOP || uv_is_active((uv_handle_t *)&c->stop_timer))
        return; /* something is under way; its end is ours */
    c->ending = END_SHUTDOWN;
    if (s.actions == 0)
        end_answer(c);
    else
        end_begin(c, END_SHUTDOWN, &s);
}

/* ------------------------------------------------------------------ start */

static void start_ready(struct comp *c)
{
    c->starting = false;
    comp_event(c, FSM_START);
    if (c->shut) /* asked for meanwhile */
        end_answer(c);
    else
        c->ready(c->ready_ctx);
}

/* Says what became of the computation an earlier process had. */
static void report_interrupted(struct comp *c, struct running *r)
{
    journal_set_computation(c->d.journal, r->id);
    if (!*r->type) {
        log_error("computation %s was interrupted: the agent was restarted; nothing of it is left, order it "
                  "again",
                  r->id);
        snprintf(r->type, sizeof(r->type), "Failed");
        snprintf(r->status, sizeof(r->status), "Failed");
        r->time_ns = journal_stamp(c->d.journal);
    }
    tell_last(c, r);
    journal_set_computation(c->d.journal, "");
}

static void sweep_done(void *ctx, bool ok, struct err *e)
{
    struct comp *c = ctx;
    struct err why = ERR_INIT;
    struct running r;

    if (!ok)
        log_error("%s", err_text(e));
    if (!running_read(c->d.state_fd, &r, &why)) {
        log_error("%s", err_text(&why));
        r.id[0] = '\0';
    }
    if (*r.id)
        report_interrupted(c, &r);
    start_ready(c);
}

static void sweep(struct comp *c)
{
    comp_forget_address(c);
    job_start(c->d.loop, &c->clean_job, clean_run, sweep_done, c);
}

static void sweep_runner_stopped(const struct rpc_status *status, struct buf *reply, void *ctx)
{
    struct comp *c = ctx;
    struct err e = ERR_INIT;
    struct running r;

    (void)reply;
    if (!running_read(c->d.state_fd, &r, &e))
        r.id[0] = '\0';
    comp_runner_stopped(c, r.id, status);
    rpc_client_disconnect(c->runner);
    sweep(c);
}

void comp_start(struct comp *c, void (*ready)(void *ctx), void *ctx)
{
    struct err e = ERR_INIT;
    struct running r;

    c->starting = true;
    c->ready = ready;
    c->ready_ctx = ctx;
    /* The algorithm of a killed agent may still be at work in the files that go now. */
    if (running_read(c->d.state_fd, &r, &e) && *r.id && comp_runner_stop(c, r.id, sweep_runner_stopped, &e))
        return;
    sweep(c);
}

/* ------------------------------------------------------------------ life */

bool comp_new(const struct comp_deps *deps, struct comp **ret, struct err *e)
{
    struct rpc_client_config runner = { 0 };
    struct rpc_client_config attester = { 0 };
    CLEANUP(mem_done) char *runner_target = mem_format(e, "unix:%s", deps->cfg->runner_socket);
    CLEANUP(mem_done) char *attester_target = mem_format(e, "unix:%s", deps->cfg->attestation_socket);
    struct comp *c;

    if (!runner_target || !attester_target)
        return false;
    runner.target = runner_target;
    attester.target = attester_target;
    c = mem_new(sizeof(*c), e);
    if (!c)
        return false;
    c->d = *deps;
    c->work = (struct work)WORK_INIT;
    c->result = (struct work_result){ -1, 0 };
    uv_timer_init(deps->loop, &c->stop_timer);
    uv_timer_init(deps->loop, &c->stall_timer);
    c->stop_timer.data = c->stall_timer.data = c;
    c->uploads_admitted.what = "uploads";
    c->downloads_admitted.what = "downloads of the result";
    if (work_open(deps->cfg->dirs.work, &c->work, e) && rpc_client_new(deps->loop, &runner, &c->runner, e) &&
        rpc_client_new(deps->loop, &attester, &c->attester, e)) {
        *ret = c;
        return true;
    }
    comp_free(c, NULL, NULL);
    return false;
}

static void part_freed(void *ctx)
{
    struct comp *c = ctx;
    void (*freed)(void *) = c->freed;
    void *freed_ctx = c->freed_ctx;

    if (--c->open_parts > 0)
        return;
    work_done(&c->work);
    mem_free(c);
    if (freed)
        freed(freed_ctx);
}

static void timer_closed(uv_handle_t *h)
{
    part_freed(h->data);
}

void comp_free(struct comp *c, void (*freed)(void *ctx), void *ctx)
{
    c->freed = freed;
    c->freed_ctx = ctx;
    forget_mf(c);
    measure_leave(c->measure);
    c->open_parts = 2U + (c->runner != NULL) + (c->attester != NULL);
    if (c->runner)
        rpc_client_free(c->runner, part_freed, c);
    if (c->attester)
        rpc_client_free(c->attester, part_freed, c);
    uv_close((uv_handle_t *)&c->stop_timer, timer_closed);
    uv_close((uv_handle_t *)&c->stall_timer, timer_closed);
}
