#include "cvms/wire.h"
#include "manifest/manifest.h"
#include "proto/pb.h"

/* What a message needs beside the bytes it carries: tags, lengths, the id. */
#define FRAMING_MAX ((size_t)4096)

bool cvms_wire_init(struct cvms_wire *w, const Cvms__ComputationRunReq *req, bool unchunked, struct err *e)
{
    *w = (struct cvms_wire){ .request = BUF_INIT(MF_REQUEST_MAX), .req = req, .unchunked = unchunked };
    return pb_encode(&req->base, &w->request, e) || err_wrap(e, "serialize the computation request");
}

void cvms_wire_done(struct cvms_wire *w)
{
    buf_done(&w->request);
}

static bool encode(const Cvms__ServerStreamMessage *m, struct buf *ret, struct err *e)
{
    *ret = (struct buf)BUF_INIT(MF_REQUEST_MAX + FRAMING_MAX);
    return pb_encode(&m->base, ret, e);
}

size_t cvms_wire_count(const struct cvms_wire *w)
{
    return w->unchunked ? 1 : (w->request.len + CVMS_CHUNK_LEN - 1) / CVMS_CHUNK_LEN + 1;
}

static bool encode_whole(const struct cvms_wire *w, struct buf *ret, struct err *e)
{
    Cvms__ServerStreamMessage m = CVMS__SERVER_STREAM_MESSAGE__INIT;

    m.message_case = CVMS__SERVER_STREAM_MESSAGE__MESSAGE_RUN_REQ;
    m.runreq = (Cvms__ComputationRunReq *)w->req; /* the encoder only reads */
    return encode(&m, ret, e);
}

bool cvms_wire_part(const struct cvms_wire *w, size_t i, struct buf *ret, struct err *e)
{
    Cvms__ServerStreamMessage m = CVMS__SERVER_STREAM_MESSAGE__INIT;
    Cvms__RunReqChunks chunk = CVMS__RUN_REQ_CHUNKS__INIT;
    struct slice rest = slice_after(buf_slice(&w->request), i * CVMS_CHUNK_LEN);

    if (w->unchunked)
        return encode_whole(w, ret, e);
    chunk.data = pb_bytes(slice_first(rest, CVMS_CHUNK_LEN));
    chunk.id = w->req->id;
    chunk.is_last = rest.len == 0;
    m.message_case = CVMS__SERVER_STREAM_MESSAGE__MESSAGE_RUN_REQ_CHUNKS;
    m.runreqchunks = &chunk;
    return encode(&m, ret, e);
}

bool cvms_wire_stop(const struct cvms_wire *w, struct buf *ret, struct err *e)
{
    Cvms__ServerStreamMessage m = CVMS__SERVER_STREAM_MESSAGE__INIT;
    Cvms__StopComputation stop = CVMS__STOP_COMPUTATION__INIT;

    stop.computation_id = w->req->id;
    m.message_case = CVMS__SERVER_STREAM_MESSAGE__MESSAGE_STOP_COMPUTATION;
    m.stopcomputation = &stop;
    return encode(&m, ret, e);
}

bool cvms_wire_ask_state(const struct cvms_wire *w, struct buf *ret, struct err *e)
{
    Cvms__ServerStreamMessage m = CVMS__SERVER_STREAM_MESSAGE__INIT;
    Cvms__AgentStateReq ask = CVMS__AGENT_STATE_REQ__INIT;

    ask.id = w->req->id;
    m.message_case = CVMS__SERVER_STREAM_MESSAGE__MESSAGE_AGENT_STATE_REQ;
    m.agentstatereq = &ask;
    return encode(&m, ret, e);
}

bool cvms_wire_disconnect(const struct cvms_wire *w, struct buf *ret, struct err *e)
{
    Cvms__ServerStreamMessage m = CVMS__SERVER_STREAM_MESSAGE__INIT;
    Cvms__DisconnectReq bye = CVMS__DISCONNECT_REQ__INIT;

    bye.id = w->req->id;
    m.message_case = CVMS__SERVER_STREAM_MESSAGE__MESSAGE_DISCONNECT_REQ;
    m.disconnectreq = &bye;
    return encode(&m, ret, e);
}
