/*
 * What an earlier manager left of VMs that nobody owns any more: directories
 * without a record, and the QEMU and swtpm processes that use them. Such
 * processes are found by the VM's directory in their command line, never by
 * a remembered pid. Cases MG-5, MG-6.
 */
#ifndef MANAGER_SWEEP_H
#define MANAGER_SWEEP_H

#include "base/err.h"

/*
 * Kills every QEMU and swtpm whose sockets or state lie in <vms_dir>/<id>,
 * waits up to 5 s for their end and removes its cgroup and the directory. *ret_killed counts
 * the processes. A process is checked again through its pidfd before it is
 * signalled.
 */
bool mgr_sweep_vm(const char *vms_dir, const char *id, unsigned *ret_killed, struct err *e) MUST_CHECK;

/*
 * A VM's cgroup: its directory holds a file that names it, written before the
 * cgroup is made. Only one that is named after the VM is touched.
 */
#define MGR_CGROUP_NOTE "cgroup"
#define MGR_CGROUP_PREFIX "cocos-vm-"

/* Kills what is in the cgroup that the VM's directory names, waits up to 5 s, removes it; none is fine. */
bool mgr_sweep_cgroup(const char *dir, const char *id, struct err *e) MUST_CHECK;

/* The same for all directories beneath vms_dir for which keep() is false; *e is the first failure, the others are
 * swept all the same. */
bool mgr_sweep(const char *vms_dir, bool (*keep)(const char *id, void *ctx),
               void (*swept)(const char *id, unsigned killed, void *ctx), void *ctx,
               struct err *e) MUST_CHECK;

#endif
