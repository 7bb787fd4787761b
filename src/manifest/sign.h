/*
 * What a user signs when he calls an agent.
 *
 * The plain form is upstream's: a signature over the role's name, the same
 * for ever. The bound form says which computation, role, content and name it
 * is for and until when; docs/PROTOCOL-EXTENSIONS.md is its specification.
 */
#ifndef MANIFEST_SIGN_H
#define MANIFEST_SIGN_H

#include "base/buf.h"
#include "base/key.h"

#define SIGN_ROLE_ALGORITHM "algorithm-provider"
#define SIGN_ROLE_DATA "data-provider"
#define SIGN_ROLE_CONSUMER "consumer"

/* Request metadata, all text. */
#define SIGN_MD_USER "user-id"                /* the role again                      */
#define SIGN_MD_PLAIN "signature"             /* base64 over the role                */
#define SIGN_MD_BOUND "cocos-bound-signature" /* base64 over sign_bound_text         */
#define SIGN_MD_HASH "cocos-bound-hash"       /* 64 hex digits; absent for consumers */
#define SIGN_MD_EXPIRY "cocos-bound-expiry"   /* seconds since 1970, decimal         */

#define SIGN_LIFETIME_MAX_S 86400 /* an expiry further away is refused */

struct sign_bound {
    const char *computation_id;
    const char *role;
    const uint8_t *hash;   /* SHA3-256 of the upload, 32 bytes; NULL for a consumer */
    struct slice filename; /* of a dataset as uploaded, else empty                  */
    int64_t expiry_s;      /* seconds since 1970                                    */
};

/*
 * Appends the text that is signed: the lines "cocos-c bound signature v1",
 * computation id, role, hex hash (or "-"), filename (or "-"), expiry, each
 * ended by a newline. INVALID when a part holds a newline.
 */
bool sign_bound_text(const struct sign_bound *b, struct buf *out, struct err *e) MUST_CHECK;

#endif
