/*
 * One VM from request to end.
 *
 * Making a VM is a list of steps, each with its undo; whatever goes wrong,
 * and however the VM ends later, the same undos run from the last step that
 * was begun back to the first. So nothing is left behind: no process, file,
 * port or record. Cases MG-4, MG-7, MG-8, MG-10.
 */
#ifndef MANAGER_VM_H
#define MANAGER_VM_H

#include "base/clock.h"
#include "manager/memory.h"
#include "manager/qemu_args.h"
#include "manager/record.h"
#include "proto/manager.pb-c.h"

#define MGR_VM_READY_MS 30000    /* QEMU until its sockets answer */
#define MGR_VM_POWERDOWN_MS 8000 /* for the guest to end by itself            */
#define MGR_VM_TERM_MS 3000      /* for QEMU to end on SIGTERM                */
#define MGR_VM_GRACE_MS 2000     /* between the ends of swtpm and of QEMU, when QEMU ends both */
#define MGR_CAUSE_MAX 768

/* Longest path of the directory of all VMs: the sockets beneath have to fit into 107 bytes. */
#define MGR_VMS_DIR_MAX 58

/* What all VMs of a manager share; borrowed while any of them lives. */
struct mgr_vm_host {
    uv_loop_t *loop;
    const struct clock *clock;
    const struct mgr_settings *settings;
    struct mgr_memory *memory; /* promised to VMs, of all of them */
    const char *cgroup_base;   /* where cgroups of VMs are made, "" nowhere */
    const char *vms_dir;       /* absolute; each VM gets a directory beneath it */
    int records_fd;
    const char *cpu;     /* instead of the settings', "" theirs */
    const char *swtpm;   /* program, "" none                    */
    const char *gpu_bdf; /* a GPU of the host, "" none        */
    bool kvm, snp, tdx;

    /* Test hook, NULL otherwise: false makes the step fail after it was done. */
    bool (*inject)(const char *step, void *ctx);
    void (*undone)(const char *step, void *ctx); /* likewise: a step was undone */
    void *inject_ctx;
};

enum mgr_vm_state { MGR_VM_PROVISION, MGR_VM_RUNNING, MGR_VM_STOPPING };

struct mgr_vm;

struct mgr_vm_events {
    /* Once for a VM that was created: why is NULL when it runs. `ended` follows a failure. */
    void (*created)(struct mgr_vm *vm, const struct err *why, void *ctx);
    /* Once, last: everything of it is gone. cause is for people. vm is freed when this returns. */
    void (*ended)(struct mgr_vm *vm, const char *cause, void *ctx);
};

/* Begins to make a VM; request has been checked and is borrowed for the call only. */
bool mgr_vm_create(const struct mgr_vm_host *host, const Manager__CreateReq *request, uint64_t ttl_ms,
                   const struct mgr_vm_events *events, void *ctx, struct mgr_vm **ret,
                   struct err *e) MUST_CHECK;

/*
 * Takes over a VM of an earlier manager. When its QEMU is gone or can't be
 * watched, what is left of the VM is removed: its state is STOPPING at once,
 * and `ended` tells why, later. Fails only without memory; the VM is nobody's then.
 */
bool mgr_vm_adopt(const struct mgr_vm_host *host, const struct mgr_record *record,
                  const struct mgr_vm_events *events, void *ctx, struct mgr_vm **ret,
                  struct err *e) MUST_CHECK;

/* Ends it: asks the guest first when it runs. May be called in any state. */
void mgr_vm_remove(struct mgr_vm *vm, const char *cause);

/* Lets go of it without ending it: the next manager adopts it. No callback comes. */
void mgr_vm_abandon(struct mgr_vm *vm);

const char *mgr_vm_id(const struct mgr_vm *vm);
uint16_t mgr_vm_port(const struct mgr_vm *vm);
enum mgr_vm_state mgr_vm_state(const struct mgr_vm *vm);
const char *mgr_vm_state_name(enum mgr_vm_state state); /* "VmProvision", "VmRunning", "StopComputationRun" */
uint64_t mgr_vm_age_ms(const struct mgr_vm *vm);

/* The last max bytes of its console, appended; nothing before it has one. */
bool mgr_vm_console(const struct mgr_vm *vm, size_t max, struct buf *out, struct err *e) MUST_CHECK;

/* The command line it was started with, "" for one that was adopted. */
const struct mgr_argv *mgr_vm_argv(const struct mgr_vm *vm);

/* For `created` with a reason: the place in the order of the step that failed, or was to come next. */
size_t mgr_vm_failed_step(const struct mgr_vm *vm);

#define MGR_STEPS_MAX 24 /* at most so many steps */

/* The name of a step, by its place in the order; NULL behind the last one. For tests that fail each of them. */
const char *mgr_vm_step_name(size_t place);

/* A random (version 4) uuid; ret holds MGR_ID_LEN + 1 bytes. */
bool mgr_uuid(char *ret, struct err *e) MUST_CHECK;

#endif
