/*
 * What the agent says first: that it is there, with evidence of what it runs
 * in when it has an identity to bind it to (wire sheet, section 2.2).
 */
#ifndef AGENT_GREETING_H
#define AGENT_GREETING_H

#include "agent/config.h"
#include "journal/outbox.h"

#include <uv.h>

/*
 * Appends vTPMattestationReport to replies, at once or when the attestation
 * service has answered or failed to within 10 s; then done. Upstream ends here
 * when the service is away; we go on with an empty report and say so.
 * *ret is what can be cancelled until done; NULL when there is nothing to wait for.
 */
struct greeting;
void greeting_send(uv_loop_t *loop, const struct agent_config *cfg, struct outbox *replies,
                   void (*done)(void *ctx), void *ctx, struct greeting **ret);

/* Nothing is appended any more and done does not come. Accepts NULL. */
void greeting_cancel(struct greeting *g);

#endif
