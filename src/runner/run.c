#include "runner/run.h"

#include <signal.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/stage.h"
#include "base/strays.h"
#include "base/text.h"
#include "runner/guard.h"
#include "runner/tail.h"

struct run {
    uv_loop_t *loop;
    struct run_plan plan;
    struct run_config cfg;
    size_t step;
    struct child *child; /* NULL between steps */
    struct run_guard guard;
    struct run_tail tail;
    bool stopped;
    uint64_t ends_ms; /* on the monotonic clock; 0: never */
    uv_work_t sweep;
    bool before;        /* the sweep is the one before the first step */
    struct err unswept; /* what the sweep could not do                */
    struct buf error;
};

static void next_step(struct run *r);

/* ---------------------------------------------------------------------- errors */

/* As our peers print them. */
static const struct {
    int number;
    const char *name;
} signals[] = {
    { SIGHUP, "hangup" },
    { SIGINT, "interrupt" },
    { SIGQUIT, "quit" },
    { SIGILL, "illegal instruction" },
    { SIGTRAP, "trace/breakpoint trap" },
    { SIGABRT, "aborted" },
    { SIGBUS, "bus error" },
    { SIGFPE, "floating point exception" },
    { SIGKILL, "killed" },
    { SIGUSR1, "user defined signal 1" },
    { SIGSEGV, "segmentation fault" },
    { SIGUSR2, "user defined signal 2" },
    { SIGPIPE, "broken pipe" },
    { SIGALRM, "alarm clock" },
    { SIGTERM, "terminated" },
    { SIGXCPU, "CPU time limit exceeded" },
    { SIGXFSZ, "file size limit exceeded" },
    { SIGSYS, "bad system call" },
};

static bool put_outcome(struct buf *b, const struct child_exit *how, struct err *e)
{
    if (!how->by_signal)
        return buf_format(b, e, "exit status %d", how->number);
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        if (signals[i].number == how->number)
            return buf_format(b, e, "signal: %s%s", signals[i].name,
                              how->core_dumped ? " (core dumped)" : "");
    }
    return buf_format(b, e, "signal: signal %d%s", how->number, how->core_dumped ? " (core dumped)" : "");
}

/* What the text lacks in the end when memory is short is not worth another error. */
static void tell_exit(struct run *r, const struct child_exit *how)
{
    struct buf *b = &r->error;
    struct err e = ERR_INIT;
    char limit[32];

    if (!buf_format(b, &e, "%s: ", r->plan.steps[r->step].failed) || !put_outcome(b, how, &e))
        return;
    text_format_duration_ms(r->cfg.deadline_ms, limit);
    if (r->stopped) {
        if (!buf_append_str(b, " (stopped)", &e))
            return;
    } else if (how->timed_out && !buf_format(b, &e, " (it ran longer than %s)", limit)) {
        return;
    }
    if (r->tail.len == 0 || !buf_append_str(b, "; last lines of stderr:\n", &e))
        return;

    size_t before = b->len;

    if (!run_tail_text(&r->tail, b, &e) || b->len == before)
        buf_truncate(b, before - strlen("; last lines of stderr:\n"));
}

static void tell_not_started(struct run *r, const struct err *why)
{
    const struct run_step *s = &r->plan.steps[r->step];
    struct err e = ERR_INIT;

    if (!buf_format(&r->error, &e, "%s: ", s->is_algorithm ? "error starting algorithm" : s->failed) ||
        !text_safe(slice_of_str(err_text(why)), &r->error, &e))
        return;
}

/* Who outlives a run may still change its results: they don't count. */
static void tell_unswept(struct run *r)
{
    struct err e = ERR_INIT;

    if (r->unswept.kind != ERR_KIND_NONE && buf_append_str(&r->error, r->error.len > 0 ? "; " : "", &e))
        (void)!text_safe(slice_of_str(err_text(&r->unswept)), &r->error, &e);
}

/* -------------------------------------------------------------------- sweeping */

bool run_sweep(const char *work_dir, struct err *e)
{
    CLEANUP(fd_done) int dir_fd = -1;

    if (!stage_dir_open(work_dir, 0755, &dir_fd, e))
        return false;
    return stage_remove_tree(dir_fd, RUN_VENV_DIR, e);
}

static void sweep_work(uv_work_t *work)
{
    struct run *r = work->data;
    struct err e = ERR_INIT;

    if (!r->before)
        run_guard_end(&r->guard);
    r->unswept = (struct err)ERR_INIT;
    if (!strays_end(NULL, 0, RUN_STRAYS_MS, &r->unswept))
        err_wrap(&r->unswept, "error ending what an algorithm left running");
    /* A folder that stays is in the way of the next run only, which tries again and then says so. */
    if (!run_sweep(r->plan.work_dir, &e))
        return;
}

