/*
 * What headers carry: a line is "key:value". Values that are taken come back
 * the same after they have been written out; timeouts and status texts are
 * read as well.
 */
#include <assert.h>

#include "base/cursor.h"
#include "rpc/metadata.h"
#include "rpc/status.h"
#include "rpc/timeout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_timeout(struct slice text)
{
    char again[RPC_TIMEOUT_TEXT_MAX];
    struct err e = ERR_INIT;
    uint64_t ms, back;

    if (!rpc_timeout_parse(text, &ms, &e))
        return;
    rpc_timeout_format(ms, again);
    assert(rpc_timeout_parse(slice_of_str(again), &back, &e) && back >= ms);
}

static void check_status(struct slice text)
{
    char plain[RPC_STATUS_TEXT_MAX], again[RPC_STATUS_TEXT_MAX];
    char wire[RPC_STATUS_WIRE_MAX];
    enum rpc_code code;

    rpc_status_text_decode(text, plain);
    assert(slice_is_utf8(slice_of_str(plain)));
    assert(rpc_status_text_encode(plain, wire) < sizeof(wire));
    rpc_status_text_decode(slice_of_str(wire), again);
    assert(strcmp(plain, again) == 0);
    assert(!rpc_code_parse(text, &code) || code <= RPC_UNAUTHENTICATED);
}

/* Written out and read again. */
static void check_round_trip(const struct rpc_md *md)
{
    CLEANUP(rpc_headers_done) struct rpc_headers h = RPC_HEADERS_INIT;
    CLEANUP(rpc_md_done) struct rpc_md again = RPC_MD_INIT;
    struct err e = ERR_INIT;

    rpc_headers_add_md(&h, md);
    assert(!h.failed && h.count == md->count);
    for (size_t i = 0; i < h.count; i++)
        assert(rpc_md_add_wire(&again, slice_of(h.at[i].name, h.at[i].namelen),
                               slice_of(h.at[i].value, h.at[i].valuelen), &e));
    assert(again.count == md->count && again.bytes == md->bytes);
    for (size_t i = 0; i < md->count; i++)
        assert(slice_equal(buf_slice(&again.entries[i].value), buf_slice(&md->entries[i].value)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(rpc_md_done) struct rpc_md md = RPC_MD_INIT;
    struct cursor in = cursor_of(slice_of(data, size));
    struct slice line, key;
    struct err e = ERR_INIT;

    if (size > 20000)
        return 0;
    while (cursor_until(&in, '\n', &line)) {
        struct cursor at = cursor_of(line);

        if (!cursor_until(&at, ':', &key))
            continue;
        check_timeout(at.left);
        check_status(at.left);
        /* HTTP/2 lets no other keys through. */
        if (!nghttp2_check_header_name(key.at, key.len) || rpc_md_key_is_reserved(key))
            continue;
        if (!rpc_md_add_wire(&md, key, at.left, &e))
            assert(slice_ends(key, "-bin") && e.kind == ERR_KIND_INVALID);
    }
    check_round_trip(&md);
    return 0;
}
