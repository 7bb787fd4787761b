/*
 * Processes that outlive the manager: QEMU and swtpm.
 *
 * Unlike base/child they are not tied to us, so that a manager that was
 * restarted finds its VMs running. A process is known by its pid, its start
 * time and the boot of the host; it is watched and signalled through a pidfd,
 * so a recycled pid never gets a signal meant for another. Case MG-5.
 */
#ifndef MANAGER_PROCESS_H
#define MANAGER_PROCESS_H

#include <sys/types.h>
#include <uv.h>

#include "base/err.h"

struct mgr_process;

struct mgr_process_exit {
    bool known; /* false for an adopted process: nobody but its parent learns how it ended */
    bool by_signal;
    int number; /* signal or exit code */
};
typedef void (*mgr_process_exit_fn)(const struct mgr_process_exit *how, void *ctx);

/* What has to be written down to find a process again. */
struct mgr_process_id {
    pid_t pid;
    uint64_t start_ticks; /* since boot, /proc/PID/stat field 22 */
};

/*
 * Starts argv[0] (looked up on PATH) in a session of its own, stdin from
 * /dev/null, stdout and stderr to log_fd (borrowed), in the cgroup whose
 * cgroup.procs is cgroup_fd (borrowed; -1: in ours), all other descriptors closed, the environment PATH and HOME only. on_exit comes once, on the loop.
 * MISSING and DENIED as for exec.
 */
bool mgr_process_spawn(uv_loop_t *loop, char *const *argv, int log_fd, int cgroup_fd,
                       mgr_process_exit_fn on_exit, void *ctx, struct mgr_process **ret,
                       struct err *e) MUST_CHECK;

/* Watches a process another manager started. MISSING when it is gone or the pid is another's now. */
bool mgr_process_adopt(uv_loop_t *loop, const struct mgr_process_id *id, mgr_process_exit_fn on_exit,
                       void *ctx, struct mgr_process **ret, struct err *e) MUST_CHECK;

struct mgr_process_id mgr_process_id(const struct mgr_process *p);

/* True when it has ended and on_exit is still to come; *ret tells what on_exit will. */
bool mgr_process_has_ended(const struct mgr_process *p, struct mgr_process_exit *ret);

/* Signals it, if it still runs. SIGKILL goes to its whole session's group. */
void mgr_process_signal(struct mgr_process *p, int signal);

/* Stops watching; the process runs on. No callback comes. Accepts NULL. */
void mgr_process_free(struct mgr_process *p);

#endif
