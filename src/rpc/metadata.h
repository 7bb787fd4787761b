/*
 * Metadata and its form on the wire.
 *
 * Spec: gRPC over HTTP2, Custom-Metadata.
 */
#ifndef RPC_METADATA_H
#define RPC_METADATA_H

#include <nghttp2/nghttp2.h>

#include "rpc/rpc.h"

/* True for what HTTP/2 and gRPC keep for themselves: ":...", "grpc-...", content-type, te, ... */
bool rpc_md_key_is_reserved(struct slice key);

/*
 * Adds a received header. "-bin" values are decoded, with or without padding,
 * one entry for each element of a comma list. INVALID when that fails.
 */
bool rpc_md_add_wire(struct rpc_md *md, struct slice key, struct slice value, struct err *e) MUST_CHECK;

bool rpc_md_copy(struct rpc_md *to, const struct rpc_md *from, struct err *e) MUST_CHECK;

/*
 * A header list to be given to nghttp2, which copies it. Names and values are
 * borrowed until rpc_headers_done; what has to be encoded is held by the list.
 */
struct rpc_headers {
    nghttp2_nv *at;
    size_t count;
    size_t cap;
    char **owned;
    size_t owned_count;
    bool failed; /* memory was short: the list must not be sent */
};
#define RPC_HEADERS_INIT           \
    {                              \
        NULL, 0, 0, NULL, 0, false \
    }

void rpc_headers_add_str(struct rpc_headers *h, const char *name, const char *value);
void rpc_headers_add_md(struct rpc_headers *h, const struct rpc_md *md); /* md may be NULL */
void rpc_headers_done(struct rpc_headers *h);

#endif
