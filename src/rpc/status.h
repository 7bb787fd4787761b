/*
 * Status codes and texts: names, the wire form of grpc-message, and what
 * stands for a status when the peer sent none.
 *
 * Spec: gRPC over HTTP2 (Status, Status-Message, HTTP2 Transport Mapping) and
 * "HTTP to gRPC Status Code Mapping". Case H2-9.
 */
#ifndef RPC_STATUS_H
#define RPC_STATUS_H

#include "rpc/rpc.h"

/* Bytes that are not UTF-8, and NUL, become U+FFFD; cut on a character boundary. */
void rpc_status_set(struct rpc_status *ret, enum rpc_code code, struct slice text);
void rpc_status_setf(struct rpc_status *ret, enum rpc_code code, const char *fmt, ...) PRINTF(3, 4);

/* A grpc-message: bytes outside printable ASCII, and '%', as %XX. NUL-terminated. */
#define RPC_STATUS_WIRE_MAX (3 * RPC_STATUS_TEXT_MAX)
size_t rpc_status_text_encode(const char *text, char ret[RPC_STATUS_WIRE_MAX]);

/* Never fails: a '%' that begins no pair of hex digits stands for itself. */
void rpc_status_text_decode(struct slice wire, char ret[RPC_STATUS_TEXT_MAX]);

/* A grpc-status: decimal digits. A number above 16 is UNKNOWN. False for anything else. */
bool rpc_code_parse(struct slice text, enum rpc_code *ret) MUST_CHECK;

/* For a reply without grpc-status, by its HTTP status. */
enum rpc_code rpc_code_of_http(unsigned http_status);

/* For a stream the peer reset, by its HTTP/2 error code. */
enum rpc_code rpc_code_of_h2(uint32_t error_code);

#endif
