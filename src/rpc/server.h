/*
 * A gRPC server on a libuv loop.
 *
 * Services are tables. A method without an entry in the table's `allow` is
 * denied (case H2-15): open methods say RPC_ALLOW_ANYONE.
 */
#ifndef RPC_SERVER_H
#define RPC_SERVER_H

#include <uv.h>

#include "rpc/rpc.h"
#include "tls/tls.h"

/*
 * Decides before the first message whether the call may go on. false with a
 * code and text in *ret ends it.
 */
typedef bool (*rpc_allow_fn)(struct rpc_call *c, void *service, struct rpc_status *ret);
bool rpc_allow_anyone(struct rpc_call *c, void *service, struct rpc_status *ret);
#define RPC_ALLOW_ANYONE rpc_allow_anyone

struct rpc_method {
    const char *name;   /* "Algo"                                            */
    rpc_allow_fn allow; /* NULL: denied                                      */
    size_t max_recv;    /* bytes of one message, 0: the server's             */

    /* One of the two. unary: the request is whole and the peer sent exactly one (else rpc answers for
     * you); request is valid during the call, answer now or later with rpc_call_reply or finish; to
     * hear that the peer gave up, rpc_call_on. open: a streaming method; set events, then want. */
    void (*unary)(struct rpc_call *c, struct slice request, void *service);
    void (*open)(struct rpc_call *c, void *service);

    bool client_streams; /* for reflection's and the reader's sake; unary has neither */
    bool server_streams;
};

struct rpc_service {
    const char *name; /* "agent.AgentService" */
    const struct rpc_method *methods;
    size_t count;
};

struct rpc_server_config {
    const char *listen;              /* "host:port" (0: a free one), "[::1]:0", "unix:/path", "/path" */
    struct tls_server *tls;          /* borrowed; NULL: plaintext                    */
    size_t message_max;              /* 0: RPC_MESSAGE_MAX_DEFAULT                   */
    size_t connections_max;          /* 0: 1024                          */
    size_t connections_per_peer_max; /* by address; 0: 256               */
    uint32_t streams_max;            /* per connection; 0: 100                       */
    uint64_t handshake_timeout_ms;   /* TLS and preface; 0: 10 s             */
    uint64_t idle_timeout_ms;        /* without a stream; 0: 5 min           */
    uint64_t keepalive_ms;           /* PING after silence with a stream open; 0: 60 s */
    uint64_t keepalive_timeout_ms;   /* its answer; 0: 20 s                  */
    mode_t socket_mode;              /* of a unix socket; 0: 0600                    */
    bool same_user;                  /* there only root and our own user are served  */
};

struct rpc_server;

/* Listens at once. The loop and cfg->tls are borrowed until rpc_server_free's callback. */
bool rpc_server_new(uv_loop_t *loop, const struct rpc_server_config *cfg, struct rpc_server **ret,
                    struct err *e) MUST_CHECK;

/* service_ctx is handed to the methods. The table is borrowed. */
bool rpc_server_add(struct rpc_server *s, const struct rpc_service *service, void *service_ctx,
                    struct err *e) MUST_CHECK;

/*
 * grpc.health.v1.Health. Names are SERVING from the start ("" is always there);
 * rpc_server_health_set changes one and tells the watchers.
 */
bool rpc_server_add_health(struct rpc_server *s, const char *const *names, size_t count,
                           struct err *e) MUST_CHECK;
void rpc_server_health_set(struct rpc_server *s, const char *name, bool serving);

/*
 * grpc.reflection.v1 and v1alpha. descriptor_set is a serialized
 * FileDescriptorSet with all imports, borrowed; only services that were
 * added are listed.
 */
bool rpc_server_add_reflection(struct rpc_server *s, struct slice descriptor_set, struct err *e) MUST_CHECK;

/* "127.0.0.1:40001" or "unix:/path": where it really listens. Borrowed while s lives. */
const char *rpc_server_address(const struct rpc_server *s);

/*
 * Stops accepting, sends GOAWAY, lets running calls finish for up to grace_ms,
 * then ends them with UNAVAILABLE. drained may be NULL; called once.
 */
void rpc_server_drain(struct rpc_server *s, uint64_t grace_ms, void (*drained)(void *ctx), void *ctx);

/* Ends everything now; calls get `closed`. freed (may be NULL) comes when the loop has let go of all. */
void rpc_server_free(struct rpc_server *s, void (*freed)(void *ctx), void *ctx);

/* Live figures, for tests and metrics. */
struct rpc_server_stats {
    size_t connections;
    size_t calls;
    uint64_t connections_refused;
    uint64_t connections_ended_for_abuse;
};
void rpc_server_stats(const struct rpc_server *s, struct rpc_server_stats *ret);

#endif
