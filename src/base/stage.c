#include "base/stage_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

void fd_done(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

bool stage_dir_open(const char *path, mode_t mode, int *ret_fd, struct err *e)
{
    CLEANUP(mem_done) char *part = mem_dup_str(path, e);

    if (!part)
        return false;
    if (path[0] == '\0')
        return err_fail(e, ERR_KIND_INVALID, "make a directory: its path is empty");
    for (size_t i = 1;; i++) {
        char c = part[i];

        if (c != '/' && c != '\0')
            continue;
        part[i] = '\0';
        /* What is in the way is told by the open below. */
        if (mkdir(part, mode) != 0 && errno != EEXIST && errno != EISDIR && errno != EROFS)
            return err_fail_os(e, "make directory '%s'", part);
        part[i] = c;
        if (c == '\0')
            break;
    }

    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_fail_os(e, "open directory '%s'", path);
    *ret_fd = fd;
    return true;
}

/* EPERM is what filters of old container runtimes say of a call that they do not know. */
static bool lacks_openat2(void)
{
    const struct open_how how = { .flags = O_PATH | O_CLOEXEC };
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how));

    if (fd >= 0)
        close(fd);
    return fd < 0 && (errno == ENOSYS || errno == EPERM);
}

int stage_openat(int dir_fd, const char *path, int flags, mode_t mode, bool follow)
{
    const struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .mode = (flags & O_CREAT) ? mode : 0,
        .resolve = RESOLVE_BENEATH | (follow ? RESOLVE_NO_MAGICLINKS : RESOLVE_NO_SYMLINKS),
    };
    int code;
    long fd;

    /* EAGAIN: a rename elsewhere made the kernel unsure whether ".." stays beneath. */
    for (int tries = 0; tries < 64; tries++) {
        fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    code = errno;
    if (fd < 0 && (code == ENOSYS || code == EPERM) && lacks_openat2())
        return stage_walk(dir_fd, path, flags, mode, follow);
    errno = code;
    return (int)fd;
}

bool stage_open_beneath(int dir_fd, const char *path, int flags, mode_t mode, int *ret_fd, struct err *e)
{
    char shown[TEXT_SHORT_SIZE];
    int fd = stage_openat(dir_fd, path, flags, mode, false);

    if (fd >= 0) {
        *ret_fd = fd;
        return true;
    }
    text_short(slice_of_str(path), shown);
    if (errno == EXDEV)
        return err_fail(e, ERR_KIND_DENIED, "open '%s': leads outside its directory", shown);
    if (errno == ELOOP)
        return err_fail(e, ERR_KIND_DENIED, "open '%s': a part of it is a symbolic link", shown);
    return err_fail_os(e, "open '%s'", shown);
}

/* C0, DEL, and C1 as UTF-8 has it. */
static bool has_control(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.at[i] < 0x20 || name.at[i] == 0x7f)
            return true;
        if (name.at[i] == 0xc2 && i + 1 < name.len && name.at[i + 1] < 0xa0)
            return true;
    }
    return false;
}

bool stage_name_check(struct slice name, struct err *e)
{
    char shown[TEXT_SHORT_SIZE];
    const char *fault = NULL;

    if (name.len == 0)
        return err_fail(e, ERR_KIND_INVALID, "the name is empty");
    if (name.len > STAGE_NAME_MAX)
        fault = "longer than 255 bytes";
    else if (slice_equal_str(name, ".") || slice_equal_str(name, ".."))
        fault = "names a directory, not a file";
    else if (slice_find(name, '/') < name.len)
        fault = "has a '/', a single name is wanted";
    else if (has_control(name))
        fault = "has control bytes";
    else if (!slice_is_utf8(name))
        fault = "is not UTF-8";
    else if (slice_starts(name, STAGE_PREFIX))
        fault = "is reserved for files being written";
    if (!fault)
        return true;
    text_short(name, shown);
    return err_fail(e, ERR_KIND_INVALID, "name '%s': %s", shown, fault);
}

bool stage_temp_name(char ret[48], struct err *e)
{
    uint8_t random[16];
    char hex[sizeof(random) * 2 + 1];

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return err_fail_os(e, "get random bytes");
    hex_encode(slice_of(random, sizeof(random)), hex);
    snprintf(ret, 48, STAGE_PREFIX "%s", hex);
    return true;
}

bool stage_file_begin(int dir_fd, struct stage_file *ret, struct err *e)
{
    struct stage_file f = STAGE_FILE_INIT;

    if (!stage_temp_name(f.temp, e))
        return false;
    f.dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
    if (f.dir_fd < 0)
        return err_fail_os(e, "stage a file");
    if (!stage_open_beneath(f.dir_fd, f.temp, O_RDWR | O_CREAT | O_EXCL, 0600, &f.fd, e)) {
        fd_done(&f.dir_fd);
        return err_wrap(e, "stage a file");
    }
    *ret = f;
    return true;
}

