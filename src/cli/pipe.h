/*
 * Messages on their way from a pool thread that makes them to the loop that
 * sends them. It holds a few: the maker waits when it is ahead, so memory
 * stays the same however slow the network is.
 */
#ifndef CLI_PIPE_H
#define CLI_PIPE_H

#include <uv.h>

#include "base/buf.h"

#define CLI_PIPE_SLOTS 3u

struct cli_chunk {
    struct buf message; /* serialized, owned                 */
    size_t payload;     /* bytes of the upload within it     */
};

struct cli_pipe {
    uv_mutex_t lock;
    uv_cond_t room;
    uv_async_t ready;
    struct cli_chunk slots[CLI_PIPE_SLOTS];
    size_t first;
    size_t count;
    bool stopped;
    void (*on_ready)(void *ctx);
    void *ctx;
};

/* on_ready is called on the loop when there may be something to take. p must not move. */
bool cli_pipe_init(struct cli_pipe *p, uv_loop_t *loop, void (*on_ready)(void *ctx), void *ctx,
                   struct err *e) MUST_CHECK;

/* Any thread: waits for room. CANCELLED after cli_pipe_stop. The message moves into the pipe, also on failure. */
bool cli_pipe_put(struct cli_pipe *p, struct buf *take_message, size_t payload, struct err *e) MUST_CHECK;

/* The loop: false when there is nothing now. The caller owns ret->message. */
bool cli_pipe_take(struct cli_pipe *p, struct cli_chunk *ret);

/* The loop: whoever puts fails from now on, also who waits. */
void cli_pipe_stop(struct cli_pipe *p);

/* When nobody puts any more. *closed is set once the loop has let go; run it until then. */
void cli_pipe_done(struct cli_pipe *p, bool *closed);

#endif
