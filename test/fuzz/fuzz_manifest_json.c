/*
 * A manifest in JSON. What is accepted is written, read again, and written
 * the same; so the text that is hashed names one request.
 */
#include <assert.h>

#include "manifest/manifest.h"
#include "proto/pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(pb_done) Cvms__ComputationRunReq *req = NULL;
    CLEANUP(pb_done) Cvms__ComputationRunReq *again = NULL;
    CLEANUP(buf_done) struct buf first = BUF_INIT(MF_REQUEST_MAX);
    CLEANUP(buf_done) struct buf second = BUF_INIT(MF_REQUEST_MAX);
    struct err e = ERR_INIT;

    req = mf_request_from_json(slice_of(data, size), &e);
    assert((req == NULL) == (e.kind != ERR_KIND_NONE));
    if (!req || !mf_json(req, &first, &e))
        return 0;
    again = mf_request_from_json(buf_slice(&first), &e);
    assert(again && mf_json(again, &second, &e));
    assert(slice_equal(buf_slice(&first), buf_slice(&second)));
    return 0;
}
