/*
 * One gRPC connection of either side, without I/O.
 *
 * Bytes of the peer go in by rpc_conn_feed, bytes for the peer are taken by
 * rpc_conn_pull, time comes from the clock it was given. What a user is told
 * is told from feed (messages, initial metadata) and from rpc_conn_dispatch
 * (everything else), never from within a function the user called.
 *
 * Spec: RFC 9113 by way of nghttp2; gRPC over HTTP2.
 */
#ifndef RPC_CONN_H
#define RPC_CONN_H

#include "base/clock.h"
#include "rpc/abuse.h"
#include "rpc/rpc.h"

struct rpc_conn;

enum rpc_role { RPC_ROLE_CLIENT, RPC_ROLE_SERVER };

struct rpc_conn_config {
    enum rpc_role role;
    const struct clock *clock; /* borrowed while the connection lives            */
    const char *peer;          /* the address as text, copied                    */
    struct rpc_budget *budget; /* borrowed; parent of the connection's, or NULL  */
    size_t message_max;
    size_t metadata_max;
    uint32_t streams_max;          /* server: calls at a time          */
    uint64_t handshake_timeout_ms; /* until the peer's settings        */
    uint64_t idle_timeout_ms;      /* server: without a call; 0: never */
    uint64_t keepalive_ms;
    uint64_t keepalive_timeout_ms;
    uint64_t stall_timeout_ms;   /* server: a full queue without progress (H2-4); 0: never */
    uint64_t request_timeout_ms; /* server: until the only message of a call is whole; 0: never */
    const char *authority;       /* client                               */
    const char *user_agent;      /* client                               */
    bool is_tls;                 /* client: the scheme                   */
};

/* The largest sum of bytes a connection holds for its peer: what came and was not taken yet. */
#define RPC_CONN_HELD_MAX ((size_t)128 * 1024 * 1024)

struct rpc_conn_events {
    /* Server: a call with valid headers has come. Set its events or finish it. */
    void (*open)(struct rpc_conn *n, struct rpc_call *c, void *ctx);

    /* There is something to dispatch or to pull. Cheap, may come often, must not call back. */
    void (*wake)(void *ctx);
};

bool rpc_conn_new(const struct rpc_conn_config *cfg, const struct rpc_conn_events *events, void *ctx,
                  struct rpc_conn **ret, struct err *e) MUST_CHECK;

/* Every call must have been told of its end: rpc_conn_fail, then dispatch. Accepts NULL. */
void rpc_conn_free(struct rpc_conn *n);

/*
 * Bytes of the peer. After a protocol fault or abuse, rpc_conn_fault tells why,
 * further bytes are ignored, and a GOAWAY waits to be pulled.
 */
void rpc_conn_feed(struct rpc_conn *n, struct slice bytes);

/* Appends bytes for the peer until out holds about `enough`. out->max must be enough + 512 KiB. */
void rpc_conn_pull(struct rpc_conn *n, struct buf *out, size_t enough);

/* Tells users what happened. True when something was told. Not from within a callback. */
bool rpc_conn_dispatch(struct rpc_conn *n);

/* Looks at the clock: deadlines, keepalive, idle time. */
void rpc_conn_tick(struct rpc_conn *n);

/* When tick wants to be called, on the clock's mono_ms; UINT64_MAX: never. */
uint64_t rpc_conn_deadline(const struct rpc_conn *n);

/* True when nothing will be read or written any more: close the transport. */
bool rpc_conn_is_over(const struct rpc_conn *n);

/* True when no more is read: what waits to be pulled are the last words. */
bool rpc_conn_is_ending(const struct rpc_conn *n);

/* Why the connection was given up by this side; NULL when it was not. Borrowed. */
const struct err *rpc_conn_fault(const struct rpc_conn *n);

/* True when the fault was the peer's excess (for statistics). */
bool rpc_conn_was_abused(const struct rpc_conn *n);

/*
 * The transport is gone: all calls and barriers end, with UNAVAILABLE and the
 * text of *why. A client's call whose trailers have come lives on until its
 * messages are taken: free the connection when rpc_conn_call_count is 0.
 */
void rpc_conn_fail(struct rpc_conn *n, const struct err *why);

/* Server: GOAWAY now, another after a round trip; over when the last call has ended (H2-13). */
void rpc_conn_drain(struct rpc_conn *n);

/* Ends all calls with this status, and the connection behind them. */
void rpc_conn_end(struct rpc_conn *n, enum rpc_code code, const char *text);

/* Client: false once the peer said GOAWAY or the connection broke: start another. */
bool rpc_conn_takes_calls(const struct rpc_conn *n);

/* Client: see rpc_client_call. */
bool rpc_conn_call(struct rpc_conn *n, const char *method, const struct rpc_md *md, uint64_t timeout_ms,
                   const struct rpc_call_events *events, void *ctx, struct rpc_call **ret,
                   struct err *e) MUST_CHECK;

/* Client: see rpc_client_barrier. */
bool rpc_conn_barrier(struct rpc_conn *n, void (*acked)(bool ok, void *ctx), void *ctx,
                      struct err *e) MUST_CHECK;

size_t rpc_conn_call_count(const struct rpc_conn *n);

/* Server, in `open`: what the method accepts. single: exactly one message must come. */
void rpc_call_set_recv(struct rpc_call *c, size_t max_recv, bool single);

#endif
