/*
 * Making a listening socket.
 */
#ifndef RPC_LISTEN_H
#define RPC_LISTEN_H

#include <sys/types.h>

#include "rpc/address.h"

struct rpc_listener {
    int fd; /* -1 when closed */
    char text[RPC_ADDRESS_TEXT_MAX];
    bool is_unix;
    dev_t dev; /* of the socket's file, so that only our own is removed */
    ino_t ino;
    char path[RPC_ADDRESS_HOST_MAX];
};
#define RPC_LISTENER_INIT \
    {                     \
        .fd = -1          \
    }

/*
 * Listens, non-blocking. A socket file nobody listens on any more is replaced;
 * one that is in use is UNAVAILABLE. mode: of a socket file.
 */
bool rpc_listen(const char *address, mode_t mode, struct rpc_listener *ret, struct err *e) MUST_CHECK;

/* Closes, and removes the socket file if it is still ours. May be repeated. */
void rpc_listener_done(struct rpc_listener *l);

#endif
