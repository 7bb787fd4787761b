/*
 * From an outbox into a client stream (cvms.Service/Process).
 *
 * Sends records in order as the stream takes them, and acknowledges those
 * that the peer's HTTP/2 layer has confirmed (rpc_client_barrier) a moment
 * ago. On a new stream it starts again at the first record not acknowledged,
 * so nothing is lost; what the peer had already taken from a stream that
 * broke is sent again, and carries the same time stamp, by which a receiver
 * knows it.
 *
 * The stream stays the caller's: he starts it, reads it, and hands on two of
 * its callbacks. Several senders may share one stream.
 */
#ifndef JOURNAL_STREAM_SENDER_H
#define JOURNAL_STREAM_SENDER_H

#include "journal/outbox.h"
#include "rpc/client.h"

struct stream_sender;

/* acked (may be NULL) comes after records have been acknowledged: outbox_is_empty then tells whether
 * all are. The outbox is borrowed until stream_sender_free. */
bool stream_sender_new(struct outbox *o, void (*acked)(void *ctx), void *ctx, struct stream_sender **ret,
                       struct err *e) MUST_CHECK;

/* Starts sending on the call, which must stay alive until stream_sender_detach. */
void stream_sender_attach(struct stream_sender *s, struct rpc_client *cl, struct rpc_call *call);

/* To be called from the call's `writable`. */
void stream_sender_writable(struct stream_sender *s);

/* To be called at the latest from the call's `closed`. Accepts one that is not attached. */
void stream_sender_detach(struct stream_sender *s);

bool stream_sender_is_attached(const struct stream_sender *s);

/* Detaches. Accepts NULL. */
void stream_sender_free(struct stream_sender *s);

#endif
