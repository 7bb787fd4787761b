/*
 * Who a caller is: the signatures of users, plain and bound.
 *
 * The plain form (upstream's) proves only that the caller once signed the
 * name of his role; the bound form proves that he wants this content in this
 * computation now. docs/PROTOCOL-EXTENSIONS.md specifies the bound form.
 * Does no I/O; the time is an argument. Cases AG-3, AG-4, AG-5.
 */
#ifndef AGENT_AUTH_H
#define AGENT_AUTH_H

#include "manifest/manifest.h"
#include "manifest/sign.h"
#include "rpc/rpc.h"

enum auth_role { AUTH_ALGORITHM, AUTH_DATA, AUTH_CONSUMER };

/* What a call's metadata say, borrowed from them. A count tells how often a key was there. */
struct auth_value {
    size_t count;
    struct slice text;
};
struct auth_proof {
    struct auth_value plain;
    struct auth_value bound;
    struct auth_value hash;
    struct auth_value expiry;
};
void auth_proof_read(const struct rpc_md *md, struct auth_proof *ret);

/* What a proof is good for. */
struct auth_grant {
    enum auth_role role;
    size_t key;          /* AUTH_DATA: the owner, see auth_owner; AUTH_CONSUMER: index of the consumer */
    bool bound;          /* only for content of this hash                                             */
    bool wants_filename; /* bound data: nothing is granted before auth_grant_filename            */
    uint8_t hash[HASH_SHA3_256_LEN];
    int64_t expiry_s;
};

struct auth; /* the keys of one manifest, and what has been warned of */

/* The manifest is borrowed. require_bound refuses the plain form. */
struct auth *auth_new(const struct mf *m, bool require_bound, struct err *e) MUST_CHECK;
void auth_free(struct auth *a);

/*
 * False: *ret_status is what the call ends with (UNAUTHENTICATED, and the
 * texts of section 4.3).
 */
bool auth_check(const struct auth *a, enum auth_role role, const struct auth_proof *proof, int64_t now_s,
                struct auth_grant *ret, struct rpc_status *ret_status) MUST_CHECK;

/*
 * The second half for bound data: the text that was signed names the file.
 * Sets grant->key and clears wants_filename. A grant that wants none is left as it is.
 */
bool auth_grant_filename(const struct auth *a, const struct auth_proof *proof, struct slice filename,
                         struct auth_grant *grant, struct rpc_status *ret_status) MUST_CHECK;

/* Datasets of the same key have the same owner: the index of the first of them. */
size_t auth_owner(const struct auth *a, size_t dataset);

/* True once per computation: a plain signature was accepted, and a person should hear of it. */
bool auth_take_warning(struct auth *a);

#endif
