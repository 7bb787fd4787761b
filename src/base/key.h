/*
 * The users' keys: RSA, ECDSA on NIST curves, Ed25519.
 *
 * Signatures: RSASSA-PKCS1-v1_5 over SHA-256, ECDSA (ASN.1 DER) over SHA-256,
 * plain Ed25519. RSA keys have 2048 to 16384 bits; curves are named ones.
 */
#ifndef BASE_KEY_H
#define BASE_KEY_H

#include "base/buf.h"

struct key; /* a private or a public key */

enum key_type { KEY_RSA, KEY_ECDSA, KEY_ED25519 };

/*
 * A private key from PEM: "PRIVATE KEY" (PKCS#8, or PKCS#1 bytes under that
 * label, which older tools wrote), "RSA PRIVATE KEY", "EC PRIVATE KEY". Never
 * asks for a passphrase: an encrypted key is UNSUPPORTED. The error says what
 * was found instead.
 */
struct key *key_private_from_pem(struct slice pem, struct err *e) MUST_CHECK;

/* DER SubjectPublicKeyInfo. UNSUPPORTED "unsupported public key type" for other kinds; trailing bytes are INVALID. */
struct key *key_public_from_der(struct slice der, struct err *e) MUST_CHECK;

/* The DER inside a PEM "PUBLIC KEY" (or the public key of a "CERTIFICATE"), appended to out. */
bool key_public_pem_to_der(struct slice pem, struct buf *out, struct err *e) MUST_CHECK;

/* Appends the DER SubjectPublicKeyInfo of either kind of key. */
bool key_public_der(const struct key *k, struct buf *out, struct err *e) MUST_CHECK;

/* RSA of 4096 bits, ECDSA on P-256, Ed25519. */
struct key *key_generate(enum key_type type, struct err *e) MUST_CHECK;

/* PKCS#8 "PRIVATE KEY" and "PUBLIC KEY", appended. */
bool key_private_pem(const struct key *k, struct secret *out, struct err *e) MUST_CHECK;
bool key_public_pem(const struct key *k, struct buf *out, struct err *e) MUST_CHECK;

enum key_type key_type_of(const struct key *k);

bool key_sign(const struct key *k, struct slice text, struct buf *out, struct err *e) MUST_CHECK;

/* False with UNVERIFIED when the signature does not hold. */
bool key_verify(const struct key *k, struct slice text, struct slice signature, struct err *e) MUST_CHECK;

/* Accepts NULL. key_done is for CLEANUP on a `struct key *`. */
void key_free(struct key *k);
void key_done(struct key **k);

#endif
