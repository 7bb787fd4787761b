/*
 * A run request from its bytes, and through the pieces it comes in. Whatever
 * is accepted must have the promised shape, and have a JSON form.
 */
#include <assert.h>

#include "manifest/chunks.h"
#include "proto/pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct mf *m)
{
    assert(m->id && *m->id && m->algo_key && m->algo_type && m->algo_source.url && m->algo_kbs.url);
    assert(m->dataset_count <= MF_DATASETS_MAX && m->consumer_count <= MF_CONSUMERS_MAX);
    for (size_t i = 0; i < m->dataset_count; i++)
        assert(m->datasets[i].user_key && m->datasets[i].filename && m->datasets[i].kbs.url);
    for (size_t i = 0; i < m->consumer_count; i++)
        assert(m->consumer_keys[i]);
}

static void decode(struct slice wire)
{
    CLEANUP(buf_done) struct buf json = BUF_INIT(MF_REQUEST_MAX * 8);
    CLEANUP(pb_done) Cvms__ComputationRunReq *req = NULL;
    char id[MF_ID_MAX + 1];
    struct err e = ERR_INIT;
    struct mf *m = mf_decode(wire, id, &e);

    assert((m == NULL) == (e.kind != ERR_KIND_NONE));
    assert(slice_is_utf8(slice_of_str(id)));
    if (m) {
        check(m);
        assert(strcmp(m->id, id) == 0);
        req = (Cvms__ComputationRunReq *)pb_decode(&cvms__computation_run_req__descriptor, wire, NULL, &e);
        assert(!req || mf_json(req, &json, &e));
    }
    mf_free(m);
}

/* Each byte of the input says how much of it is one piece, and of which id. */
static void in_pieces(struct slice in)
{
    struct chunks c;
    uint64_t now = 0;

    chunks_init(&c, 4096);
    for (; in.len > 0; in = slice_after(in, 1 + in.at[0] % 64)) {
        CLEANUP(buf_done) struct buf whole = BUF_INIT(MF_REQUEST_MAX);
        struct slice id = slice_first(in, in.at[0] % 5);
        struct slice data = slice_first(slice_after(in, 1), in.at[0] % 64);
        struct err e = ERR_INIT;

        now += in.at[0] == 0xff ? CHUNKS_IDLE_MS : 1;
        if (chunks_add(&c, id, data, in.at[0] & 0x40, now, &whole, &e) == CHUNKS_WHOLE)
            decode(buf_slice(&whole));
        assert(c.bytes <= 4096);
    }
    chunks_done(&c);
    assert(c.bytes == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    decode(slice_of(data, size));
    in_pieces(slice_of(data, size));
    return 0;
}
