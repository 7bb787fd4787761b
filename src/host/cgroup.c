#include "host/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/stage.h"

#define TEXT_MAX ((size_t)1 << 20)
#define FIELDS_MAX 16

static size_t split(struct slice line, struct slice *ret, size_t max)
{
    size_t count = 0;

    while (line.len && count < max) {
        ret[count] = slice_first(line, slice_find(line, ' '));
        line = slice_after(line, ret[count++].len + 1);
    }
    return count;
}

/*
 * A line of mountinfo that is of cgroup2: what is mounted, and where. Fields 4
 * and 5; the type stands behind a lone '-', after a number of optional fields.
 */
static bool is_cgroup2(struct slice line, struct slice *ret_root, struct slice *ret_at)
{
    struct slice f[FIELDS_MAX];
    size_t count = split(line, f, FIELDS_MAX);

    for (size_t i = 6; i + 1 < count; i++)
        if (slice_equal_str(f[i], "-")) {
            *ret_root = f[3];
            *ret_at = f[4];
            return slice_equal_str(f[i + 1], "cgroup2");
        }
    return false;
}

/* "0::/path" of /proc/self/cgroup: the one of version 2. */
static struct slice own_of(struct slice self)
{
    for (; self.len; self = slice_after(self, slice_find(self, '\n') + 1))
        if (slice_starts(self, "0::/"))
            return slice_after(slice_first(self, slice_find(self, '\n')), 3);
    return SLICE_EMPTY;
}

/* own without the part that is not mounted; false when it lies elsewhere. */
static bool beneath(struct slice root, struct slice own, struct slice *ret)
{
    if (root.len == 1) {
        *ret = own;
        return true;
    }
    *ret = slice_after(own, root.len);
    return own.len >= root.len && slice_equal(slice_first(own, root.len), root) &&
           (ret->len == 0 || ret->at[0] == '/');
}

bool host_cgroup_path(struct slice mountinfo, struct slice self, char *ret, struct err *e)
{
    struct slice own = own_of(self);
    struct slice root;
    struct slice at;
    struct slice rest;

    if (own.len == 0)
        return err_fail(e, ERR_KIND_UNSUPPORTED, "this process is in no cgroup of version 2");
    if (slice_starts(own, "/.."))
        return err_fail(e, ERR_KIND_UNSUPPORTED, "its cgroup lies outside of what is seen here");
    for (; mountinfo.len; mountinfo = slice_after(mountinfo, slice_find(mountinfo, '\n') + 1)) {
        struct slice line = slice_first(mountinfo, slice_find(mountinfo, '\n'));

        /* A backslash writes an odd byte of a path; no cgroup is mounted at such. */
        if (!is_cgroup2(line, &root, &at) || slice_find(at, '\\') < at.len || !beneath(root, own, &rest))
            continue;
        if (rest.len == 1)
            rest.len = 0; /* "/" */
        if (at.len + rest.len >= HOST_CGROUP_MAX)
            return err_fail(e, ERR_KIND_UNSUPPORTED, "the path of its cgroup is too long");
        snprintf(ret, HOST_CGROUP_MAX, "%.*s%.*s", (int)at.len, (const char *)at.at, (int)rest.len,
                 rest.len ? (const char *)rest.at : "");
        return true;
    }
    return err_fail(e, ERR_KIND_UNSUPPORTED, "no cgroup of version 2 is mounted");
}

static bool join(const char *path, const char *name, char *ret, struct err *e)
{
    int n = snprintf(ret, 2 * HOST_CGROUP_MAX, "%s/%s", path, name);

    return (n > 0 && n < 2 * HOST_CGROUP_MAX) || err_fail(e, ERR_KIND_INVALID, "'%s' is too long", path);
}

bool host_cgroup_own(char *ret, struct err *e)
{
    CLEANUP(buf_done) struct buf mounts = BUF_INIT(TEXT_MAX);
    CLEANUP(buf_done) struct buf self = BUF_INIT(TEXT_MAX);
    CLEANUP(fd_done) int fd = -1;
    char own[HOST_CGROUP_MAX];
    char path[2 * HOST_CGROUP_MAX];
    char name[32];
    bool ok;

    if (!stage_read_file("/proc/self/mountinfo", &mounts, e) ||
        !stage_read_file("/proc/self/cgroup", &self, e) ||
        !host_cgroup_path(buf_slice(&mounts), buf_slice(&self), own, e) ||
        !join(own, "cgroup.procs", path, e))
        return false;
    /* To move a process the kernel asks for the group that it comes from as well. */
    if (access(path, W_OK) != 0)
        return err_fail_os(e, "write %s", path);
    snprintf(name, sizeof(name), "cocos-try-%d", (int)getpid());
    if (!join(own, name, path, e) || !host_cgroup_make(path, &fd, e))
        return false;
    ok = host_cgroup_remove(path, 0, e);
    if (ok)
        memcpy(ret, own, sizeof(own));
    return ok;
}

bool host_cgroup_make(const char *path, int *ret_procs_fd, struct err *e)
{
    char procs[2 * HOST_CGROUP_MAX];
    int fd;

    if (!join(path, "cgroup.procs", procs, e))
        return false;
    if (mkdir(path, 0755) != 0)
        return err_fail_os(e, "make cgroup %s", path);
    fd = open(procs, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        err_fail_os(e, "open %s", procs);
        rmdir(path);
        return false;
    }
    *ret_procs_fd = fd;
    return true;
}

/* Since Linux 5.14; without it what is in there has to end by other means. */
static void kill_all(int dir_fd)
{
    CLEANUP(fd_done) int fd = openat(dir_fd, "cgroup.kill", O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, "1", 1) != 1)
        return; /* that it is not empty is told by its removal */
}

bool host_cgroup_remove(const char *path, unsigned wait_ms, struct err *e)
{
    CLEANUP(fd_done) int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    CLEANUP(fd_done) int events_fd = -1;
    uint64_t until = clock_mono_ms(clock_system()) + wait_ms;
    struct statfs fs;
    char text[256];

    if (dir_fd < 0)
        return errno == ENOENT || err_fail_os(e, "open cgroup %s", path);
    if (fstatfs(dir_fd, &fs) != 0 || fs.f_type != CGROUP2_SUPER_MAGIC)
        return err_fail(e, ERR_KIND_INVALID, "%s is no cgroup", path);
    kill_all(dir_fd);
    events_fd = openat(dir_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
    for (;;) {
        struct pollfd change = { events_fd, POLLPRI, 0 };
        uint64_t now;

        /* Read before the attempt: a change behind it wakes the poll. */
        if (events_fd >= 0 && pread(events_fd, text, sizeof(text), 0) < 0)
            return err_fail_os(e, "read %s/cgroup.events", path);
        if (rmdir(path) == 0 || errno == ENOENT)
            return true;
        if (errno != EBUSY)
            return err_fail_os(e, "remove cgroup %s", path);
        now = clock_mono_ms(clock_system());
        if (now >= until)
            return err_fail(e, ERR_KIND_TIMEOUT, "cgroup %s: what is in it does not end", path);
        poll(&change, 1, (int)(until - now));
    }
}
