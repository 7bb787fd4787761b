#include "hal/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/stage.h"

struct mount_row {
    const char *source;
    const char *target;
    const char *type;
    unsigned long flags;
    const char *data;
    bool optional; /* a kernel without it is fine */
};

static const struct mount_row mounts[] = {
    { "proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "", false },
    { "sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "", false },
    { "devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755", false },
    { "tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755", false },
    { "tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", false },
    { "cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, "", true },
    { "securityfs", "/sys/kernel/security", "securityfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "", true },
};

/* 0700: only the agent and the runner, both root, have business in them. */
static const struct {
    const char *path;
    mode_t mode;
} directories[] = {
    { "/run/cocos", 0755 }, { "/var/lib/cocos", 0700 }, { "/var/log/cocos", 0755 },
    { "/cocos", 0700 },     { "/etc/cocos", 0700 },     { "/etc/certs", 0700 },
};

static bool make_directory(const char *path, mode_t mode, struct err *e)
{
    CLEANUP(fd_done) int fd = -1;

    return stage_dir_open(path, mode, &fd, e);
}

bool hal_mount_all(struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(mounts); i++) {
        const struct mount_row *m = &mounts[i];

        mkdir(m->target, 0755); /* what matters is whether the mount succeeds */
        if (mount(m->source, m->target, m->type, m->flags, m->data) != 0 && errno != EBUSY && !m->optional)
            return err_fail_os(e, "mount %s at %s", m->type, m->target);
    }
    for (size_t i = 0; i < ARRAY_LEN(directories); i++)
        if (!make_directory(directories[i].path, directories[i].mode, e))
            return err_wrap(e, "make %s", directories[i].path);
    return true;
}

static bool load_module(const char *name, struct err *e)
{
    char path[256];
    int n = snprintf(path, sizeof(path), "%s/%s", HAL_MODULE_DIR, name);

    if (n < 0 || (size_t)n >= sizeof(path))
        return err_fail(e, ERR_KIND_INVALID, "module name '%s' is too long", name);

    CLEANUP(fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_fail_os(e, "open %s", path);
    if (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST)
        return err_fail_os(e, "load %s", path);
    return true;
}

bool hal_load_modules(const char *list, size_t *ret_count, struct err *e)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(64 * 1024);
    char path[256];
    size_t count = 0;

    snprintf(path, sizeof(path), "%s/%s", HAL_MODULE_DIR, list);
    if (!stage_read_file(path, &text, e))
        return false;
    for (struct slice left = buf_slice(&text); left.len;) {
        size_t len = slice_find(left, '\n');
        struct slice name = slice_first(left, len);
        char file[128];

        left = slice_after(left, len + 1);
        if (name.len == 0)
            continue;
        if (name.len >= sizeof(file))
            return err_fail(e, ERR_KIND_INVALID, "%s: a name of %zu bytes", path, name.len);
        memcpy(file, name.at, name.len);
        file[name.len] = '\0';
        if (!load_module(file, e))
            return false;
        count++;
    }
    if (ret_count)
        *ret_count = count;
    return true;
}

bool hal_mount_share(const char *tag, const char *path, bool read_only, bool *ret_there, struct err *e)
{
    unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | (read_only ? MS_RDONLY : 0);

    if (!make_directory(path, 0700, e))
        return err_wrap(e, "make %s", path);
    *ret_there = mount(tag, path, "9p", flags, "trans=virtio,version=9p2000.L,msize=262144,cache=mmap") == 0;
    if (!*ret_there && errno != ENOENT)
        return err_fail_os(e, "mount the share %s at %s", tag, path);
    return true;
}
