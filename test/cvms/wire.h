/*
 * The messages of the server, serialized. A computation request travels in
 * pieces that fit the 4 MiB an agent takes in one message.
 */
#ifndef CVMS_WIRE_H
#define CVMS_WIRE_H

#include "base/buf.h"
#include "proto/cvms.pb-c.h"

#define CVMS_CHUNK_LEN ((size_t)1024 * 1024)

struct cvms_wire {
    struct buf request;                 /* serialized ComputationRunReq                   */
    const Cvms__ComputationRunReq *req; /* borrowed                                       */
    bool unchunked;                     /* one runReq instead of runReqChunks             */
};

/* req is borrowed until cvms_wire_done. */
bool cvms_wire_init(struct cvms_wire *w, const Cvms__ComputationRunReq *req, bool unchunked,
                    struct err *e) MUST_CHECK;
void cvms_wire_done(struct cvms_wire *w);

/* How many messages carry the request: the pieces and an empty last one. */
size_t cvms_wire_count(const struct cvms_wire *w);

/* Sets *ret to the i-th of them (and the limit of *ret to its size). */
bool cvms_wire_part(const struct cvms_wire *w, size_t i, struct buf *ret, struct err *e) MUST_CHECK;

/* The other messages, likewise. */
bool cvms_wire_stop(const struct cvms_wire *w, struct buf *ret, struct err *e) MUST_CHECK;
bool cvms_wire_ask_state(const struct cvms_wire *w, struct buf *ret, struct err *e) MUST_CHECK;
bool cvms_wire_disconnect(const struct cvms_wire *w, struct buf *ret, struct err *e) MUST_CHECK;

#endif
