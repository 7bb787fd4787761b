/*
 * Ends an algorithm whose runner has died, kill -9 included.
 *
 * A child asks the kernel for a signal when its parent dies, but its own
 * children do not. So beside each run a small process waits at a pipe: told
 * which process group runs, it kills that group when the pipe breaks.
 */
#ifndef RUNNER_GUARD_H
#define RUNNER_GUARD_H

#include <sys/types.h>

#include "base/err.h"

struct run_guard {
    pid_t pid;
    int fd; /* the pipe; -1: no guard */
};
#define RUN_GUARD_INIT \
    {                  \
        0, -1          \
    }

bool run_guard_start(struct run_guard *g, struct err *e) MUST_CHECK;

/* From now on this group is watched; 0: none. */
void run_guard_watch(struct run_guard *g, pid_t group);

/* Lets it go and waits for its end, which takes a moment: not on a loop. Accepts one not started. */
void run_guard_end(struct run_guard *g);

#endif
