/*
 * The service of echo.proto.
 */
#ifndef ECHO_ECHO_H
#define ECHO_ECHO_H

#include "rpc/server.h"

struct echo_counters {
    uint64_t cancelled;
    uint64_t deadline;
    uint64_t finished;
};

struct echo {
    uv_loop_t *loop;
    struct echo_counters counters;
};

bool echo_add(struct rpc_server *server, struct echo *echo, struct err *e) MUST_CHECK;

#endif
