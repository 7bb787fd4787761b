/* The steps "admission" and "space": whether this host has memory and disk for one more VM. */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/text.h"
#include "manager/vm_int.h"

/* Shares, log, sockets and the state of a TPM; and a record, beneath the state directory. */
#define VM_BYTES ((uint64_t)1 << 20)
#define RECORD_BYTES ((uint64_t)64 << 10)

static uint64_t bytes_on_disk(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512
                                : 0; /* that it is missing is for its own step */
}

/* What a VM puts into its directory; a disk's copy grows later, and is as sparse as its source. */
static uint64_t bytes_needed(const struct mgr_vm_host *h)
{
    const struct mgr_qemu_settings *q = &h->settings->qemu;
    uint64_t sum = VM_BYTES;

    if (!h->snp && !h->tdx && strcmp(q->boot, "measured") == 0)
        sum += bytes_on_disk(q->ovmf_vars_file);
    if (q->enable_disk)
        sum += bytes_on_disk(q->src_disk_file);
    return sum;
}

static bool check_space(const struct statvfs *fs, const char *variable, const char *dir, uint64_t need,
                        struct err *e)
{
    uint64_t have = (uint64_t)fs->f_bavail * fs->f_frsize;
    char need_text[24];
    char have_text[24];

    if (have >= need)
        return true;
    text_format_bytes(need, need_text);
    text_format_bytes(have, have_text);
    return err_fail(e, ERR_KIND_LIMIT,
                    "%s has %s free and a VM needs %s there: make room, or name another directory with %s",
                    dir, have_text, need_text, variable);
}

/* A disk may fill up a moment later; then the step that writes fails. Here it is found before anything is made. */
static bool have_space(const struct mgr_vm_host *h, struct err *e)
{
    struct statvfs fs;

    if (statvfs(h->vms_dir, &fs) != 0)
        return err_fail_os(e, "look at %s", h->vms_dir);
    if (!check_space(&fs, "COCOS_RUN_DIR", h->vms_dir, bytes_needed(h), e))
        return false;
    if (fstatvfs(h->records_fd, &fs) != 0)
        return err_fail_os(e, "look at %s/manager", h->settings->state_dir);
    return check_space(&fs, "COCOS_STATE_DIR", h->settings->state_dir, RECORD_BYTES, e);
}

enum step_result mgr_vm_check_space(struct mgr_vm *vm, struct err *e)
{
    return have_space(vm->host, e) ? STEP_DONE : STEP_FAILED;
}

enum step_result mgr_vm_admit(struct mgr_vm *vm, struct err *e)
{
    uint64_t bytes = 0;

    return mgr_memory_bytes(vm->host->settings->qemu.memory_size, &bytes, e) &&
                   mgr_memory_claim(vm->host->memory, &vm->claim, bytes, e)
               ? STEP_DONE
               : STEP_FAILED;
}

enum step_result mgr_vm_dismiss(struct mgr_vm *vm)
{
    mgr_memory_release(vm->host->memory, &vm->claim);
    return STEP_DONE;
}
