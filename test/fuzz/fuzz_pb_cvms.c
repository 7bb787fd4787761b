/*
 * Any bytes as a message of the CVMS stream. The first byte chooses the type.
 * What decodes must encode, decode again, and then encode to the same bytes.
 */
#include <assert.h>

#include "proto/cvms.pb-c.h"
#include "proto/pb.h"

#define OUT_MAX ((size_t)16 * 1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ProtobufCMessageDescriptor *const types[] = {
        &cvms__server_stream_message__descriptor,
        &cvms__client_stream_message__descriptor,
        &cvms__computation_run_req__descriptor,
    };
    struct err e = ERR_INIT;

    if (size == 0)
        return 0;

    const ProtobufCMessageDescriptor *type = types[data[0] % ARRAY_LEN(types)];
    CLEANUP(pb_done) ProtobufCMessage *m = pb_decode(type, slice_of(data + 1, size - 1), NULL, &e);
    CLEANUP(buf_done) struct buf once = BUF_INIT(OUT_MAX);
    CLEANUP(buf_done) struct buf twice = BUF_INIT(OUT_MAX);

    if (!m) {
        assert(e.kind == ERR_KIND_INVALID || e.kind == ERR_KIND_LIMIT);
        assert(err_text(&e)[0]);
        return 0;
    }

    bool ok = pb_encode(m, &once, &e);
    CLEANUP(pb_done) ProtobufCMessage *n = ok ? pb_decode(type, buf_slice(&once), NULL, &e) : NULL;

    assert(n && pb_encode(n, &twice, &e));
    assert(slice_equal(buf_slice(&once), buf_slice(&twice)));
    return 0;
}
