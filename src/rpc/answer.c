#include "rpc/answer.h"

void rpc_answer(struct rpc_call *c, const ProtobufCMessage *m)
{
    CLEANUP(buf_done) struct buf body = BUF_INIT(protobuf_c_message_get_packed_size(m));
    struct err e = ERR_INIT;

    if (pb_encode(m, &body, &e))
        rpc_call_reply(c, &body);
    else
        rpc_call_finish(c, rpc_code_of_err(e.kind), err_text(&e), NULL);
}

void rpc_answer_empty(struct rpc_call *c)
{
    struct buf empty = BUF_INIT(0);

    rpc_call_reply(c, &empty);
}
