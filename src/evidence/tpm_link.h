/*
 * The bytes between ESYS and a TPM, with a deadline.
 *
 * tpm2-tss has links of its own, loaded at run time. They wait for an answer
 * without end, and each is one more library in a guest; this one polls.
 * Spec: TCG TSS 2.0 TPM Command Transmission Interface, version 1.
 */
#ifndef EVIDENCE_TPM_LINK_H
#define EVIDENCE_TPM_LINK_H

#include <sys/types.h>
#include <tss2/tss2_tcti.h>

#include "base/err.h"

#define TPM_ANSWER_MAX 4096 /* TPM2_MAX_RESPONSE_SIZE */

struct tpm_link {
    TSS2_TCTI_CONTEXT_COMMON_V1 tcti; /* first: ESYS holds this struct by it */
    int fd;
    uint64_t until_ms;                             /* on the monotonic clock */
    size_t len;                                    /* bytes of the answer so far */
    bool asked;                                    /* a command is out           */
    struct err why;                                /* of the last failure: ESYS knows only codes */
    ssize_t (*read)(int fd, void *at, size_t len); /* read(2), but in tests */
    uint8_t answer[TPM_ANSWER_MAX];
};

/* Opens or connects what ev_tpm_open describes; *ret_fd does not block and is the caller's. */
bool tpm_link_connect(const char *where, uint64_t until_ms, int *ret_fd, struct err *e) MUST_CHECK;

/* The link over that descriptor, borrowed. It must stay where it is. */
void tpm_link_init(struct tpm_link *l, int fd, uint64_t until_ms);

#endif
