/*
 * The computation an agent has, from its order to its end.
 *
 * Puts the actions of fsm.h into effect: events are told, users served, the
 * algorithm run, everything removed. One computation at a time; what belongs
 * to one that was stopped is awaited, never left to the next.
 */
#ifndef AGENT_COMP_H
#define AGENT_COMP_H

#include <uv.h>

#include "agent/config.h"
#include "agent/fsm.h"
#include "base/clock.h"
#include "journal/journal.h"
#include "manifest/manifest.h"

struct comp;

struct comp_deps { /* all borrowed for the life of the comp */
    uv_loop_t *loop;
    const struct agent_config *cfg;
    struct journal *journal;
    const struct clock *clock;
    int state_fd; /* the agent's state directory */
};

bool comp_new(const struct comp_deps *deps, struct comp **ret, struct err *e) MUST_CHECK;

/*
 * Removes and reports what an earlier process was in the middle of (AG-17),
 * then waits for a manifest; ready comes when it does.
 */
void comp_start(struct comp *c, void (*ready)(void *ctx), void *ctx);

/*
 * A run request as serialized, borrowed for the call. ordered comes once, from
 * within or later: error is "" when the computation has begun, or is the same
 * one as already has (AG-14); else all that is wrong. With a TPM the manifest
 * is measured first. Neither an order nor a stop may come before.
 */
struct comp_answer {
    char id[MF_ID_MAX + 1];
    char error[ERR_TEXT_SIZE];
};
typedef void (*comp_ordered_fn)(const struct comp_answer *answer, void *ctx);
void comp_order(struct comp *c, struct slice request, comp_ordered_fn ordered, void *ctx);

/*
 * Ends the computation of that id, in any state; stopped comes later, always
 * on another turn, with "" or what went wrong. Only one at a time.
 */
typedef void (*comp_stopped_fn)(const char *message, void *ctx);
void comp_stop(struct comp *c, const char *id, comp_stopped_fn stopped, void *ctx);

/* The process ends: as stop, but told by the next process, which finds the computation interrupted. */
void comp_shutdown(struct comp *c, void (*done)(void *ctx), void *ctx);

/* "ReceivingManifest" */
const char *comp_state_name(const struct comp *c);

/* Logs "Method <what> took <time> to complete without errors" (section 2.7), or with the error. */
void comp_log_method(const struct comp *c, const char *what, uint64_t started_ms, const char *error);

/* After comp_shutdown. */
void comp_free(struct comp *c, void (*freed)(void *ctx), void *ctx);

#endif
