#include "rpc/abuse.h"

void rpc_bucket_init(struct rpc_bucket *b, uint64_t burst, uint64_t per_s, uint64_t now_ms)
{
    *b = (struct rpc_bucket){ burst * 1000, burst, per_s, now_ms };
}

bool rpc_bucket_take(struct rpc_bucket *b, uint64_t now_ms)
{
    uint64_t full = b->burst * 1000;

    if (now_ms > b->last_ms) {
        uint64_t passed = now_ms - b->last_ms;

        b->last_ms = now_ms;
        /* Thousandths of a token per millisecond are tokens per second. */
        if (passed > full || b->tokens_milli + passed * b->per_s > full)
            b->tokens_milli = full;
        else
            b->tokens_milli += passed * b->per_s;
    }
    if (b->tokens_milli < 1000)
        return false;
    b->tokens_milli -= 1000;
    return true;
}

void rpc_bucket_give(struct rpc_bucket *b)
{
    if (b->tokens_milli + 1000 <= b->burst * 1000)
        b->tokens_milli += 1000;
}

void rpc_bucket_give_many(struct rpc_bucket *b, uint64_t count)
{
    uint64_t full = b->burst * 1000;

    if (count > b->burst || b->tokens_milli + count * 1000 > full)
        b->tokens_milli = full;
    else
        b->tokens_milli += count * 1000;
}

bool rpc_budget_set(struct rpc_budget *b, size_t *held, size_t now)
{
    if (now > *held) {
        size_t more = now - *held;

        for (struct rpc_budget *at = b; at; at = at->parent) {
            if (at->held + more > at->max)
                return false;
        }
        for (struct rpc_budget *at = b; at; at = at->parent)
            at->held += more;
    } else {
        for (struct rpc_budget *at = b; at; at = at->parent)
            at->held -= *held - now;
    }
    *held = now;
    return true;
}

void rpc_budget_release(struct rpc_budget *b, size_t *held)
{
    for (struct rpc_budget *at = b; at; at = at->parent)
        at->held -= *held;
    *held = 0;
}
