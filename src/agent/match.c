#include "agent/match.h"

/* How well one dataset fits an upload; higher is better. */
enum fit { FIT_NONE, FIT_NAME_ONLY, FIT_HASH_ONLY, FIT_UNNAMED, FIT_WHOLE };

static enum fit fit_of(const struct mf_dataset *d, struct slice hash, struct slice name)
{
    bool same_hash = ct_equal(hash, slice_of(d->hash, sizeof(d->hash)));
    bool same_name = *d->filename && slice_equal_str(name, d->filename);

    if (same_hash)
        return same_name ? FIT_WHOLE : *d->filename ? FIT_HASH_ONLY : FIT_UNNAMED;
    return same_name ? FIT_NAME_ONLY : FIT_NONE;
}

enum match match_dataset(const struct mf *m, const struct auth *a, const bool *pending,
                         const struct auth_grant *grant, const uint8_t hash[HASH_SHA3_256_LEN],
                         struct slice name, size_t *ret_index)
{
    enum fit own = FIT_NONE, foreign = FIT_NONE;
    size_t index = 0;
    bool any = false;

    for (size_t i = 0; i < m->dataset_count; i++) {
        enum fit fit;

        if (!pending[i])
            continue;
        any = true;
        fit = fit_of(&m->datasets[i], slice_of(hash, HASH_SHA3_256_LEN), name);
        if (auth_owner(a, i) != grant->key) {
            foreign = fit > foreign ? fit : foreign;
        } else if (fit > own) {
            own = fit;
            index = i;
        }
    }
    if (!any)
        return MATCH_NONE_PENDING;
    if (own == FIT_WHOLE || own == FIT_UNNAMED) {
        *ret_index = index;
        return MATCH_FOUND;
    }
    if (own == FIT_HASH_ONLY || own == FIT_NAME_ONLY) {
        *ret_index = index;
        return own == FIT_HASH_ONLY ? MATCH_WRONG_NAME : MATCH_WRONG_HASH;
    }
    return foreign != FIT_NONE ? MATCH_NOT_YOURS : MATCH_UNDECLARED;
}
