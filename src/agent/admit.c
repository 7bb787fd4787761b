#include "agent/admit.h"

#include <stdio.h>

static bool has_one(const struct admit *a, enum auth_role role, size_t key)
{
    for (const struct admit_seat *s = a->first; s; s = s->next)
        if (s->proven && s->role == role && s->key == key)
            return true;
    return false;
}

bool admit_check(const struct admit *a, const struct auth_grant *grant, struct rpc_status *ret)
{
    if (grant->wants_filename)
        return true; /* one that waits gives way */
    ret->code = RPC_RESOURCE_EXHAUSTED;
    if (a->proven_count >= ADMIT_MAX) {
        snprintf(ret->message, sizeof(ret->message), "%d %s are under way already; try again later",
                 ADMIT_MAX, a->what);
        return false;
    }
    if (a->proven_count >= ADMIT_SHARED && has_one(a, grant->role, grant->key)) {
        snprintf(ret->message, sizeof(ret->message),
                 "%zu %s are under way already, one of them with this key: each user may have one now; try "
                 "again when it has ended",
                 a->proven_count, a->what);
        return false;
    }
    return true;
}

static void seat_fill(struct admit *a, struct admit_seat *s, const struct auth_grant *grant)
{
    s->proven = !grant->wants_filename;
    s->role = grant->role;
    s->key = grant->key;
    *(s->proven ? &a->proven_count : &a->unproven_count) += 1;
}

void admit_take(struct admit *a, struct admit_seat *s, const struct auth_grant *grant)
{
    *s = (struct admit_seat){ .prev = a->last, .taken = true };
    *(a->last ? &a->last->next : &a->first) = s;
    a->last = s;
    seat_fill(a, s, grant);
}

struct admit_seat *admit_in_the_way(const struct admit *a)
{
    struct admit_seat *s = a->unproven_count > ADMIT_UNPROVEN_MAX ? a->first : NULL;

    while (s && s->proven)
        s = s->next;
    return s;
}

bool admit_prove(struct admit *a, struct admit_seat *s, const struct auth_grant *grant,
                 struct rpc_status *ret)
{
    if (s->proven)
        return true;
    if (!admit_check(a, grant, ret))
        return false;
    a->unproven_count--;
    seat_fill(a, s, grant);
    return true;
}

void admit_leave(struct admit *a, struct admit_seat *s)
{
    if (!s->taken)
        return;
    *(s->prev ? &s->prev->next : &a->first) = s->next;
    *(s->next ? &s->next->prev : &a->last) = s->prev;
    *(s->proven ? &a->proven_count : &a->unproven_count) -= 1;
    *s = (struct admit_seat){ 0 };
}
