/*
 * Answers of a server's unary methods.
 */
#ifndef RPC_ANSWER_H
#define RPC_ANSWER_H

#include "proto/pb.h"
#include "rpc/rpc.h"

/* Sends m and OK; when m can't be encoded, the status that fits the reason. */
void rpc_answer(struct rpc_call *c, const ProtobufCMessage *m);

/* Sends a message without fields, as google.protobuf.Empty, and OK. */
void rpc_answer_empty(struct rpc_call *c);

#endif
