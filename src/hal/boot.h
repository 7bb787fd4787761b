/*
 * Bringing the machine up: mounts, kernel modules, shares, network. Each step
 * is done once by PID 1 and waits for what the kernel needs, never longer.
 */
#ifndef HAL_BOOT_H
#define HAL_BOOT_H

#include "base/slice.h"
#include "hal/cmdline.h"

#define HAL_MODULE_DIR "/lib/modules/cocos"

/* proc, sys, dev, run, tmp, cgroup2, securityfs and the directories of the services. */
bool hal_mount_all(struct err *e) MUST_CHECK;

/*
 * Loads the modules that the file `list` in HAL_MODULE_DIR names, one a line,
 * in that order. One that is loaded already is fine. ret_count may be NULL.
 */
bool hal_load_modules(const char *list, size_t *ret_count, struct err *e) MUST_CHECK;

/*
 * Mounts the 9p share with that tag at path, read-only when asked. *ret_there
 * is false, without an error, when the machine has no such share.
 */
bool hal_mount_share(const char *tag, const char *path, bool read_only, bool *ret_there,
                     struct err *e) MUST_CHECK;

/* Interfaces lo and eth0 up; eth0 gets the address, or one by DHCP when NULL. */
bool hal_network_up(const struct hal_address *address, struct err *e) MUST_CHECK;

#endif
