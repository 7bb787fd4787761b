/*
 * gRPC over HTTP/2: what both sides of a call share.
 *
 * One thread owns a loop and everything here; every callback runs on that
 * thread. Whoever has slow work to do gives it to the pool (uv_queue_work)
 * and asks for the next message only when it is done: a call delivers one
 * message per rpc_call_want, and what nobody asked for stays with the peer,
 * held back by its flow-control window. The same holds for sending: a call
 * takes messages until its queue is full, and says when there is room again.
 * So memory per call is bounded by its limits, however slow either side is.
 *
 * Spec: gRPC over HTTP2 (PROTOCOL-HTTP2), RFC 9113.
 */
#ifndef RPC_RPC_H
#define RPC_RPC_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

enum rpc_code {
    RPC_OK = 0,
    RPC_CANCELLED = 1,
    RPC_UNKNOWN = 2,
    RPC_INVALID_ARGUMENT = 3,
    RPC_DEADLINE_EXCEEDED = 4,
    RPC_NOT_FOUND = 5,
    RPC_ALREADY_EXISTS = 6,
    RPC_PERMISSION_DENIED = 7,
    RPC_RESOURCE_EXHAUSTED = 8,
    RPC_FAILED_PRECONDITION = 9,
    RPC_ABORTED = 10,
    RPC_OUT_OF_RANGE = 11,
    RPC_UNIMPLEMENTED = 12,
    RPC_INTERNAL = 13,
    RPC_UNAVAILABLE = 14,
    RPC_DATA_LOSS = 15,
    RPC_UNAUTHENTICATED = 16,
};

/* "DeadlineExceeded", as Go spells it; "Code(99)" is never returned, an unknown number is "Unknown". */
const char *rpc_code_name(enum rpc_code code);

/* The one table from kinds of error to status codes. */
enum rpc_code rpc_code_of_err(enum err_kind kind);
enum err_kind rpc_err_of_code(enum rpc_code code);

#define RPC_STATUS_TEXT_MAX 1024

struct rpc_status {
    enum rpc_code code;
    char message[RPC_STATUS_TEXT_MAX]; /* UTF-8, cut on a character boundary */
};

#define RPC_MESSAGE_MAX_DEFAULT ((size_t)4 * 1024 * 1024) /* received message, bytes */
#define RPC_METADATA_MAX_DEFAULT ((size_t)16 * 1024)      /* header list, bytes      */

/* ------------------------------------------------------------------ metadata */

/*
 * An ordered list of keys and values. Keys are lower-case. A key that ends in
 * "-bin" holds any bytes (the base64 of the wire is ours to do); any other
 * value is printable ASCII.
 */
struct rpc_md {
    struct rpc_md_entry *entries;
    size_t count;
    size_t cap;
    size_t bytes; /* keys + values + 32 each, as HTTP/2 counts */
};
struct rpc_md_entry {
    char *key;
    struct buf value;
};
#define RPC_MD_INIT   \
    {                 \
        NULL, 0, 0, 0 \
    }

/* INVALID for an upper-case or reserved key ("grpc-...", ":...") or a value that is not printable. */
bool rpc_md_add(struct rpc_md *md, const char *key, struct slice value, struct err *e) MUST_CHECK;
bool rpc_md_add_str(struct rpc_md *md, const char *key, const char *value, struct err *e) MUST_CHECK;

/* How many values the key has, and the nth of them, borrowed while md lives unchanged. */
size_t rpc_md_count(const struct rpc_md *md, const char *key);
bool rpc_md_get(const struct rpc_md *md, const char *key, size_t nth, struct slice *ret) MUST_CHECK;
void rpc_md_done(struct rpc_md *md);

/* --------------------------------------------------------------------- calls */

struct rpc_call; /* one call, of either side */

/*
 * What a call tells its user. Any member may be NULL. No callback comes after
 * `closed`, and `closed` comes exactly once; the call is freed when it returns.
 */
struct rpc_call_events {
    /* Client: the peer's initial metadata. Not called for a trailers-only reply. */
    void (*initial)(struct rpc_call *c, const struct rpc_md *md, void *ctx);

    /* One whole message, after rpc_call_want. The callee may move the bytes out of *body (buf_move);
     * otherwise they are gone when it returns. */
    void (*message)(struct rpc_call *c, struct buf *body, void *ctx);

    /* Server: the peer has sent its last message and it has been delivered. */
    void (*half_closed)(struct rpc_call *c, void *ctx);

    /* There is room for another message. */
    void (*writable)(struct rpc_call *c, void *ctx);

    /* Server: the call has ended; status is what was sent, or CANCELLED / DEADLINE_EXCEEDED /
     * UNAVAILABLE when it ended early. Client: the outcome of the call, with the trailing metadata;
     * it comes after the last message has been taken (rpc_call_want), so cancel a call whose messages
     * are not wanted. A deadline or a cancel does not wait. */
    void (*closed)(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                   void *ctx);
};

/* Sets who is told. In a server's `open`; a client gives it when it starts the call. */
void rpc_call_on(struct rpc_call *c, const struct rpc_call_events *events, void *ctx);

/* Asks for one more message. Asking again before it came changes nothing. */
void rpc_call_want(struct rpc_call *c);

/* Bytes that have come as messages of this call; and whether one was asked for and is not whole yet. */
uint64_t rpc_call_bytes_received(const struct rpc_call *c);
bool rpc_call_is_waiting(const struct rpc_call *c);

/* False when the queue is full: wait for `writable`. */
bool rpc_call_can_send(const struct rpc_call *c);

/*
 * Queues one message (at most 4 GiB - 1). The bytes move into the call, also
 * on failure. A queue holds one message beyond RPC_SEND_QUEUE_BYTES; LIMIT
 * when it is full, CANCELLED when the call has ended.
 */
#define RPC_SEND_QUEUE_BYTES ((size_t)1024 * 1024)
bool rpc_call_send(struct rpc_call *c, struct buf *take_body, struct err *e) MUST_CHECK;

/* Bytes queued and not yet handed to the transport. */
size_t rpc_call_queued(const struct rpc_call *c);

/* Client: no further message follows. */
void rpc_call_send_end(struct rpc_call *c);

/* Client: gives up; `closed` follows with CANCELLED. */
void rpc_call_cancel(struct rpc_call *c);

/* Server: metadata for the initial headers, before the first message. */
bool rpc_call_send_initial(struct rpc_call *c, const struct rpc_md *md, struct err *e) MUST_CHECK;

/*
 * Server: ends the call after the queued messages, with trailing metadata (or
 * NULL). Once; later calls do nothing. rpc_call_reply sends one message and
 * OK. The text is UTF-8; it is percent-encoded on the wire.
 */
void rpc_call_finish(struct rpc_call *c, enum rpc_code code, const char *message,
                     const struct rpc_md *trailers);
void rpc_call_finishf(struct rpc_call *c, enum rpc_code code, const char *fmt, ...) PRINTF(3, 4);
void rpc_call_reply(struct rpc_call *c, struct buf *take_body);

/* Server: what the peer sent with its request; its address as text; its method. */
const struct rpc_md *rpc_call_metadata(const struct rpc_call *c);
const char *rpc_call_peer(const struct rpc_call *c);
const char *rpc_call_method(const struct rpc_call *c); /* "/pkg.Service/Method" */

#endif
