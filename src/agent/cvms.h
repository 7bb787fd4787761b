/*
 * The agent's stream to its CVMS (wire sheet, section 2).
 *
 * Orders come in, answers go out. Answers wait on disk until the CVMS has
 * them (D-20); the stream is opened again whenever it ends, after about the
 * configured delay. Logs and events go the same way when nobody else carries
 * them. Cases PB-5, AG-13, AG-14.
 */
#ifndef AGENT_CVMS_H
#define AGENT_CVMS_H

#include "agent/comp.h"

struct cvms;

struct cvms_deps { /* all borrowed for the life of the cvms */
    uv_loop_t *loop;
    const struct agent_config *cfg;
    const struct clock *clock;
    struct comp *comp;
    struct journal *journal;
    struct outbox *replies;
};

/* Reads certificates; does not connect yet. */
bool cvms_new(const struct cvms_deps *deps, struct cvms **ret, struct err *e) MUST_CHECK;

/* Queues the start-up messages of section 2.2 and connects, now and for ever again. */
void cvms_start(struct cvms *v);

/* Whether the journal's records go on this stream. */
void cvms_carry_journal(struct cvms *v, bool carry);

/* Ends the stream and lets go. Accepts NULL. */
void cvms_free(struct cvms *v, void (*freed)(void *ctx), void *ctx);

#endif
