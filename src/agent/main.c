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
    CLEANUP(mem_done) char *state = mem_format(e, "%s/agent", a->cfg.dirs.state);
    CLEANUP(mem_done) char *journal = mem_format(e, "%s/agent/journal", a->cfg.dirs.state);
    CLEANUP(mem_done) char *replies = mem_format(e, "%s/agent/replies", a->cfg.dirs.state);
    struct journal_config jc = { .dir = journal, .originator = "agent", .dedup = EVENTS_REMEMBERED };
    struct outbox_config oc = { .dir = replies };

    if (!state || !journal || !replies)
        return false;
    return (stage_dir_open(state, 0700, &a->state_fd, e) && stage_sweep(a->state_fd, e) &&
            journal_open(&a->daemon.loop, &jc, &a->journal, e) &&
            outbox_open(&a->daemon.loop, &oc, &a->replies, e)) ||
           err_wrap(e, "state directory");
}

static bool start(void *ctx, struct err *e)
{
    struct agent *a = ctx;
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
    if (!cvms_new(&cvms, &a->cvms, e) ||
        !outlet_new(&a->daemon.loop, &a->cfg, a->journal, a->cvms, &a->outlet, e))
        return false;
    comp_start(a->comp, waiting_for_manifest, a);
    return true;
}

int main(int argc, char **argv)
{
    static const struct daemon_turns turns = { start, stop, take_down };
    struct agent a = { .state_fd = -1 };
    struct config_values values = { 0 };
    struct err e = ERR_INIT;
    int code;

    log_open("cocos-agent", LOG_INFO);
    setenv("TSS2_LOG", "all+none", 0); /* tpm2-tss would write to stderr what our errors say already */
    if (daemon_has_settings("cocos-agent", agent_config_read(argc, argv, environ, &a.cfg, &values, &e), &e,
                            &code)) {
        log_set_level(a.cfg.log_level);
        code = daemon_serve(&a.daemon, &turns, &a);
        fd_done(&a.state_fd);
    }
    config_values_done(&values);
    return code;
}
