/*
 * Shared by child.c and child_exec.c.
 */
#ifndef BASE_CHILD_INT_H
#define BASE_CHILD_INT_H

#include "base/child.h"

struct child_started {
    pid_t pid;
    int read_fd[2]; /* by enum child_stream; non-blocking */
};

/* The fork and exec part of child_spawn. */
bool child_exec(const struct child_spec *spec, struct child_started *ret, struct err *e) MUST_CHECK;

#endif
