/*
 * Making a connected socket: name, addresses one after the other, proxy.
 */
#ifndef RPC_DIAL_H
#define RPC_DIAL_H

#include <uv.h>

#include "rpc/address.h"

struct rpc_dial;

/* fd is the callee's, or -1 with *why set: every address tried, each with its reason. */
typedef void (*rpc_dial_done_fn)(int fd, const struct err *why, void *ctx);

/*
 * Connects to target, through the HTTP proxy (CONNECT) when it is not NULL.
 * done comes once, never from within this function.
 */
bool rpc_dial_start(uv_loop_t *loop, const struct rpc_address *target, const struct rpc_address *proxy,
                    uint64_t timeout_ms, rpc_dial_done_fn done, void *ctx, struct rpc_dial **ret,
                    struct err *e) MUST_CHECK;

/* done will not come. */
void rpc_dial_cancel(struct rpc_dial *d);

/* "http://host:port" with or without the scheme and a slash behind. */
bool rpc_proxy_parse(const char *url, struct rpc_address *ret, struct err *e) MUST_CHECK;

#endif
