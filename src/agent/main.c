/*
 * cocos-agent: configuration and wiring.
 */
#include <signal.h>
#include <unistd.h>

#include "agent/comp.h"
#include "agent/cvms.h"
#include "agent/outlet.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"

#define EVENTS_REMEMBERED 256

struct agent {
    struct agent_config cfg;
    uv_loop_t loop;
    int state_fd;
    struct journal *journal;
    struct outbox *replies;
    struct comp *comp;
    struct cvms *cvms;
    struct outlet *outlet;
    uv_signal_t terms, ints;
    bool signalled;
};

/* ------------------------------------------------------------------ down, one part after the other */

static void comp_freed(void *ctx)
{
    struct agent *a = ctx;

    uv_close((uv_handle_t *)&a->terms, NULL);
    uv_close((uv_handle_t *)&a->ints, NULL);
}

static void replies_closed(void *ctx)
{
    struct agent *a = ctx;

    if (a->comp)
        comp_free(a->comp, comp_freed, a);
    else
        comp_freed(a);
}

static void journal_closed(void *ctx)
{
    struct agent *a = ctx;

    outbox_close(a->replies, replies_closed, a);
}

static void outlet_freed(void *ctx)
{
    struct agent *a = ctx;

    journal_close(a->journal, journal_closed, a);
}

static void cvms_freed(void *ctx)
{
    struct agent *a = ctx;

    outlet_free(a->outlet, outlet_freed, a);
}

static void take_down(void *ctx)
{
    struct agent *a = ctx;

    cvms_free(a->cvms, cvms_freed, a);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct agent *a = handle->data;

    if (a->signalled)
        _exit(1); /* whoever asks twice does not want to wait */
    a->signalled = true;
    log_info("ending on %s", number == SIGTERM ? "SIGTERM" : "SIGINT");
    comp_shutdown(a->comp, take_down, a);
}

/* ------------------------------------------------------------------ up */

static void waiting_for_manifest(void *ctx)
{
    struct agent *a = ctx;

    if (!a->signalled)
        cvms_start(a->cvms);
}

static bool open_journals(struct agent *a, struct err *e)
{
    CLEANUP(mem_done) char *state = mem_format(e, "%s/agent", a->cfg.state_dir);
    CLEANUP(mem_done) char *journal = mem_format(e, "%s/agent/journal", a->cfg.state_dir);
    CLEANUP(mem_done) char *replies = mem_format(e, "%s/agent/replies", a->cfg.state_dir);
    struct journal_config jc = { .dir = journal, .originator = "agent", .dedup = EVENTS_REMEMBERED };
    struct outbox_config oc = { .dir = replies };

    if (!state || !journal || !replies)
        return false;
    return (stage_dir_open(state, 0700, &a->state_fd, e) && stage_sweep(a->state_fd, e) &&
            journal_open(&a->loop, &jc, &a->journal, e) && outbox_open(&a->loop, &oc, &a->replies, e)) ||
           err_wrap(e, "state directory");
}

static bool bring_up(struct agent *a, struct err *e)
{
    struct comp_deps comp = { &a->loop, &a->cfg, NULL, clock_system(), -1 };
    struct cvms_deps cvms = { &a->loop, &a->cfg, clock_system(), NULL, NULL, NULL };

    if (!open_journals(a, e))
        return false;
    journal_take_log(a->journal);
    log_info("cocos-agent %s", COCOS_VERSION);
    comp.journal = a->journal;
    comp.state_fd = a->state_fd;
    if (!comp_new(&comp, &a->comp, e))
        return false;
    cvms.comp = a->comp;
    cvms.journal = a->journal;
    cvms.replies = a->replies;
    return cvms_new(&cvms, &a->cvms, e) && outlet_new(&a->loop, &a->cfg, a->journal, a->cvms, &a->outlet, e);
}

static void watch_signals(struct agent *a)
{
    signal(SIGPIPE, SIG_IGN);
    uv_signal_init(&a->loop, &a->terms);
    uv_signal_init(&a->loop, &a->ints);
    a->terms.data = a;
    a->ints.data = a;
    /* Told only once the loop runs, and from now on not the end of the process. */
    uv_signal_start(&a->terms, on_signal, SIGTERM);
    uv_signal_start(&a->ints, on_signal, SIGINT);
}

static int run(struct agent *a)
{
    struct err e = ERR_INIT;
    bool ok;

    uv_loop_init(&a->loop);
    watch_signals(a);
    ok = bring_up(a, &e);
    if (ok) {
        comp_start(a->comp, waiting_for_manifest, a);
    } else {
        log_error("%s", err_text(&e));
        a->signalled = true; /* it ends anyway */
        take_down(a);
    }
    uv_run(&a->loop, UV_RUN_DEFAULT);
    uv_loop_close(&a->loop);
    fd_done(&a->state_fd);
    return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct agent a = { .state_fd = -1 };
    struct config_values values = { 0 };
    struct err e = ERR_INIT;
    int code = 0;

    log_open("cocos-agent", LOG_DEBUG);
    switch (agent_config_read(argc, argv, environ, &a.cfg, &values, &e)) {
    case CONFIG_SHOWN: break;
    case CONFIG_BAD:
        log_error("%s", err_text(&e));
        code = 2;
        break;
    case CONFIG_RUN:
        log_set_level(a.cfg.log_level);
        code = run(&a);
        break;
    }
    config_values_done(&values);
    return code;
}
