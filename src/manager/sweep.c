#include "manager/sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/stage.h"
#include "base/text.h"
#include "host/cgroup.h"
#include "manager/record.h"

#define CMDLINE_MAX ((size_t)256 * 1024)
#define END_WAIT_MS 5000
#define DIR_MAX 512

/*
 * True when it is a QEMU or swtpm of that directory. Its sockets and state
 * are looked for, not merely its name: whoever reads a file in it is spared.
 */
static bool names_dir(const char *pid, const char *dir)
{
    CLEANUP(buf_done) struct buf args = BUF_INIT(CMDLINE_MAX);
    struct err e = ERR_INIT;
    char path[64];
    char qemu[DIR_MAX + 16];
    char swtpm[DIR_MAX + 16];
    char setup[DIR_MAX + 16]; /* the swtpm that swtpm_setup starts */

    snprintf(path, sizeof(path), "/proc/%.16s/cmdline", pid);
    if (!stage_read_file(path, &args, &e) || args.len == 0)
        return false;
    snprintf(qemu, sizeof(qemu), "unix:%s/qmp,", dir);
    snprintf(swtpm, sizeof(swtpm), "dir=%s/tpm", dir);
    snprintf(setup, sizeof(setup), "dir://%s/tpm", dir);
    return memmem(buf_slice(&args).at, args.len, qemu, strlen(qemu)) ||
           memmem(buf_slice(&args).at, args.len, swtpm, strlen(swtpm)) ||
           memmem(buf_slice(&args).at, args.len, setup, strlen(setup));
}

static bool kill_one(const char *pid, const char *dir)
{
    struct err e = ERR_INIT;
    uint64_t number;

    if (!text_parse_u64(slice_of_str(pid), 2, INT32_MAX, &number, &e) || (pid_t)number == getpid())
        return false;
    if (!names_dir(pid, dir))
        return false;

    CLEANUP(fd_done) int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)number, 0);
    struct pollfd end = { pidfd, POLLIN, 0 };

    /* Looked at again now that the pidfd holds it fast: the pid may have changed hands. */
    if (pidfd < 0 || !names_dir(pid, dir) || syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) != 0)
        return false;
    poll(&end, 1, END_WAIT_MS);
    return true;
}

static unsigned kill_all(const char *dir)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    unsigned killed = 0;

    while (proc && (entry = readdir(proc)))
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && kill_one(entry->d_name, dir))
            killed++;
    if (proc)
        closedir(proc);
    return killed;
}

bool mgr_sweep_cgroup(const char *dir, const char *id, struct err *e)
{
    CLEANUP(buf_done) struct buf note = BUF_INIT(HOST_CGROUP_MAX);
    char path[DIR_MAX + 16];
    char want[MGR_ID_LEN + 16];

    snprintf(path, sizeof(path), "%.*s/" MGR_CGROUP_NOTE, DIR_MAX, dir);
    snprintf(want, sizeof(want), "/" MGR_CGROUP_PREFIX "%.*s", MGR_ID_LEN, id);
    if (access(path, F_OK) != 0)
        return true;
    if (!stage_read_file(path, &note, e))
        return false;
    if (!slice_starts(buf_slice(&note), "/") || !slice_ends(buf_slice(&note), want))
        return err_fail(e, ERR_KIND_INVALID, "%s: the name of this VM's cgroup is wanted", path);

    const char *name = buf_str(&note, e);

    return name && host_cgroup_remove(name, END_WAIT_MS, e);
}

bool mgr_sweep_vm(const char *vms_dir, const char *id, unsigned *ret_killed, struct err *e)
{
    CLEANUP(fd_done) int fd = open(vms_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char dir[DIR_MAX];
    int n = snprintf(dir, sizeof(dir), "%s/%s", vms_dir, id);

    if (n < 0 || (size_t)n >= sizeof(dir))
        return err_fail(e, ERR_KIND_INVALID, "'%s/%s' is too long", vms_dir, id);
    if (fd < 0)
        return err_fail_os(e, "open %s", vms_dir);
    *ret_killed = kill_all(dir);
    return (mgr_sweep_cgroup(dir, id, e) && stage_remove_tree(fd, id, e)) ||
           err_wrap(e, "remove what is left of VM %s", id);
}

bool mgr_sweep(const char *vms_dir, bool (*keep)(const char *id, void *ctx),
               void (*swept)(const char *id, unsigned killed, void *ctx), void *ctx, struct err *e)
{
    DIR *dir = opendir(vms_dir);
    struct dirent *entry;
    bool ok = true;

    if (!dir)
        return err_fail_os(e, "list %s", vms_dir);
    while ((entry = readdir(dir))) {
        struct err why = ERR_INIT;
        unsigned killed;

        if (entry->d_name[0] == '.' || keep(entry->d_name, ctx))
            continue;
        if (mgr_sweep_vm(vms_dir, entry->d_name, &killed, &why)) {
            swept(entry->d_name, killed, ctx);
            continue;
        }
        if (ok)
            *e = why;
        ok = false;
    }
    closedir(dir);
    return ok;
}
