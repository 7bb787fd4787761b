/*
 * What the built-in services (health, reflection) hang on a server.
 */
#ifndef RPC_RPC_INT_H
#define RPC_RPC_INT_H

#include "rpc/server.h"

/* The services added so far, in order. Borrowed while s lives. */
size_t rpc_server_service_count(const struct rpc_server *s);
const struct rpc_service *rpc_server_service_at(const struct rpc_server *s, size_t i);

/*
 * One piece of state per built-in service. free_state runs when the server is
 * freed, after the last call has had its `closed`. Setting a slot twice is a
 * fault of the program.
 */
enum rpc_slot { RPC_SLOT_HEALTH, RPC_SLOT_REFLECTION, RPC_SLOT_COUNT };
void rpc_server_slot_set(struct rpc_server *s, enum rpc_slot slot, void *state,
                         void (*free_state)(void *state));
void *rpc_server_slot(const struct rpc_server *s, enum rpc_slot slot); /* NULL: not set */

/* The server drains: health watchers hear NOT_SERVING and end, so that they don't hold it up. */
void rpc_health_drain(struct rpc_server *s);

#endif
