/*
 * Sending a file or bytes as a stream of messages of 1 MiB, with its size in
 * the initial metadata (wire sheet, section 4.4).
 */
#ifndef AGENT_DOWNLOAD_H
#define AGENT_DOWNLOAD_H

#include <uv.h>

#include "rpc/server.h"

struct download_source {
    int fd;                 /* read with pread, borrowed until `ended`; -1: bytes */
    struct buf bytes;       /* taken when fd is -1 */
    uint64_t len;           /* of the file; of bytes it is known */
    struct buf first_extra; /* field 2 of the first message, taken; none when empty */
};

/*
 * Sends everything and ends the call. ended comes once, when the call has
 * closed and the file is not read any more; status is that of the call.
 */
typedef void (*download_ended_fn)(const struct rpc_status *status, void *ctx);
bool download_start(uv_loop_t *loop, struct rpc_call *call, struct download_source *take,
                    download_ended_fn ended, void *ctx, struct err *e) MUST_CHECK;

#endif
