/*
 * What a QEMU can do on this host, asked of QEMU itself.
 *
 * It is started without a machine and questioned through QMP: which objects,
 * devices and machines it knows, and whether KVM and the secure processor give it SEV. So a program
 * that is no QEMU, or one that does not start here, is found out before the
 * first VM is asked for.
 */
#ifndef HOST_QEMU_H
#define HOST_QEMU_H

#include <uv.h>

#include "base/err.h"
#include "base/slice.h"

#define HOST_QEMU_ASK_MS 20000

struct host_qemu_facts {
    char version[32];    /* "7.2.22" */
    bool sev_snp_guest;  /* objects it knows */
    bool tdx_guest;      /* likewise         */
    bool igvm_cfg;       /* likewise         */
    bool virtio_9p;      /* devices it knows */
    bool virtio_net;     /* likewise         */
    bool tpm_crb;        /* likewise         */
    char machines[4096]; /* names and aliases, each behind and in front of a space; cut when there are more */
    bool sev;            /* query-sev-capabilities was answered               */
    char sev_why[160];   /* else what QEMU said instead                       */
    uint64_t cbit_pos;   /* of that answer, 0 without one                     */
    uint64_t reduced_bits; /* likewise                                          */
};

/* facts is NULL when QEMU did not answer; why tells then. Both are borrowed for the call. */
typedef void (*host_qemu_done_fn)(const struct host_qemu_facts *facts, const struct err *why, void *ctx);

/*
 * Asks once; done comes later on the loop. dir_fd is where the socket is made
 * for that while (borrowed until done). Fails only when nothing could be
 * started for a reason of ours.
 *
 *   qemu  path or name on PATH
 *   sudo  run it by sudo, as VMs are
 */
bool host_qemu_ask(uv_loop_t *loop, const char *qemu, bool sudo, int dir_fd, host_qemu_done_fn done,
                   void *ctx, struct err *e) MUST_CHECK;

/* True when it knows a machine of that name. */
bool host_qemu_has_machine(const struct host_qemu_facts *facts, const char *name);

/* ------------------------------------------------ the conversation alone, for tests */

enum host_qemu_step {
    HOST_QEMU_GREETING,
    HOST_QEMU_CAPABILITIES,
    HOST_QEMU_OBJECTS,
    HOST_QEMU_DEVICES,
    HOST_QEMU_MACHINES,
    HOST_QEMU_SEV,
    HOST_QEMU_TOLD
};

/*
 * Takes one line of QEMU's, moves *step on and returns what to send next, NULL
 * for nothing. INVALID when the line is not what QMP has there.
 */
bool host_qemu_take_line(struct slice line, enum host_qemu_step *step, struct host_qemu_facts *facts,
                         const char **ret_send, struct err *e) MUST_CHECK;

#endif
