#include "agent/auth.h"

#include "base/mem.h"
#include "base/text.h"

#define SIGNATURE_MAX 2048 /* bytes; an RSA key of 16384 bits makes that many */

struct auth {
    const struct mf *mf;
    size_t *owner; /* per dataset */
    bool require_bound;
    bool warned;
};

static const char *role_text(enum auth_role role)
{
    static const char *const texts[] = {
        [AUTH_ALGORITHM] = SIGN_ROLE_ALGORITHM,
        [AUTH_DATA] = SIGN_ROLE_DATA,
        [AUTH_CONSUMER] = SIGN_ROLE_CONSUMER,
    };
    return texts[role];
}

static struct auth_value value_of(const struct rpc_md *md, const char *key)
{
    struct auth_value v = { .count = rpc_md_count(md, key) };

    if (!rpc_md_get(md, key, 0, &v.text))
        v.text = SLICE_EMPTY;
    return v;
}

void auth_proof_read(const struct rpc_md *md, struct auth_proof *ret)
{
    *ret = (struct auth_proof){
        .plain = value_of(md, SIGN_MD_PLAIN),
        .bound = value_of(md, SIGN_MD_BOUND),
        .hash = value_of(md, SIGN_MD_HASH),
        .expiry = value_of(md, SIGN_MD_EXPIRY),
    };
}

/* ------------------------------------------------------------------ owners */

struct owned_key {
    struct buf der;
    size_t dataset;
};

static int compare_keys(const void *a, const void *b)
{
    const struct owned_key *x = a, *y = b;
    int order = slice_compare(buf_slice(&x->der), buf_slice(&y->der));

    if (order != 0)
        return order;
    return x->dataset < y->dataset ? -1 : x->dataset > y->dataset;
}

static bool owners_find(const struct mf *m, struct owned_key *keys, size_t *owner, struct err *e)
{
    for (size_t i = 0; i < m->dataset_count; i++) {
        keys[i] = (struct owned_key){ BUF_INIT(64 * 1024), i };
        if (!key_public_der(m->datasets[i].user_key, &keys[i].der, e))
            return false;
    }
    qsort(keys, m->dataset_count, sizeof(*keys), compare_keys);
    for (size_t i = 0; i < m->dataset_count; i++) {
        bool same = i > 0 && slice_equal(buf_slice(&keys[i - 1].der), buf_slice(&keys[i].der));

        owner[keys[i].dataset] = same ? owner[keys[i - 1].dataset] : keys[i].dataset;
    }
    return true;
}

struct auth *auth_new(const struct mf *m, bool require_bound, struct err *e)
{
    CLEANUP(mem_done) struct owned_key *keys = mem_new_array(m->dataset_count, sizeof(*keys), e);
    struct auth *a;
    bool ok;

    if (!keys)
        return NULL;
    a = mem_new(sizeof(*a), e);
    if (!a)
        return NULL;
    *a = (struct auth){ .mf = m, .require_bound = require_bound };
    a->owner = mem_new_array(m->dataset_count, sizeof(*a->owner), e);
    ok = a->owner && owners_find(m, keys, a->owner, e);
    for (size_t i = 0; i < m->dataset_count; i++)
        buf_done(&keys[i].der);
    if (ok)
        return a;
    auth_free(a);
    return NULL;
}

void auth_free(struct auth *a)
{
    if (!a)
        return;
    mem_free(a->owner);
    mem_free(a);
}

size_t auth_owner(const struct auth *a, size_t dataset)
{
    return a->owner[dataset];
}

bool auth_take_warning(struct auth *a)
{
    bool due = !a->warned;

    a->warned = true;
    return due;
}

/* ------------------------------------------------------------------ refusals */

static bool refuse(struct rpc_status *ret, const char *reason)
{
    ret->code = RPC_UNAUTHENTICATED;
    snprintf(ret->message, sizeof(ret->message), "signature verification failed%s%s", reason ? ": " : "",
             reason ? reason : "");
    return false;
}

/* The text of upstream's wrapped error, twice the same as there. */
static bool refuse_metadata(struct rpc_status *ret)
{
    ret->code = RPC_UNAUTHENTICATED;
    snprintf(ret->message, sizeof(ret->message), "%s",
             "rpc error: code = Unauthenticated desc = invalid metadata : invalid metadata");
    return false;
}

/* ------------------------------------------------------------------ which key */

static bool holds(const struct key *k, struct slice text, struct slice signature)
{
    struct err e = ERR_INIT;

    return key_verify(k, text, signature, &e);
}

/* The owner whose key made the signature, among datasets of that hash, or of any when hash is NULL. */
static bool owner_of_signature(const struct auth *a, const uint8_t *hash, struct slice text,
                               struct slice signature, size_t *ret_key)
{
    for (size_t i = 0; i < a->mf->dataset_count; i++) {
        const struct mf_dataset *d = &a->mf->datasets[i];

        /* Of several datasets of one key the first is tried, unless the hash rules that one out. */
        if (hash ? !ct_equal(slice_of(hash, sizeof(d->hash)), slice_of(d->hash, sizeof(d->hash)))
                 : a->owner[i] != i)
            continue;
        if (!holds(d->user_key, text, signature))
            continue;
        *ret_key = a->owner[i];
        return true;
    }
    return false;
}

static bool key_of_signature(const struct auth *a, enum auth_role role, const uint8_t *hash,
                             struct slice text, struct slice signature, size_t *ret_key)
{
    switch (role) {
    case AUTH_ALGORITHM: *ret_key = 0; return holds(a->mf->algo_key, text, signature);
    case AUTH_DATA: return owner_of_signature(a, hash, text, signature, ret_key);
    case AUTH_CONSUMER:
        for (size_t i = 0; i < a->mf->consumer_count; i++)
            if (holds(a->mf->consumer_keys[i], text, signature)) {
                *ret_key = i;
                return true;
            }
        return false;
    }
    return false;
}

