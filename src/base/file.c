#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/stage.h"

bool file_read(int fd, uint8_t *at, size_t max, size_t *ret_len, struct err *e)
{
    ssize_t n;

    do
        n = read(fd, at, max);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_fail_os(e, "read");
    *ret_len = (size_t)n;
    return true;
}

bool file_pread(int fd, uint64_t offset, uint8_t *at, size_t len, size_t *ret_len, struct err *e)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(fd, at + done, len - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_fail_os(e, "read");
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *ret_len = done;
    return true;
}

bool dir_list(int dir_fd, DIR **ret, struct err *e)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir) {
        err_fail_os(e, "list a directory");
        fd_done(&fd);
        return false;
    }
    *ret = dir;
    return true;
}

const char *dir_next(DIR *dir, bool *ret_ok, struct err *e)
{
    const struct dirent *entry;

    *ret_ok = true;
    for (;;) {
        errno = 0;
        entry = readdir(dir);
        if (!entry && errno != 0)
            *ret_ok = err_fail_os(e, "list a directory");
        if (!entry || (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0))
            return entry ? entry->d_name : NULL;
    }
}

void dir_done(DIR **dir)
{
    if (*dir)
        closedir(*dir);
    *dir = NULL;
}
