/*
 * The last lines of a stream of output, for the error that tells how it ended.
 */
#ifndef RUNNER_TAIL_H
#define RUNNER_TAIL_H

#include "base/buf.h"

#define RUN_TAIL_MAX 640 /* bytes kept */

struct run_tail {
    uint8_t bytes[RUN_TAIL_MAX];
    size_t len;
    bool cut; /* there was more before */
};

void run_tail_add(struct run_tail *t, struct slice bytes);

/*
 * Appends what is kept: whole lines if there is one, without blanks at the
 * end, control bytes and bytes that are not UTF-8 made visible. Nothing when
 * nothing was said.
 */
bool run_tail_text(const struct run_tail *t, struct buf *out, struct err *e) MUST_CHECK;

#endif
