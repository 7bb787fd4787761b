/*
 * What the fuzz targets of client and server connections share: time that
 * passes as bytes come, and the turns of a connection without a socket.
 */
#ifndef FUZZ_CONN_RUN_H
#define FUZZ_CONN_RUN_H

#include <assert.h>

#include "rpc/conn_int.h"

enum { MODE_PIECES = 7 }; /* of the first byte: which of the sizes in feed */

struct run {
    struct rpc_conn *conn;
    uint8_t mode;
    uint64_t now_ms;
    size_t opened; /* calls, at a server              */
    size_t closed; /* calls that were told of the end */
    size_t acked;  /* barriers, at a client           */
};

static uint64_t mono(void *ctx)
{
    return ((struct run *)ctx)->now_ms;
}

static void on_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                      void *ctx)
{
    (void)c;
    (void)trailers;
    assert(slice_is_utf8(slice_of_str(status->message)));
    ((struct run *)ctx)->closed++;
}

static void turn(struct run *r)
{
    struct buf out = BUF_INIT(4u << 20);

    do {
        buf_consume(&out, out.len);
        rpc_conn_pull(r->conn, &out, 65536);
    } while (rpc_conn_dispatch(r->conn) || out.len > 0);
    buf_done(&out);
}

static void feed(struct run *r, struct slice in)
{
    static const size_t pieces[] = { SIZE_MAX, 1, 2, 9, 10, 64, 1000, 16393 };
    size_t piece = pieces[r->mode & MODE_PIECES];

    while (in.len > 0) {
        struct slice now = slice_first(in, piece);

        in = slice_after(in, now.len);
        rpc_conn_feed(r->conn, now);
        r->now_ms += 7;
        if (rpc_conn_deadline(r->conn) <= r->now_ms)
            rpc_conn_tick(r->conn);
        turn(r);
    }
}

#endif
