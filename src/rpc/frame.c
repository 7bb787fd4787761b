#include "rpc/frame.h"

enum rpc_frame_step rpc_frame_head_read(struct cursor *in, size_t max_len, struct rpc_frame_head *ret,
                                        struct err *e)
{
    struct cursor at = *in;
    uint8_t flag;
    uint32_t len;

    if (!cursor_u8(&at, &flag) || !cursor_be32(&at, &len))
        return RPC_FRAME_PARTIAL;
    if (flag > 1) {
        err_fail(e, ERR_KIND_INVALID, "grpc: received unexpected payload format %u", flag);
        return RPC_FRAME_BROKEN;
    }
    if (len > max_len) { /* the peers' wording, which people search for */
        err_fail(e, ERR_KIND_LIMIT, "grpc: received message larger than max (%u vs. %zu)", len, max_len);
        return RPC_FRAME_BROKEN;
    }
    ret->compressed = flag == 1;
    ret->len = len;
    *in = at;
    return RPC_FRAME_READY;
}

void rpc_frame_head_write(struct rpc_frame_head head, uint8_t ret[RPC_FRAME_HEAD_LEN])
{
    ret[0] = head.compressed ? 1 : 0;
    ret[1] = (uint8_t)(head.len >> 24);
    ret[2] = (uint8_t)(head.len >> 16);
    ret[3] = (uint8_t)(head.len >> 8);
    ret[4] = (uint8_t)head.len;
}

/* Moves up to `want` bytes from the front of *in. */
static struct slice take(struct slice *in, size_t want)
{
    struct slice got = slice_first(*in, want);

    *in = slice_after(*in, got.len);
    return got;
}

static enum rpc_frame_step feed_head(struct rpc_assembly *a, struct slice *in, size_t max_len, struct err *e)
{
    struct slice got = take(in, RPC_FRAME_HEAD_LEN - a->head_len);

    if (got.len)
        memcpy(a->head + a->head_len, got.at, got.len);
    a->head_len += got.len;

    struct cursor head = cursor_of(slice_of(a->head, a->head_len));
    enum rpc_frame_step step = rpc_frame_head_read(&head, max_len, &a->frame, e);

    if (step == RPC_FRAME_READY)
        a->body.max = a->frame.len; /* never a byte more than announced */
    return step;
}

enum rpc_frame_step rpc_assembly_feed(struct rpc_assembly *a, struct slice *in, size_t max_len, struct err *e)
{
    if (a->head_len < RPC_FRAME_HEAD_LEN) {
        enum rpc_frame_step step = feed_head(a, in, max_len, e);

        if (step != RPC_FRAME_READY)
            return step;
    }

    struct slice got = take(in, a->frame.len - a->body.len);

    if (got.len) {
        size_t room = a->frame.len - a->body.len;
        uint8_t *at;

        if (room > RPC_FRAME_EAGER_LEN)
            room = got.len > RPC_FRAME_EAGER_LEN ? got.len : RPC_FRAME_EAGER_LEN;
        if (a->body.cap - a->body.start - a->body.len < got.len && !buf_reserve(&a->body, room, &at, e))
            return RPC_FRAME_BROKEN;
        if (!buf_append(&a->body, got, e))
            return RPC_FRAME_BROKEN;
    }
    return a->body.len == a->frame.len ? RPC_FRAME_READY : RPC_FRAME_PARTIAL;
}

bool rpc_assembly_is_partial(const struct rpc_assembly *a)
{
    return a->head_len > 0;
}

size_t rpc_assembly_held(const struct rpc_assembly *a)
{
    return a->body.cap;
}

void rpc_assembly_reset(struct rpc_assembly *a)
{
    buf_done(&a->body);
    *a = (struct rpc_assembly)RPC_ASSEMBLY_INIT;
}