static void run_free(struct run *r)
{
    run_plan_done(&r->plan);
    buf_done(&r->error);
    mem_free(r);
}

static void end(struct run *r)
{
    struct err e = ERR_INIT;
    const char *text = buf_str(&r->error, &e);

    r->cfg.finished(text ? text : "out of memory", r->cfg.ctx);
    run_free(r);
}

static void sweep_after(uv_work_t *work, int status)
{
    struct run *r = work->data;

    (void)status;
    if (!r->before) {
        tell_unswept(r);
        end(r);
        return;
    }
    r->before = false;
    /* It could read what this computation brings: rather no run at all. */
    if (r->unswept.kind != ERR_KIND_NONE || !run_guard_start(&r->guard, &r->unswept)) {
        tell_not_started(r, &r->unswept);
        end(r);
        return;
    }
    next_step(r);
}

static void sweep(struct run *r, bool before)
{
    r->before = before;
    r->sweep.data = r;
    if (uv_queue_work(r->loop, &r->sweep, sweep_work, sweep_after) != 0)
        sweep_after(&r->sweep, 0);
}

/* ----------------------------------------------------------------------- steps */

static void on_output(struct child *c, enum child_stream stream, struct slice bytes, void *ctx)
{
    struct run *r = ctx;

    (void)c;
    if (stream == CHILD_STDERR)
        run_tail_add(&r->tail, bytes);
    r->cfg.output(&r->plan.steps[r->step], stream, bytes, r->cfg.ctx);
}

static void on_exit_of_step(struct child *c, const struct child_exit *how, void *ctx)
{
    struct run *r = ctx;

    child_free(c);
    r->child = NULL;
    run_guard_watch(&r->guard, 0);
    if (how->by_signal || how->number != 0) {
        tell_exit(r, how);
        sweep(r, false);
        return;
    }
    r->step++;
    next_step(r);
}

/*
 * The one place that says what a process of a run gets: words, environment
 * and directory now; user, namespaces, mounts and limits when there is a
 * sandbox.
 */
static struct child_spec spec_of(struct run *r, const struct run_step *s, uint64_t left_ms)
{
    return (struct child_spec){ .argv = s->argv,
                                .env = r->plan.env,
                                .cwd = r->plan.work_dir,
                                .no_new_privs = true,
                                .deadline_ms = left_ms,
                                .on_output = on_output,
                                .on_exit = on_exit_of_step,
                                .ctx = r };
}

static void next_step(struct run *r)
{
    uint64_t now = clock_mono_ms(clock_system());
    uint64_t left = r->ends_ms == 0 ? 0 : r->ends_ms > now ? r->ends_ms - now : 1;
    struct err e = ERR_INIT;

    if (r->step == r->plan.count) {
        sweep(r, false);
        return;
    }
    if (r->stopped) {
        tell_exit(r, &(struct child_exit){ .by_signal = true, .number = SIGKILL });
        sweep(r, false);
        return;
    }
    r->tail.len = 0;
    r->tail.cut = false;

    struct child_spec spec = spec_of(r, &r->plan.steps[r->step], left);

    if (!child_spawn(r->loop, &spec, &r->child, &e)) {
        r->child = NULL;
        tell_not_started(r, &e);
        sweep(r, false);
        return;
    }
    run_guard_watch(&r->guard, child_pid(r->child));
}

/* ------------------------------------------------------------------------ life */

bool run_start(uv_loop_t *loop, struct run_plan *take_plan, const struct run_config *cfg, struct run **ret,
               struct err *e)
{
    struct run *r = mem_new(sizeof(*r), e);

    if (!r) {
        run_plan_done(take_plan);
        return false;
    }
    r->loop = loop;
    r->plan = *take_plan;
    *take_plan = (struct run_plan){ .count = 0 };
    r->cfg = *cfg;
    r->error = (struct buf)BUF_INIT(RUN_ERROR_MAX - 1);
    r->guard = (struct run_guard)RUN_GUARD_INIT;
    if (cfg->deadline_ms)
        r->ends_ms = clock_mono_ms(clock_system()) + cfg->deadline_ms;
    *ret = r;
    sweep(r, true);
    return true;
}

void run_stop(struct run *r)
{
    r->stopped = true;
    if (r->child)
        child_stop(r->child, 0);
}
