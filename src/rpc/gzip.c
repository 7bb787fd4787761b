#include "rpc/gzip.h"

#include <zlib.h>

#include "base/mem.h"

#define CHUNK ((size_t)64 * 1024)
#define GZIP_ONLY 16 /* added to zlib's window bits */

static void *alloc(void *ctx, uInt count, uInt size)
{
    struct err e = ERR_INIT;

    (void)ctx;
    return mem_new_array(count, size, &e);
}

static void release(void *ctx, void *at)
{
    (void)ctx;
    mem_free(at);
}

/* Z_STREAM_END when all is well, zlib's verdict otherwise; LIMIT is set in *e. */
static int unpack(z_stream *z, struct buf *out, struct err *e)
{
    for (;;) {
        uint8_t one_more;
        uint8_t *at = &one_more;
        size_t room = out->max - out->len;

        if (room > CHUNK)
            room = CHUNK;
        if (room > 0 && !buf_reserve(out, room, &at, e))
            return Z_MEM_ERROR;
        /* With no room left one byte tells the end of the stream from a message too long. */
        z->next_out = at;
        z->avail_out = room ? (uInt)room : 1;

        int rc = inflate(z, Z_NO_FLUSH);
        size_t made = (room ? room : 1) - z->avail_out;

        if (room == 0 && made > 0) {
            err_fail(e, ERR_KIND_LIMIT,
                     "grpc: received message after decompression larger than max (more than %zu "
                     "vs. %zu)",
                     out->max, out->max);
            return Z_MEM_ERROR;
        }
        buf_extend(out, made);
        if (rc != Z_OK)
            return rc;
    }
}

bool rpc_gzip_unpack(struct slice packed, struct buf *out, struct err *e)
{
    z_stream z = { .zalloc = alloc, .zfree = release };

    if (packed.len > UINT32_MAX)
        return err_fail(e, ERR_KIND_LIMIT, "compressed message of %zu bytes", packed.len);
    if (inflateInit2(&z, MAX_WBITS + GZIP_ONLY) != Z_OK)
        return err_fail(e, ERR_KIND_LIMIT, "no memory to decompress a message");
    z.next_in = (z_const Bytef *)(uintptr_t)packed.at;
    z.avail_in = (uInt)packed.len;
    err_clear(e);

    int rc = unpack(&z, out, e);

    if (rc == Z_STREAM_END && z.avail_in > 0)
        rc = Z_DATA_ERROR;
    if (rc != Z_STREAM_END && e->kind == ERR_KIND_NONE)
        err_fail(e, ERR_KIND_INVALID, "grpc: failed to decompress the received message: %s",
                 z.msg ? z.msg : "not one whole gzip stream");
    inflateEnd(&z);
    return rc == Z_STREAM_END;
}
