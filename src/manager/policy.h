/*
 * The measured facts of a VM, as JSON: what an attestation policy will be made
 * of.
 */
#ifndef MANAGER_POLICY_H
#define MANAGER_POLICY_H

#include "manager/vm.h"

/*
 * Appends {"vm":id,"firmware":{"path","sha256"},"kernel":{…},"initrd":{…},
 * "cmdline":"…","pcr9":{…},"memory":"…","cpus":n,"kvm":bool,"snp":…}. Files are
 * read and hashed during the call. Of an adopted VM the command line is the
 * settings' one.
 */
bool mgr_policy_facts(const struct mgr_vm_host *host, const struct mgr_vm *vm, struct buf *out,
                      struct err *e) MUST_CHECK;

#endif
