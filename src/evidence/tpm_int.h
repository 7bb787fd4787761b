/* A TPM as this room's files and its tests see it. */
#ifndef EVIDENCE_TPM_INT_H
#define EVIDENCE_TPM_INT_H

#include <tss2/tss2_esys.h>

#include "evidence/tpm.h"
#include "evidence/tpm_link.h"

#define TPM_NAME_MAX 128

struct ev_tpm {
    struct tpm_link link;
    ESYS_CONTEXT *esys;
    int fd;
    char name[TPM_NAME_MAX];
};

#endif
