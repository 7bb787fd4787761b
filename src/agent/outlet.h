/*
 * Which way logs and events leave: to the log forwarder when there is one,
 * else on the agent's own stream.
 *
 * Without the forwarder's socket the stream carries them until the socket
 * appears. Once the forwarder has been there they wait for it, also while it
 * restarts: two ways at once would mix up their order.
 */
#ifndef AGENT_OUTLET_H
#define AGENT_OUTLET_H

#include "agent/cvms.h"

struct outlet;

/* All borrowed until outlet_free. */
bool outlet_new(uv_loop_t *loop, const struct agent_config *cfg, struct journal *journal, struct cvms *cvms,
                struct outlet **ret, struct err *e) MUST_CHECK;

/* Accepts NULL. */
void outlet_free(struct outlet *o, void (*freed)(void *ctx), void *ctx);

#endif
