/* The step "cgroup": a cgroup of the VM's own for QEMU and its TPM, where this host lets us make one. */

#include "base/log.h"
#include "base/stage.h"
#include "host/cgroup.h"
#include "manager/sweep.h"
#include "manager/vm_int.h"

/* Its name is written down before it is made, so that whoever finds the directory finds it (sweep.h). */
static bool make(struct mgr_vm *vm, struct err *e)
{
    CLEANUP(fd_done) int dir_fd = -1;
    struct stage_file f = STAGE_FILE_INIT;
    char path[HOST_CGROUP_MAX];
    int n = snprintf(path, sizeof(path), "%s/" MGR_CGROUP_PREFIX "%s", vm->host->cgroup_base, vm->record.id);
    bool ok;

    if (n < 0 || (size_t)n >= sizeof(path))
        return err_fail(e, ERR_KIND_INVALID, "'%s' is too long", vm->host->cgroup_base);
    ok = stage_dir_open(vm->record.dir, 0700, &dir_fd, e) && stage_file_begin(dir_fd, &f, e) &&
         stage_file_write(&f, slice_of_str(path), e) &&
         stage_file_commit(&f, MGR_CGROUP_NOTE, 0600, true, e) && host_cgroup_make(path, &vm->cgroup_fd, e);
    stage_file_done(&f);
    return ok;
}

enum step_result mgr_vm_cgroup_make(struct mgr_vm *vm, struct err *e)
{
    if (!vm->host->cgroup_base[0])
        return STEP_DONE;
    return make(vm, e) ? STEP_DONE : STEP_FAILED;
}

enum step_result mgr_vm_cgroup_remove(struct mgr_vm *vm)
{
    struct err e = ERR_INIT;

    fd_done(&vm->cgroup_fd);
    if (vm->record.dir[0] && !mgr_sweep_cgroup(vm->record.dir, vm->record.id, &e))
        log_error("VM %s: %s", vm->record.id, err_text(&e));
    return STEP_DONE;
}
