/* What vm.c (life) and vm_steps.c (making and unmaking) share. */
#ifndef MANAGER_VM_INT_H
#define MANAGER_VM_INT_H

#include <limits.h>

#include "base/child.h"
#include "manager/console.h"
#include "manager/ports.h"
#include "manager/qmp.h"
#include "manager/vm.h"

enum step_result { STEP_FAILED, STEP_DONE, STEP_WAIT };

/*
 * begin: STEP_WAIT when mgr_vm_step_done or mgr_vm_fail will be called later.
 * undo: must cope with a step that was never or only half begun; STEP_WAIT
 * when mgr_vm_undone will be called later.
 */
struct vm_step {
    const char *name;
    enum step_result (*begin)(struct mgr_vm *vm, struct err *e);
    enum step_result (*undo)(struct mgr_vm *vm);
};
extern const struct vm_step mgr_vm_steps[];
extern const size_t mgr_vm_step_count;

/* Whose end an undo waits for: the end of another process must not be taken for it. */
enum vm_awaits { VM_AWAITS_NOTHING, VM_AWAITS_QEMU, VM_AWAITS_TPM };

/* The disk while it is copied: see vm_disk.c. */
#define MGR_DISK_SAID_MAX ((size_t)64 * 1024)
struct vm_disk {
    struct child *child;   /* qemu-img, or NULL                        */
    unsigned command;      /* which of its commands runs               */
    struct buf said;       /* what it has written; what is over is cut */
    uint64_t gib;          /* size of the source, rounded up           */
    char source[PATH_MAX]; /* its absolute path                        */
};

/* The software TPM while it is started: see vm_tpm.c. */
#define MGR_TPM_SAID_MAX ((size_t)400)
struct vm_tpm {
    struct child *setup; /* swtpm_setup, or NULL                           */
    struct buf said;     /* what it wrote last                             */
    int fd;              /* of a question at its control socket, -1 none   */
    size_t got;          /* bytes of the answer                            */
    bool opened;         /* the socket is there                            */
    uint64_t since_ms;   /* of the loop: when swtpm was started            */
};

struct mgr_vm {
    const struct mgr_vm_host *host;
    const struct mgr_vm_events *events;
    void *ctx;
    struct mgr_record record; /* id, directory, port, processes */
    enum mgr_vm_state state;
    size_t step;   /* the one that runs or is undone            */
    size_t failed; /* the one that failed                         */
    bool unwinding;
    bool told; /* `created` was called                      */
    bool adopted;
    enum vm_awaits awaits;
    struct err why; /* of the failure, for `created`             */
    char cause[MGR_CAUSE_MAX];
    char guest_said[64]; /* the last QMP event about the guest's end */

    Manager__CreateReq *request; /* own copy, until the shares are written */
    uint64_t ttl_ms;
    struct mgr_port port;
    char vars[MGR_PATH_MAX];
    struct mgr_argv argv;
    struct vm_disk disk;
    struct vm_tpm tpm;
    struct mgr_process *qemu;
    struct mgr_process *swtpm;
    struct qmp *qmp;
    struct mgr_console *console;
    int log_fd;
    int cgroup_fd;          /* a process that writes 0 to it is in the VM's cgroup; -1 none */
    struct mgr_claim claim; /* its memory */
    uv_timer_t timer;       /* deadlines of steps; later the TTL */
    uv_timer_t grace;       /* swtpm has ended in order: QEMU's own end is awaited */
    unsigned open_timers;
    uint64_t stop_by_ms; /* when a guest that was asked to end must have ended */
    bool graceful;       /* the guest is asked before QEMU is killed */
};

void mgr_vm_step_done(struct mgr_vm *vm);

/* The undo that waits for this goes on; no other one does. */
void mgr_vm_undone(struct mgr_vm *vm, enum vm_awaits what);

/* Something went wrong, at any time: remembers why (the first time) and unwinds. */
void mgr_vm_fail(struct mgr_vm *vm, const struct err *why);

/* A path in the VM's directory; ret holds MGR_PATH_MAX bytes. */
void mgr_vm_path(const struct mgr_vm *vm, const char *name, char *ret);

/* Arms the VM's one timer; 0 ms disarms it. */
void mgr_vm_timer(struct mgr_vm *vm, uint64_t ms, uv_timer_cb then);

/* Connects QMP and then the console; used by the step and when adopting. */
bool mgr_vm_attach(struct mgr_vm *vm, struct err *e) MUST_CHECK;

/* The steps "admission", with its undo, and "space": vm_admit.c. */
enum step_result mgr_vm_check_space(struct mgr_vm *vm, struct err *e);
enum step_result mgr_vm_admit(struct mgr_vm *vm, struct err *e);
enum step_result mgr_vm_dismiss(struct mgr_vm *vm);

/* The step "cgroup" and its undo: vm_cgroup.c. */
enum step_result mgr_vm_cgroup_make(struct mgr_vm *vm, struct err *e);
enum step_result mgr_vm_cgroup_remove(struct mgr_vm *vm);

/* The step "disk" and its undo: vm_disk.c. */
enum step_result mgr_vm_disk_copy(struct mgr_vm *vm, struct err *e);
enum step_result mgr_vm_disk_stop(struct mgr_vm *vm);

/* The step "tpm" and its undo, and what of it does not outlive the manager: vm_tpm.c. */
enum step_result mgr_vm_tpm_start(struct mgr_vm *vm, struct err *e);
enum step_result mgr_vm_tpm_stop(struct mgr_vm *vm);
void mgr_vm_tpm_let_go(struct mgr_vm *vm);

/* on_exit of both processes. */
void mgr_vm_qemu_ended(const struct mgr_process_exit *how, void *ctx);
void mgr_vm_swtpm_ended(const struct mgr_process_exit *how, void *ctx);

#endif