bool stage_file_write(struct stage_file *f, struct slice bytes, struct err *e)
{
    if (!stage_write_all(f->fd, bytes, e))
        return err_wrap(e, "stage a file, after %llu bytes", (unsigned long long)f->len);
    f->len += bytes.len;
    return true;
}

bool stage_sync_dir(int dir_fd, struct err *e)
{
    /* EINVAL: a file system without such a thing; then there is nothing to wait for. */
    if (fsync(dir_fd) != 0 && errno != EINVAL && errno != EROFS)
        return err_fail_os(e, "flush a directory");
    return true;
}

/* Within dir_fd; MISSING, or INVALID when to is there and replace is false. */
static bool rename_in(int dir_fd, const char *from, const char *to, bool replace, struct err *e)
{
    char shown[TEXT_SHORT_SIZE];
    int rc = renameat2(dir_fd, from, dir_fd, to, replace ? 0 : RENAME_NOREPLACE);

    /* Some file systems know no RENAME_NOREPLACE; a link refuses an existing name as well. */
    if (rc != 0 && errno == EINVAL && !replace) {
        rc = linkat(dir_fd, from, dir_fd, to, 0);
        if (rc == 0)
            unlinkat(dir_fd, from, 0);
    }
    if (rc == 0)
        return true;
    text_short(slice_of_str(to), shown);
    if (errno == EEXIST)
        return err_fail(e, ERR_KIND_INVALID, "name '%s': there is something of that name already", shown);
    return err_fail_os(e, "rename to '%s'", shown);
}

static bool put_in_place(struct stage_file *f, const char *name, mode_t mode, bool replace, bool flush,
                         struct err *e)
{
    bool renamed = false;
    bool ok = stage_name_check(slice_of_str(name), e);

    if (ok && fchmod(f->fd, mode) != 0)
        ok = err_fail_os(e, "set the mode of '%s'", name);
    if (ok && flush && fsync(f->fd) != 0)
        ok = err_fail_os(e, "flush '%s'", name);
    if (ok)
        ok = renamed = rename_in(f->dir_fd, f->temp, name, replace, e);
    if (renamed) {
        ok = !flush || stage_sync_dir(f->dir_fd, e);
        /* What was replaced can't come back, and the new file is whole: then it stays. */
        if (!ok && !replace)
            unlinkat(f->dir_fd, name, 0);
        fd_done(&f->fd);
        f->temp[0] = '\0';
    }
    stage_file_done(f);
    return ok;
}

bool stage_file_commit(struct stage_file *f, const char *name, mode_t mode, bool replace, struct err *e)
{
    return put_in_place(f, name, mode, replace, true, e);
}

bool stage_file_place(struct stage_file *f, const char *name, mode_t mode, bool replace, struct err *e)
{
    return put_in_place(f, name, mode, replace, false, e);
}

void stage_file_done(struct stage_file *f)
{
    if (f->dir_fd >= 0 && f->temp[0] != '\0')
        unlinkat(f->dir_fd, f->temp, 0);
    fd_done(&f->fd);
    fd_done(&f->dir_fd);
    *f = (struct stage_file)STAGE_FILE_INIT;
}

bool stage_read_fd(int fd, struct buf *out, struct err *e)
{
    for (;;) {
        /* One byte more than fits tells a file that ends from one that goes on. */
        size_t room = out->max - out->len;
        size_t want = room < 16384 ? room : 16384;
        uint8_t extra;
        uint8_t *at = &extra;

        if (want && !buf_reserve(out, want, &at, e))
            return false;

        size_t len;

        if (!file_read(fd, at, want ? want : 1, &len, e))
            return false;
        if (len == 0)
            return true;
        if (want == 0)
            return err_fail(e, ERR_KIND_LIMIT, "read: more than %zu bytes", out->max);
        buf_extend(out, len);
    }
}

bool stage_read_file(const char *path, struct buf *out, struct err *e)
{
    CLEANUP(fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_fail_os(e, "open '%s'", path);
    return stage_read_fd(fd, out, e) || err_wrap(e, "'%s'", path);
}

bool stage_write_all(int fd, struct slice bytes, struct err *e)
{
    while (bytes.len) {
        ssize_t n = write(fd, bytes.at, bytes.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            struct pollfd ready = { .fd = fd, .events = POLLOUT };

            if (poll(&ready, 1, -1) < 0 && errno != EINTR)
                return err_fail_os(e, "write");
            continue;
        }
        if (n < 0)
            return err_fail_os(e, "write");
        bytes = slice_after(bytes, (size_t)n);
    }
    return true;
}
