/*
 * Which computation the agent has, on disk, so that after kill -9 the next
 * process can report it. Case AG-17.
 *
 * Before the event that ends a computation is told, it is noted here with its
 * time stamp. So it is told at least once, and a second telling is the same
 * event to whoever receives it.
 */
#ifndef AGENT_RUNNING_H
#define AGENT_RUNNING_H

#include "manifest/manifest.h"

struct running {
    char id[MF_ID_MAX + 1]; /* "": none */
    char type[32];          /* of the event that ends it; "": not ended */
    char status[32];
    int64_t time_ns;
};

/* dir_fd is the agent's state directory. */
bool running_write(int dir_fd, const struct running *r, struct err *e) MUST_CHECK;

/* A missing file is an empty *ret. One that can't be understood is an error. */
bool running_read(int dir_fd, struct running *ret, struct err *e) MUST_CHECK;
bool running_remove(int dir_fd, struct err *e) MUST_CHECK;

#endif
