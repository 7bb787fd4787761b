/*
 * What this host can do: hardware TEEs, a software TPM, and whether the files
 * that VMs are made of are there. Looked at once, when the manager starts.
 */
#ifndef MANAGER_HOST_H
#define MANAGER_HOST_H

#include "manager/settings.h"

struct mgr_host_facts {
    bool snp, tdx, gpu;
    char swtpm[256]; /* program, "" when VMs get no software TPM */
};

/*
 * MISSING lists every file and program that settings name and that is not
 * there; UNSUPPORTED when a TEE was demanded and the host has none.
 */
bool mgr_host_look(const struct mgr_settings *s, struct mgr_host_facts *ret, struct err *e) MUST_CHECK;

/*
 * The CPU model VMs get instead of the settings' one, "" for theirs. Under
 * software emulation EPYC is slow and lacks features QEMU can't emulate; the
 * model given then has just what libraries use (and RDRAND, without which a
 * guest waits a second for randomness).
 */
const char *mgr_host_cpu(const struct mgr_settings *s, bool kvm);

#endif
