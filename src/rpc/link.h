/*
 * A connection on a loop: a socket, perhaps TLS, and the protocol over it.
 *
 * The protocol part exists from the start, so calls can be begun while the
 * socket is still being connected. Output is pulled only while the socket
 * takes it, so what a slow peer does not read stays in its calls' queues.
 */
#ifndef RPC_LINK_H
#define RPC_LINK_H

#include <uv.h>

#include "rpc/conn.h"
#include "tls/tls.h"

struct rpc_link;

/* Bytes read at once; one scratch is shared by all links of a server or client. */
#define RPC_LINK_SCRATCH ((size_t)256 * 1024)

struct rpc_link_config {
    uv_loop_t *loop;
    uint8_t *scratch; /* RPC_LINK_SCRATCH bytes, borrowed while the link lives */
    const char *name; /* of the peer, for errors; copied */
    struct rpc_conn_config conn;

    void (*open)(struct rpc_conn *n, struct rpc_call *c, void *ctx); /* server */

    /* The transport has closed; *why says what the calls were told. Comes before gone. */
    void (*closed)(struct rpc_link *l, const struct err *why, void *ctx);
    /* All calls have been told, the loop has let go; the link is freed when it returns. */
    void (*gone)(struct rpc_link *l, void *ctx);
    void *ctx;
};

bool rpc_link_new(const struct rpc_link_config *cfg, struct rpc_link **ret, struct err *e) MUST_CHECK;

/* The connected socket (taken, also on failure) and its TLS (NULL: plaintext; taken). */
bool rpc_link_attach(struct rpc_link *l, int take_fd, struct tls_conn *take_tls, struct err *e) MUST_CHECK;

struct rpc_conn *rpc_link_conn(struct rpc_link *l);

/* Closes at once: calls end with UNAVAILABLE and the text. */
void rpc_link_fail(struct rpc_link *l, const struct err *why);

/* After rpc_conn_end: writes what is left, for as long as the socket takes it, and closes. */
void rpc_link_close(struct rpc_link *l);

#endif
