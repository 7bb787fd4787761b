/*
 * The measured facts of a VM, as JSON: what an attestation policy will be made
 * of.
 */
#ifndef MANAGER_POLICY_H
#define MANAGER_POLICY_H

#include "manager/vm.h"

/*
 * Appends one JSON object:
 *
 *   vm, platform, boot, memory, cpus, cpu, kvm   how the VM was made
 *   firmware, kernel, initrd                     {"path","sha256","bytes"} of each file
 *   cmdline                                      of the kernel
 *   pcrs_sha256                                  {"4","9"}: what a measured boot ends with
 *   pcr4_sha256_events, pcr9_sha256_events       the digests these are extended with, in order
 *   pcr4_unpredicted                             instead of PCR 4: why it can't be told
 *
 * Digests are lower-case hex. The PCRs are there for a measured boot without
 * hardware TEE alone; the fast boot measures nothing. Files are read and
 * hashed during the call. Of an adopted VM the command line is the settings'
 * one.
 */
bool mgr_policy_facts(const struct mgr_vm_host *host, const struct mgr_vm *vm, struct buf *out,
                      struct err *e) MUST_CHECK;

#endif
