/*
 * Message framing. The first byte is the size of the pieces the rest comes
 * in; however it is cut, the same messages come out as in one piece, and none
 * is larger than allowed. A body that says it is compressed is unpacked.
 */
#include <assert.h>

#include "rpc/frame.h"
#include "rpc/gzip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LEN_MAX 5000u

struct outcome {
    size_t count, bytes;
    unsigned sum;
    bool broken, partial;
};

static void unpack(struct slice body)
{
    CLEANUP(buf_done) struct buf plain = BUF_INIT(LEN_MAX);
    struct err e = ERR_INIT;
    bool ok = rpc_gzip_unpack(body, &plain, &e);

    assert(plain.len <= LEN_MAX);
    assert(ok == (e.kind == ERR_KIND_NONE));
}

static struct outcome cut(struct slice in, size_t piece)
{
    struct rpc_assembly a = RPC_ASSEMBLY_INIT;
    struct outcome o = { 0 };
    struct err e = ERR_INIT;

    while (in.len > 0 && !o.broken) {
        struct slice now = slice_first(in, piece);
        enum rpc_frame_step step;

        in = slice_after(in, now.len);
        while ((step = rpc_assembly_feed(&a, &now, LEN_MAX, &e)) == RPC_FRAME_READY) {
            struct slice body = buf_slice(&a.body);

            assert(body.len <= LEN_MAX && body.len == a.frame.len);
            o.count++;
            o.bytes += body.len;
            for (size_t i = 0; i < body.len; i++)
                o.sum = o.sum * 31 + body.at[i];
            if (a.frame.compressed)
                unpack(body);
            rpc_assembly_reset(&a);
            if (now.len == 0)
                break;
        }
        o.broken = step == RPC_FRAME_BROKEN;
    }
    o.partial = rpc_assembly_is_partial(&a);
    rpc_assembly_reset(&a);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;

    struct slice in = slice_of(data + 1, size - 1);
    struct outcome whole = cut(in, SIZE_MAX);
    struct outcome pieces = cut(in, (size_t)data[0] + 1);

    assert(whole.count == pieces.count && whole.bytes == pieces.bytes && whole.sum == pieces.sum);
    assert(whole.broken == pieces.broken && whole.partial == pieces.partial);
    return 0;
}
