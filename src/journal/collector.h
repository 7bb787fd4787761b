/*
 * From an outbox to the log forwarder (log.LogCollector on a unix socket).
 *
 * Sends one record at a time, in order, and acknowledges each when the
 * forwarder has it. A failure is tried again after 100, 200, 400, 800, 1600,
 * then every 2000 ms, for ever: the caller never waits, the outbox holds. A
 * record the forwarder calls INVALID_ARGUMENT is given up, as it would be
 * refused for ever. The outbox must hold logs and events only.
 */
#ifndef JOURNAL_COLLECTOR_H
#define JOURNAL_COLLECTOR_H

#include <uv.h>

#include "journal/outbox.h"

enum collector_state {
    COLLECTOR_IDLE,   /* not started, or stopped                                   */
    COLLECTOR_ABSENT, /* nobody listens on the socket; tried again all the time    */
    COLLECTOR_TRYING, /* not yet known, or the last call failed for another reason */
    COLLECTOR_UP,     /* the last call succeeded                                   */
};

struct collector_config {
    const char *socket;  /* "/run/cocos/log.sock"                              */
    uint64_t timeout_ms; /* of a call; 0: 5 s                                  */

    /* Told when the state changes, never from within a function of this header. May be NULL. */
    void (*changed)(enum collector_state state, void *ctx);
    void *ctx;
};

struct collector;

/* The outbox is borrowed until collector_free's callback; it has one reader, so only one of
 * collector and stream_sender may be running on it. */
bool collector_new(uv_loop_t *loop, struct outbox *o, const struct collector_config *cfg,
                   struct collector **ret, struct err *e) MUST_CHECK;

/* Starts and stops sending. Stopping gives up the call under way; its record will be sent again. */
void collector_start(struct collector *c);
void collector_stop(struct collector *c);

enum collector_state collector_state(const struct collector *c);

/* True when a unix socket of that name takes a connection just now: does not block. */
bool collector_is_there(const char *socket);

void collector_free(struct collector *c, void (*freed)(void *ctx), void *ctx);

#endif
