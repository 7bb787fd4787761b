/*
 * Measuring: bytes into a register of a TPM, in every bank it has.
 *
 * Into each bank goes one digest of the bytes, which are hashed as peers do:
 *
 *   sha256, sm3_256   SHA3-256(bytes)
 *   sha384            SHA3-384(bytes)
 *   sha512            SHA3-512(bytes)
 *   sha1              the first 20 bytes of SHA3-256(bytes)
 *
 * sha256 and sha384 are those of the Go peers. The others are there so that no
 * bank is left as it was at boot, where anyone could later put in what he
 * likes; a verifier has no use for sha1.
 */
#ifndef EVIDENCE_MEASURE_H
#define EVIDENCE_MEASURE_H

#include "evidence/tpm.h"

struct ev_measured {
    unsigned pcr;
    size_t count;
    size_t unknown; /* active banks of algorithms that we don't know: not measured into */
    enum ev_bank bank[EV_BANKS_MAX];
    uint8_t digest[EV_BANKS_MAX][EV_DIGEST_MAX]; /* what went in, ev_bank_len bytes */
    uint8_t value[EV_BANKS_MAX][EV_DIGEST_MAX];  /* the register afterwards, as read back */
};

/*
 * Extends and reads back. UNVERIFIED when a register does not hold afterwards
 * what follows from before; UNSUPPORTED without a bank of SHA-256 or better.
 */
bool ev_measure(struct ev_tpm *t, unsigned pcr, struct slice bytes, struct ev_measured *ret,
                struct err *e) MUST_CHECK;

#endif
