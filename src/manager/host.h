/*
 * What this host can do: hardware TEEs, a software TPM, and whether the files
 * that VMs are made of are there. Looked at once, when the manager starts.
 */
#ifndef MANAGER_HOST_H
#define MANAGER_HOST_H

#include "host/gpu.h"
#include "host/tee.h"
#include "manager/settings.h"

struct mgr_host_facts {
    bool snp, tdx;
    char tee_why[2 * HOST_TEE_WHY_MAX]; /* why VMs are neither, "" when they are one of them */
    char gpu_bdf[HOST_BDF_LEN + 1];     /* a GPU for VMs, "" none                           */
    char swtpm[256];                    /* program, "" when VMs get no software TPM */
};

/*
 * qemu is what QEMU said of itself; NULL when it was not there to be asked, or
 * did not answer, which qemu_why then tells (NULL: not there).
 *
 * MISSING lists every file and program that settings name and that is not
 * there, a QEMU that does not answer, and a TEE or GPU that was demanded and
 * that VMs can't have. A host with a TEE that QEMU can't use is a fault too:
 * VMs without it have to be asked for.
 */
bool mgr_host_look(const struct mgr_settings *s, const struct host_qemu_facts *qemu,
                   const struct err *qemu_why, struct mgr_host_facts *ret, struct err *e) MUST_CHECK;

/*
 * The CPU model VMs get instead of the settings' one, "" for theirs. Under
 * software emulation EPYC is slow and lacks features QEMU can't emulate; the
 * model given then has just what libraries use (and RDRAND, without which a
 * guest waits a second for randomness).
 */
const char *mgr_host_cpu(const struct mgr_settings *s, bool kvm);

#endif
