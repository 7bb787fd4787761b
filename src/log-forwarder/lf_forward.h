/*
 * The forwarder's own stream to the CVMS, kept up for as long as it is wanted.
 *
 * Sends what is in the outbox, reads and discards what the CVMS says, and
 * connects again when the stream ends: after the base delay, then after up to
 * six times as much while nothing works, each time a random fifth more or less.
 */
#ifndef LOG_FORWARDER_LF_FORWARD_H
#define LOG_FORWARDER_LF_FORWARD_H

#include <uv.h>

#include "journal/outbox.h"
#include "tls/tls.h"

struct lf_forward_config {
    const char *target;     /* "host:port"                                    */
    struct tls_client *tls; /* borrowed; NULL: plaintext                      */
    const char *cvm_id;     /* for the metadata; "" or NULL: none is sent     */
    uint64_t delay_ms;      /* before connecting again                        */
    uint64_t connect_timeout_ms;
};

struct lf_forward;

/* Connects at once. The outbox is borrowed until lf_forward_free's callback. */
bool lf_forward_new(uv_loop_t *loop, struct outbox *o, const struct lf_forward_config *cfg,
                    struct lf_forward **ret, struct err *e) MUST_CHECK;

/*
 * Does not connect any more; `finished` comes when the outbox is empty, the
 * stream has broken, or grace_ms have passed.
 */
void lf_forward_finish(struct lf_forward *f, uint64_t grace_ms, void (*finished)(void *ctx), void *ctx);

void lf_forward_free(struct lf_forward *f, void (*freed)(void *ctx), void *ctx);

#endif
