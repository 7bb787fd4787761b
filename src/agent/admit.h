/*
 * How many calls may be under way at once, and of whom.
 *
 * Half of the seats are for anyone; the others are kept for users who have
 * none. So whoever holds his calls open keeps out himself and nobody else. A call whose signature can be
 * checked only with its first message (bound data) has not proven who it is:
 * such calls have a few seats of their own, and when these are taken the one
 * that has waited longest gives way. Does no I/O; knows no clock.
 */
#ifndef AGENT_ADMIT_H
#define AGENT_ADMIT_H

#include "agent/auth.h"

#define ADMIT_MAX 64    /* calls that have proven who they are */
#define ADMIT_SHARED 32 /* from then on, one for each user (a key in a role) who has none */
#define ADMIT_UNPROVEN_MAX 16

/* Part of whatever is admitted. All zeros: none. */
struct admit_seat {
    struct admit_seat *prev, *next;
    bool taken;
    bool proven;
    enum auth_role role;
    size_t key;
};

struct admit {
    const char *what;                /* "uploads", for the errors           */
    struct admit_seat *first, *last; /* in the order in which they came     */
    size_t proven_count, unproven_count;
};

/* RESOURCE_EXHAUSTED in *ret when there is no seat for such a call. */
bool admit_check(const struct admit *a, const struct auth_grant *grant, struct rpc_status *ret) MUST_CHECK;

/* After admit_check. *s stays in a until admit_leave. */
void admit_take(struct admit *a, struct admit_seat *s, const struct auth_grant *grant);

/* The seat that has to be left since too many have not proven themselves; NULL: none. */
struct admit_seat *admit_in_the_way(const struct admit *a);

/* The call has proven itself meanwhile: as admit_check; then its seat is one of the proven. */
bool admit_prove(struct admit *a, struct admit_seat *s, const struct auth_grant *grant,
                 struct rpc_status *ret) MUST_CHECK;

/* May be repeated, and be called for one that was never taken. */
void admit_leave(struct admit *a, struct admit_seat *s);

#endif