/* ------------------------------------------------------------------ the plain form */

static bool check_plain(const struct auth *a, const struct auth_proof *proof, struct auth_grant *grant,
                        struct rpc_status *ret_status)
{
    CLEANUP(buf_done) struct buf signature = BUF_INIT(SIGNATURE_MAX);
    struct err e = ERR_INIT;

    if (proof->plain.count != 1)
        return refuse_metadata(ret_status);
    if (a->require_bound)
        return refuse(ret_status, "this agent wants a bound signature (metadata " SIGN_MD_BOUND
                                  "), the plain one could be replayed");
    if (!base64_decode(proof->plain.text, &signature, &e) ||
        !key_of_signature(a, grant->role, NULL, slice_of_str(role_text(grant->role)), buf_slice(&signature),
                          &grant->key))
        return refuse(ret_status, NULL);
    return true;
}

/* ------------------------------------------------------------------ the bound form */

/* The hash that the caller says he will send: there for uploads, and of something that is wanted. */
static bool bound_hash(const struct auth *a, const struct auth_proof *proof, struct auth_grant *grant,
                       const char **ret_why)
{
    CLEANUP(buf_done) struct buf hash = BUF_INIT(HASH_SHA3_256_LEN);
    struct err e = ERR_INIT;

    if (grant->role == AUTH_CONSUMER) {
        *ret_why = "a consumer's bound signature has no hash (metadata " SIGN_MD_HASH ")";
        return proof->hash.count == 0;
    }
    *ret_why = "the bound signature wants one hash of 64 hex digits (metadata " SIGN_MD_HASH ")";
    if (proof->hash.count != 1 || !hex_decode(proof->hash.text, &hash, &e) || hash.len != sizeof(grant->hash))
        return false;
    memcpy(grant->hash, buf_slice(&hash).at, sizeof(grant->hash));
    if (grant->role == AUTH_ALGORITHM) {
        *ret_why = "the bound signature is for another algorithm than the manifest's";
        return ct_equal(buf_slice(&hash), slice_of(a->mf->algo_hash, sizeof(a->mf->algo_hash)));
    }
    *ret_why = "the bound signature is for a dataset that the manifest does not name";
    for (size_t i = 0; i < a->mf->dataset_count; i++)
        if (ct_equal(buf_slice(&hash), slice_of(a->mf->datasets[i].hash, sizeof(grant->hash))))
            return true;
    return false;
}

static bool bound_expiry(const struct auth_proof *proof, int64_t now_s, struct auth_grant *grant,
                         const char **ret_why)
{
    struct err e = ERR_INIT;
    uint64_t expiry;

    *ret_why = "the bound signature wants one expiry in seconds (metadata " SIGN_MD_EXPIRY ")";
    if (proof->expiry.count != 1 ||
        !text_parse_u64(proof->expiry.text, 0, INT64_MAX - SIGN_LIFETIME_MAX_S, &expiry, &e))
        return false;
    grant->expiry_s = (int64_t)expiry;
    *ret_why = "the bound signature has expired, by the clock of this agent";
    if (grant->expiry_s <= now_s)
        return false;
    *ret_why = "the bound signature would hold for more than a day, by the clock of this agent";
    return grant->expiry_s - SIGN_LIFETIME_MAX_S <= now_s;
}

static bool verify_bound(const struct auth *a, const struct auth_proof *proof, struct slice filename,
                         struct auth_grant *grant, struct rpc_status *ret_status)
{
    const struct sign_bound said = {
        .computation_id = a->mf->id,
        .role = role_text(grant->role),
        .hash = grant->role == AUTH_CONSUMER ? NULL : grant->hash,
        .filename = filename,
        .expiry_s = grant->expiry_s,
    };
    CLEANUP(buf_done) struct buf signature = BUF_INIT(SIGNATURE_MAX);
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
    struct err e = ERR_INIT;

    if (!base64_decode(proof->bound.text, &signature, &e) || !sign_bound_text(&said, &text, &e) ||
        !key_of_signature(a, grant->role, grant->role == AUTH_DATA ? grant->hash : NULL, buf_slice(&text),
                          buf_slice(&signature), &grant->key))
        return refuse(ret_status, "the bound signature does not hold for this computation, role, content "
                                  "and filename with a key of the manifest");
    return true;
}

bool auth_grant_filename(const struct auth *a, const struct auth_proof *proof, struct slice filename,
                         struct auth_grant *grant, struct rpc_status *ret_status)
{
    if (!grant->wants_filename)
        return true;
    if (!verify_bound(a, proof, filename, grant, ret_status))
        return false;
    grant->wants_filename = false;
    return true;
}

bool auth_check(const struct auth *a, enum auth_role role, const struct auth_proof *proof, int64_t now_s,
                struct auth_grant *ret, struct rpc_status *ret_status)
{
    struct auth_grant grant = { .role = role };
    const char *why;

    if (proof->bound.count == 0) {
        if (!check_plain(a, proof, &grant, ret_status))
            return false;
        *ret = grant;
        return true;
    }
    /* Whoever sends the bound form means it: a broken one does not fall back to the plain one. */
    if (proof->bound.count > 1)
        return refuse(ret_status, "more than one bound signature");
    if (!bound_hash(a, proof, &grant, &why) || !bound_expiry(proof, now_s, &grant, &why))
        return refuse(ret_status, why);
    grant.bound = true;
    grant.wants_filename = role == AUTH_DATA;
    if (!grant.wants_filename && !verify_bound(a, proof, SLICE_EMPTY, &grant, ret_status))
        return false;
    *ret = grant;
    return true;
}
