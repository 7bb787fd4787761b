/*
 * Whether VMs of this host can have their memory encrypted: AMD SEV-SNP or
 * Intel TDX. The CPU, the kernel's module and the device must be there, and
 * QEMU must have the objects; what is missing is told check by check, with
 * what was seen and what is needed.
 */
#ifndef HOST_TEE_H
#define HOST_TEE_H

#include "host/qemu.h"

enum host_tee { HOST_TEE_SNP, HOST_TEE_TDX };
#define HOST_TEE_COUNT 2

#define HOST_TEE_WHY_MAX 768

struct host_tee_state {
    bool host;                  /* CPU, module and device are there */
    bool qemu;                  /* and QEMU can use them            */
    char why[HOST_TEE_WHY_MAX]; /* what is missing, "" when nothing */
};

const char *host_tee_name(enum host_tee tee); /* "SEV-SNP", "TDX" */

/*
 * Looks at the files of the host. root is put before /proc, /sys and /dev,
 * "" but in tests. qemu is what QEMU said of itself, or NULL when it was not
 * asked: then nothing is said of it, and ret->qemu is false.
 */
void host_tee_look(enum host_tee tee, const char *root, const struct host_qemu_facts *qemu,
                   struct host_tee_state *ret);

#endif
