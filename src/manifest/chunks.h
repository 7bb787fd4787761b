/*
 * Putting a run request together from its pieces.
 *
 * A request comes in as RunReqChunks, each with the id of the request it is a
 * part of; the last one says so, and may hold bytes too. Does no I/O and reads
 * no clock. What is kept is bounded: bytes over all ids, number of ids, and
 * the time after which a half request is dropped.
 * Spec: wire sheet, section 2.3.
 */
#ifndef MANIFEST_CHUNKS_H
#define MANIFEST_CHUNKS_H

#include "base/buf.h"
#include "manifest/manifest.h"

#define CHUNKS_IDS_MAX 8
#define CHUNKS_IDLE_MS 30000

enum chunks_state { CHUNKS_FREE, CHUNKS_FILLING, CHUNKS_REFUSING };

struct chunks_part {
    enum chunks_state state;
    char id[MF_ID_MAX];
    size_t id_len;
    uint64_t last_ms; /* when its latest piece came */
    struct buf bytes;
};

struct chunks {
    size_t bytes_max; /* over all ids; the request's own limit is the same */
    size_t bytes;
    struct chunks_part parts[CHUNKS_IDS_MAX];
};

/* bytes_max 0: MF_REQUEST_MAX. */
void chunks_init(struct chunks *c, size_t bytes_max);
void chunks_done(struct chunks *c);

enum chunks_step {
    CHUNKS_MORE,    /* kept, the request is not whole                               */
    CHUNKS_WHOLE,   /* *ret_request holds the request (it may be empty)             */
    CHUNKS_DROPPED, /* belongs to a request that is refused: nothing is kept of it  */
    CHUNKS_REFUSED, /* as DROPPED, and *e (LIMIT) is to be answered: once a request */
};

/* now_ms is a monotonic clock's time. What has been idle too long by then is dropped first. */
enum chunks_step chunks_add(struct chunks *c, struct slice id, struct slice data, bool is_last,
                            uint64_t now_ms, struct buf *ret_request, struct err *e) MUST_CHECK;

/* Drops what has been idle for CHUNKS_IDLE_MS; returns how many requests that was. */
size_t chunks_expire(struct chunks *c, uint64_t now_ms);

/* Milliseconds until there is something to expire, UINT64_MAX when nothing is kept. */
uint64_t chunks_wait_ms(const struct chunks *c, uint64_t now_ms);

#endif
