/*
 * A gRPC client on a libuv loop: one target, one connection at a time.
 *
 * Connects at the first call and again at the first call after the connection
 * broke; nothing is retried behind the caller's back. Calls made while the
 * connection is coming up wait for it.
 */
#ifndef RPC_CLIENT_H
#define RPC_CLIENT_H

#include <uv.h>

#include "rpc/rpc.h"
#include "tls/tls.h"

struct rpc_client_config {
    const char *target;            /* "host:port", "dns:///host:port", "unix:/path", "/path"    */
    struct tls_client *tls;        /* borrowed; NULL: plaintext                                 */
    const char *server_name;       /* for SNI and verification; NULL: the target's host         */
    const char *http_proxy;        /* "http://host:port": CONNECT through it; NULL: direct      */
    const char *user_agent;        /* NULL: "cocos-c/<version>"                                 */
    size_t message_max;            /* received; 0: RPC_MESSAGE_MAX_DEFAULT                      */
    uint64_t connect_timeout_ms;   /* name, TCP, TLS and settings; 0: 20 s             */
    uint64_t keepalive_ms;         /* probe after silence with a call open; 0: 60 s    */
    uint64_t keepalive_timeout_ms; /* 0: 20 s                                          */
};

struct rpc_client;

/* Does not connect yet. The loop and cfg->tls are borrowed until rpc_client_free's callback. */
bool rpc_client_new(uv_loop_t *loop, const struct rpc_client_config *cfg, struct rpc_client **ret,
                    struct err *e) MUST_CHECK;

/*
 * Starts a call of "/pkg.Service/Method". md may be NULL. timeout_ms 0 means no
 * deadline; otherwise it travels as grpc-timeout and is kept on this side too.
 * `closed` is never called from within this function. When connecting fails,
 * closed gets UNAVAILABLE with the whole reason.
 */
bool rpc_client_call(struct rpc_client *cl, const char *method, const struct rpc_md *md, uint64_t timeout_ms,
                     const struct rpc_call_events *events, void *ctx, struct rpc_call **ret,
                     struct err *e) MUST_CHECK;

/*
 * One message there, one back. done comes exactly once; reply is empty unless
 * status->code is RPC_OK. take_request moves into the call, also on failure.
 */
typedef void (*rpc_unary_done_fn)(const struct rpc_status *status, struct buf *reply, void *ctx);
bool rpc_client_unary(struct rpc_client *cl, const char *method, const struct rpc_md *md,
                      struct buf *take_request, uint64_t timeout_ms, rpc_unary_done_fn done, void *ctx,
                      struct err *e) MUST_CHECK;

/*
 * Sends an empty HTTP/2 SETTINGS behind all that has been sent (gRPC servers
 * don't let a client PING often). acked comes once: true when the peer has
 * answered, so its HTTP/2 layer holds every message sent before; false when
 * the connection ended first. Bytes still queued in a call are not covered:
 * wait until rpc_call_queued is 0.
 */
bool rpc_client_barrier(struct rpc_client *cl, void (*acked)(bool ok, void *ctx), void *ctx,
                        struct err *e) MUST_CHECK;

/* Closes the connection; running calls end with UNAVAILABLE. The next call connects anew. */
void rpc_client_disconnect(struct rpc_client *cl);

/* "without TLS", "with TLS" or "with mTLS" of the configuration, for people. */
const char *rpc_client_security(const struct rpc_client *cl);

/* Ends everything now; calls get `closed`. freed (may be NULL) comes when the loop has let go of all. */
void rpc_client_free(struct rpc_client *cl, void (*freed)(void *ctx), void *ctx);

#endif
