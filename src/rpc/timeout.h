/*
 * The grpc-timeout header: at most eight digits and a unit.
 *
 * Spec: gRPC over HTTP2, Timeout. Case H2-10.
 */
#ifndef RPC_TIMEOUT_H
#define RPC_TIMEOUT_H

#include "base/err.h"
#include "base/slice.h"

/* Milliseconds, rounded up, so that what is not zero stays so. "0n" is zero. INVALID otherwise. */
bool rpc_timeout_parse(struct slice text, uint64_t *ret_ms, struct err *e) MUST_CHECK;

/* The finest unit whose number fits eight digits, rounded up; NUL-terminated. */
#define RPC_TIMEOUT_TEXT_MAX 12
void rpc_timeout_format(uint64_t ms, char ret[RPC_TIMEOUT_TEXT_MAX]);

#endif
