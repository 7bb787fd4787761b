/* Removing what staged files and foreign programs leave behind. */
#include "base/stage_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

/*
 * Opens a directory to empty it. Whoever made it may have taken our own
 * rights away, which are put back first, and never through a link.
 */
static bool open_to_empty(int dir_fd, const char *name, int *ret_fd, struct err *e)
{
    CLEANUP(fd_done) int path_fd = openat(dir_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    char self[64];
    struct stat st;

    if (path_fd < 0)
        return err_fail_os(e, "open a directory to remove it");
    if (fstat(path_fd, &st) == 0 && (st.st_mode & 0700) != 0700) {
        snprintf(self, sizeof(self), "/proc/self/fd/%d", path_fd);
        (void)!chmod(self, 0700); /* the open below tells */
    }

    int fd = openat(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_fail_os(e, "open a directory to remove it");
    *ret_fd = fd;
    return true;
}

enum unlinked { UNLINK_GONE, UNLINK_IS_FULL_DIR, UNLINK_FAILED };

/* Removes a file, a link or an empty directory. */
static enum unlinked unlink_any(int dir_fd, const char *name, struct err *e)
{
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return UNLINK_GONE;
    if (errno == EISDIR || errno == EPERM) {
        if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
            return UNLINK_GONE;
        if (errno == ENOTEMPTY || errno == EEXIST)
            return UNLINK_IS_FULL_DIR;
    }
    err_fail_os(e, "remove");
    return UNLINK_FAILED;
}

/* Empties name beneath top_fd; directories in it that are not empty are moved up to top_fd. */
static bool flatten(int top_fd, const char *name, struct err *e)
{
    CLEANUP(dir_done) DIR *dir = NULL;
    CLEANUP(fd_done) int fd = -1;
    const char *entry;
    bool ok;

    if (!open_to_empty(top_fd, name, &fd, e) || !dir_list(fd, &dir, e))
        return false;
    while ((entry = dir_next(dir, &ok, e)) != NULL) {
        CLEANUP(fd_done) int sub_fd = -1;
        char moved[48];

        switch (unlink_any(fd, entry, e)) {
        case UNLINK_GONE: continue;
        case UNLINK_FAILED: return false;
        case UNLINK_IS_FULL_DIR: break;
        }
        /* Opening it gives us the right to move it. */
        if (!open_to_empty(fd, entry, &sub_fd, e) || !stage_temp_name(moved, e))
            return false;
        if (renameat(fd, entry, top_fd, moved) != 0)
            return err_fail_os(e, "move a directory to remove it");
    }
    return ok;
}

/* One pass over top_fd. *ret_again when something was found that may have left more. */
static bool empty_pass(int top_fd, bool *ret_again, struct err *e)
{
    CLEANUP(dir_done) DIR *dir = NULL;
    const char *entry;
    bool ok;

    *ret_again = false;
    if (!dir_list(top_fd, &dir, e))
        return false;
    while ((entry = dir_next(dir, &ok, e)) != NULL) {
        *ret_again = true;
        switch (unlink_any(top_fd, entry, e)) {
        case UNLINK_GONE: continue;
        case UNLINK_FAILED: return false;
        case UNLINK_IS_FULL_DIR: break;
        }
        if (!flatten(top_fd, entry, e))
            return false;
    }
    return ok;
}

/*
 * Not by recursion: a tree may be as deep as whoever made it liked, and
 * neither the stack nor our file descriptors are his to spend.
 */
bool stage_remove_tree(int dir_fd, const char *name, struct err *e)
{
    CLEANUP(fd_done) int top_fd = -1;
    char shown[TEXT_SHORT_SIZE];
    bool again = true;

    text_short(slice_of_str(name), shown);
    switch (unlink_any(dir_fd, name, e)) {
    case UNLINK_GONE: return true;
    case UNLINK_FAILED: return err_wrap(e, "'%s'", shown);
    case UNLINK_IS_FULL_DIR: break;
    }
    if (!open_to_empty(dir_fd, name, &top_fd, e))
        return err_wrap(e, "'%s'", shown);
    while (again)
        if (!empty_pass(top_fd, &again, e))
            return err_wrap(e, "beneath '%s'", shown);
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return err_fail_os(e, "remove directory '%s'", shown);
    return true;
}

bool stage_sweep(int dir_fd, struct err *e)
{
    CLEANUP(dir_done) DIR *dir = NULL;
    const char *entry;
    bool ok;

    if (!dir_list(dir_fd, &dir, e))
        return false;
    while ((entry = dir_next(dir, &ok, e)) != NULL) {
        if (strncmp(entry, STAGE_PREFIX, strlen(STAGE_PREFIX)) != 0)
            continue;
        if (!stage_remove_tree(dir_fd, entry, e))
            return false;
    }
    return ok;
}
