/*
 * Messages compressed by the peer. We send none.
 */
#ifndef RPC_GZIP_H
#define RPC_GZIP_H

#include "base/buf.h"

/*
 * Unpacks one whole gzip stream into out, of which at most out->max bytes are
 * ever made: LIMIT above that (case H2-8). INVALID when broken, cut short or
 * followed by more.
 */
bool rpc_gzip_unpack(struct slice packed, struct buf *out, struct err *e) MUST_CHECK;

#endif
