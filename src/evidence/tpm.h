/*
 * A TPM 2.0: its registers (PCRs), by way of ESYS of tpm2-tss.
 *
 * Every call blocks until the TPM has answered or the time that was given at
 * opening is over, so calls belong into a thread pool. One struct ev_tpm is
 * for one thread at a time.
 */
#ifndef EVIDENCE_TPM_H
#define EVIDENCE_TPM_H

#include "base/err.h"
#include "base/slice.h"

#define EV_BANKS_MAX 5
#define EV_DIGEST_MAX 64

/* What a bank of registers hashes with, as TPM_ALG_ID. */
enum ev_bank {
    EV_BANK_SHA1 = 0x0004,
    EV_BANK_SHA256 = 0x000b,
    EV_BANK_SHA384 = 0x000c,
    EV_BANK_SHA512 = 0x000d,
    EV_BANK_SM3_256 = 0x0012,
};

/* "sha256" */
const char *ev_bank_name(enum ev_bank bank);
/* Bytes of a register in it. */
size_t ev_bank_len(enum ev_bank bank);

struct ev_tpm;

/*
 * Opens the way to a TPM: the path of a device ("/dev/tpmrm0") or of a unix
 * socket, or "127.0.0.1:2321", both as swtpm serves commands. All that is done
 * until ev_tpm_close has timeout_ms together. MISSING, DENIED or UNAVAILABLE
 * as the system says, INVALID when where is none of these.
 */
bool ev_tpm_open(const char *where, uint64_t timeout_ms, struct ev_tpm **ret, struct err *e) MUST_CHECK;

/* As above on a descriptor that is connected to one; it is taken, also on failure. */
bool ev_tpm_open_fd(int take_fd, const char *name, uint64_t timeout_ms, struct ev_tpm **ret,
                    struct err *e) MUST_CHECK;

/*
 * All of these name the TPM in their errors. TIMEOUT when the time is over,
 * UNAVAILABLE when the TPM is gone or answers with an error, INVALID when its
 * answer makes no sense.
 */

/* The active banks that have this register and that we know; *ret_unknown counts the others. */
bool ev_tpm_banks(struct ev_tpm *t, unsigned pcr, enum ev_bank ret[EV_BANKS_MAX], size_t *ret_count,
                  size_t *ret_unknown, struct err *e) MUST_CHECK;

/* The register in each of count banks: ret[i] gets ev_bank_len(banks[i]) bytes. MISSING when one is not active. */
bool ev_tpm_pcr_read(struct ev_tpm *t, unsigned pcr, const enum ev_bank *banks, size_t count,
                     uint8_t (*ret)[EV_DIGEST_MAX], struct err *e) MUST_CHECK;

/*
 * One digest for each of count banks, all in one command of the TPM:
 * digests[i] has ev_bank_len(banks[i]) bytes. CANCELLED when the driver gave
 * up waiting: then the registers tell whether it was done.
 */
bool ev_tpm_pcr_extend(struct ev_tpm *t, unsigned pcr, const enum ev_bank *banks,
                       const uint8_t (*digests)[EV_DIGEST_MAX], size_t count, struct err *e) MUST_CHECK;

/* Accepts NULL. */
void ev_tpm_close(struct ev_tpm *t);

#endif
