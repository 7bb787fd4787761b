/*
 * gRPC message framing.
 *
 * Cuts the DATA bytes of one HTTP/2 stream into messages. Does no I/O and
 * reads no clock; the caller feeds bytes as they arrive.
 *
 * Spec: gRPC over HTTP2, Length-Prefixed-Message.
 */
#ifndef RPC_FRAME_H
#define RPC_FRAME_H

#include "base/buf.h"
#include "base/cursor.h"

#define RPC_FRAME_HEAD_LEN 5

struct rpc_frame_head {
    bool compressed;
    uint32_t len; /* bytes of the body */
};

enum rpc_frame_step { RPC_FRAME_BROKEN, RPC_FRAME_PARTIAL, RPC_FRAME_READY };

/*
 * Reads the five bytes before a body.
 *
 *   max_len  largest body accepted, in bytes
 *
 * RPC_FRAME_READY    *ret is set, *in is past the prefix.
 * RPC_FRAME_PARTIAL  more bytes are needed; *in has not moved.
 * RPC_FRAME_BROKEN   *e is set: INVALID for a flag other than 0 and 1, LIMIT above max_len (H2-7).
 */
enum rpc_frame_step rpc_frame_head_read(struct cursor *in, size_t max_len, struct rpc_frame_head *ret,
                                        struct err *e) MUST_CHECK;

void rpc_frame_head_write(struct rpc_frame_head head, uint8_t ret[RPC_FRAME_HEAD_LEN]);

/*
 * A message being put together. Its body is allocated as it arrives: in one
 * piece up to RPC_FRAME_EAGER_LEN, then doubling, so a claimed length costs little.
 */
#define RPC_FRAME_EAGER_LEN ((size_t)1024 * 1024)

struct rpc_assembly {
    uint8_t head[RPC_FRAME_HEAD_LEN];
    size_t head_len;             /* bytes of head that are there */
    struct rpc_frame_head frame; /* once head is whole           */
    struct buf body;
};
#define RPC_ASSEMBLY_INIT                   \
    {                                       \
        { 0 }, 0, { false, 0 }, BUF_INIT(0) \
    }

/*
 * Takes bytes from the front of *in up to the end of one message.
 *
 * RPC_FRAME_READY    a->body and a->frame are whole: take the body, then rpc_assembly_reset.
 * RPC_FRAME_PARTIAL  *in is used up.
 * RPC_FRAME_BROKEN   *e is set as by rpc_frame_head_read, or LIMIT when memory is short.
 */
enum rpc_frame_step rpc_assembly_feed(struct rpc_assembly *a, struct slice *in, size_t max_len,
                                      struct err *e) MUST_CHECK;

/* True when some bytes of a message have come and not all. */
bool rpc_assembly_is_partial(const struct rpc_assembly *a);

/* Bytes of memory held. */
size_t rpc_assembly_held(const struct rpc_assembly *a);

/* Ready for the next message; frees the body when it was not taken. */
void rpc_assembly_reset(struct rpc_assembly *a);

#endif
