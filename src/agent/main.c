/*
 * cocos-agent: configuration and wiring.
 */
#include <unistd.h>

#include "agent/comp.h"
#include "agent/cvms.h"
#include "agent/outlet.h"
#include "base/daemon.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"

#define EVENTS_REMEMBERED 256

struct agent {
    struct agent_config cfg;
    struct daemon daemon;
    int state_fd;
    struct journal *journal;
    struct outbox *replies;
    struct comp *comp;
    struct cvms *cvms;
    struct outlet *outlet;
};

/* ------------------------------------------------------------------ down, one part after the other */

static void replies_closed(void *ctx)
{
    struct agent *a = ctx;

    if (a->comp)
        comp_free(a->comp, NULL, NULL); /* the last one: nothing is left on the loop */
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

static void stop(void *ctx)
{
    struct agent *a = ctx;

    comp_shutdown(a->comp, take_down, a);
}

/* ------------------------------------------------------------------ up */

static void waiting_for_manifest(void *ctx)
{
    struct agent *a = ctx;

    if (!a->daemon.stopping)
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
            journal_open(&a->daemon.loop, &jc, &a->journal, e) &&
            outbox_open(&a->daemon.loop, &oc, &a->replies, e)) ||
           err_wrap(e, "state directory");
}

static bool bring_up(struct agent *a, struct err *e)
{
    struct comp_deps comp = { &a->daemon.loop, &a->cfg, NULL, clock_system(), -1 };
    struct cvms_deps cvms = { &a->daemon.loop, &a->cfg, clock_system(), NULL, NULL, NULL };

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
    return cvms_new(&cvms, &a->cvms, e) &&
           outlet_new(&a->daemon.loop, &a->cfg, a->journal, a->cvms, &a->outlet, e);
}

static int run(struct agent *a)
{
    struct err e = ERR_INIT;
    int code = 0;

    if (!daemon_open(&a->daemon, stop, a, &e)) {
        log_error("%s", err_text(&e));
        return 1;
    }
    if (bring_up(a, &e)) {
        comp_start(a->comp, waiting_for_manifest, a);
    } else {
        log_error("%s", err_text(&e));
        code = 1;
        daemon_is_stopping(&a->daemon);
        take_down(a);
    }
    daemon_run(&a->daemon);
    fd_done(&a->state_fd);
    return code;
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
