/*
 * Where to listen or connect, as people write it.
 *
 *   host:port   [::1]:port   :port   dns:///host:port
 *   /path       unix:/path   unix:///path
 */
#ifndef RPC_ADDRESS_H
#define RPC_ADDRESS_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"
#include "base/slice.h"

#define RPC_ADDRESS_HOST_MAX 256
#define RPC_ADDRESS_TEXT_MAX 128

struct rpc_address {
    bool is_unix;
    uint16_t port;
    char host[RPC_ADDRESS_HOST_MAX]; /* or the path; "" for ":port" */
};

/* INVALID, saying what would be right. */
bool rpc_address_parse(const char *text, struct rpc_address *ret, struct err *e) MUST_CHECK;

struct rpc_sockaddr {
    struct sockaddr_storage at;
    socklen_t len;
};

/* True when the host is a path or a literal IP address, and *ret is set. */
bool rpc_address_literal(const struct rpc_address *a, struct rpc_sockaddr *ret) MUST_CHECK;

/* "127.0.0.1:7002", "[::1]:7002", "unix:/path". */
void rpc_sockaddr_text(const struct rpc_sockaddr *a, char ret[RPC_ADDRESS_TEXT_MAX]);

/* Likewise without the port: what a peer is known by. */
void rpc_sockaddr_host(const struct rpc_sockaddr *a, char ret[RPC_ADDRESS_TEXT_MAX]);

#endif
