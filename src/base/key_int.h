/*
 * Shared by key.c and key_pem.c.
 */
#ifndef BASE_KEY_INT_H
#define BASE_KEY_INT_H

#include <openssl/evp.h>

#include "base/key.h"

struct key {
    EVP_PKEY *pkey;
    enum key_type type;
};

/* Wraps take_pkey, which may be NULL when e is set; UNSUPPORTED for a kind of key we don't use. */
struct key *key_wrap(EVP_PKEY *take_pkey, struct err *e) MUST_CHECK;

/* INTERNAL or the kind given, with the reason OpenSSL has noted; empties its queue. Returns false. */
bool key_fail_ssl(struct err *e, enum err_kind kind, const char *what);

#endif
