/*
 * Control groups (version 2): a VM's processes in one of their own, so that
 * they can be seen together and killed at once, with all that they started.
 *
 * Nothing is limited by them. Where this process may make none (no version 2,
 * not delegated, read-only in a container) VMs do without.
 */
#ifndef HOST_CGROUP_H
#define HOST_CGROUP_H

#include "base/err.h"
#include "base/slice.h"

#define HOST_CGROUP_MAX 256 /* bytes of a path, with its NUL */

/*
 * The directory of this process's own cgroup, in which it may make others and
 * move processes into them: that is tried. UNSUPPORTED, DENIED or UNAVAILABLE
 * say why there is none. ret holds HOST_CGROUP_MAX bytes.
 */
bool host_cgroup_own(char *ret, struct err *e) MUST_CHECK;

/*
 * Makes the cgroup. A process that writes "0" to *ret_procs_fd moves into it;
 * the caller closes it.
 */
bool host_cgroup_make(const char *path, int *ret_procs_fd, struct err *e) MUST_CHECK;

/*
 * Kills all that is in it, waits for its end for at most wait_ms, and removes
 * it. That it is gone already is fine. INVALID when path is no cgroup, TIMEOUT
 * when something in it does not end.
 */
bool host_cgroup_remove(const char *path, unsigned wait_ms, struct err *e) MUST_CHECK;

/*
 * Where this process's cgroup is mounted, from the texts of /proc/self/mountinfo
 * and /proc/self/cgroup. UNSUPPORTED when it is nowhere. For tests; ret as above.
 */
bool host_cgroup_path(struct slice mountinfo, struct slice self, char *ret, struct err *e) MUST_CHECK;

#endif
