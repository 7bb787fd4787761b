/*
 * Incremental digests (OpenSSL behind them).
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/err.h"
#include "base/slice.h"

enum hash_alg { HASH_SHA256, HASH_SHA384, HASH_SHA512, HASH_SHA3_256, HASH_SHA3_384, HASH_SHA3_512 };

#define HASH_LEN_MAX 64
#define HASH_SHA256_LEN 32
#define HASH_SHA3_256_LEN 32

struct hash; /* a digest being computed */

/* Bytes of the algorithm's digest. */
size_t hash_len(enum hash_alg alg);

struct hash *hash_new(enum hash_alg alg, struct err *e) MUST_CHECK;
bool hash_add(struct hash *h, struct slice bytes, struct err *e) MUST_CHECK;

/* Writes hash_len(alg) bytes to ret. h can only be freed afterwards. */
bool hash_finish(struct hash *h, uint8_t *ret, struct err *e) MUST_CHECK;

/* Accepts NULL. hash_done is for CLEANUP on a `struct hash *`. */
void hash_free(struct hash *h);
void hash_done(struct hash **h);

/* One go over bytes in memory; writes hash_len(alg) bytes to ret. */
bool hash_bytes(enum hash_alg alg, struct slice bytes, uint8_t *ret, struct err *e) MUST_CHECK;

/* One go over what is left to read on fd, in constant memory. *ret_len may be NULL. */
bool hash_fd(enum hash_alg alg, int fd, uint8_t *ret, uint64_t *ret_len, struct err *e) MUST_CHECK;

#endif
