/*
 * What a peer may cost: frames that do no work, and bytes held for it.
 *
 * Cases H2-1 to H2-5 and H2-12. Pure: the time is an argument.
 */
#ifndef RPC_ABUSE_H
#define RPC_ABUSE_H

#include "base/attr.h"

/* A token bucket: `burst` at once, `per_s` each second after. */
struct rpc_bucket {
    uint64_t tokens_milli; /* thousandths */
    uint64_t burst;
    uint64_t per_s;
    uint64_t last_ms;
};

void rpc_bucket_init(struct rpc_bucket *b, uint64_t burst, uint64_t per_s, uint64_t now_ms);

/* False when the bucket is empty. */
bool rpc_bucket_take(struct rpc_bucket *b, uint64_t now_ms) MUST_CHECK;

/* A token back, never above the burst. */
void rpc_bucket_give(struct rpc_bucket *b);
void rpc_bucket_give_many(struct rpc_bucket *b, uint64_t count);

/*
 * Bytes held for someone, within his own limit and those of all he belongs
 * to (connection, peer address, server). The parent is borrowed.
 */
struct rpc_budget {
    size_t held;
    size_t max;
    struct rpc_budget *parent;
};

/* Moves what is charged from *held to now; false, and nothing moves, when some limit would be passed. */
bool rpc_budget_set(struct rpc_budget *b, size_t *held, size_t now) MUST_CHECK;

/* As rpc_budget_set(b, held, 0), which can't fail. */
void rpc_budget_release(struct rpc_budget *b, size_t *held);

#endif
