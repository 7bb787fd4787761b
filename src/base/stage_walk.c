/*
 * Opening beneath a directory where the kernel has no openat2: before Linux
 * 5.6, in containers whose seccomp filter predates it, under valgrind.
 *
 * Each component is opened by itself and never through a link (O_NOFOLLOW);
 * a link that may be followed is read, and its text walked likewise. The
 * directories on the way stay open, so ".." means the one we came by, whatever
 * is renamed meanwhile. So no step leaves the directory, as with openat2.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/stage_int.h"

#define DEPTH_MAX 256 /* directories open at once            */
#define LINKS_MAX 40  /* as many as the kernel bears         */
#define TRIES_MAX 64  /* at one name that keeps changing     */

struct walk {
    int top; /* borrowed */
    int flags;
    mode_t mode;
    bool follow;
    int dirs[DEPTH_MAX]; /* ours, the deepest last */
    size_t depth;
    unsigned links;
    unsigned tries;
    char left[PATH_MAX]; /* what is still to be walked */
};

enum step { STEP_FAILED, STEP_ON, STEP_DONE };

static int here(const struct walk *w)
{
    return w->depth > 0 ? w->dirs[w->depth - 1] : w->top;
}

static enum step fail_with(int code)
{
    errno = code;
    return STEP_FAILED;
}

static enum step done_if(int fd, int *ret)
{
    *ret = fd;
    return fd >= 0 ? STEP_DONE : STEP_FAILED;
}

/* The first name of left goes to ret, without the slashes behind it; *ret_more: something follows. */
static bool take_name(struct walk *w, char ret[NAME_MAX + 1], bool *ret_slash, bool *ret_more)
{
    size_t len = strcspn(w->left, "/");
    size_t slashes = strspn(w->left + len, "/");

    if (len > NAME_MAX)
        return false;
    memcpy(ret, w->left, len);
    ret[len] = '\0';
    *ret_slash = slashes > 0;
    *ret_more = w->left[len + slashes] != '\0';
    memmove(w->left, w->left + len + slashes, strlen(w->left + len + slashes) + 1);
    return true;
}

static bool is_link(const struct walk *w, const char *name)
{
    struct stat st;

    return fstatat(here(w), name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
}

/* What the link says comes before what was left behind it. */
static enum step follow_link(struct walk *w, const char *name, bool slash)
{
    char target[PATH_MAX];
    ssize_t len;
    size_t left;

    if (!w->follow)
        return fail_with(ELOOP);
    len = readlinkat(here(w), name, target, sizeof(target));
    if (len < 0 && errno == EINVAL) /* no link any more */
        return fail_with(EAGAIN);
    if (len < 0)
        return STEP_FAILED;
    left = strlen(w->left);
    if (++w->links > LINKS_MAX)
        return fail_with(ELOOP);
    if (len == 0 || target[0] == '/')
        return fail_with(len == 0 ? ENOENT : EXDEV);
    if ((size_t)len + 1 + left >= sizeof(w->left))
        return fail_with(ENAMETOOLONG);
    memmove(w->left + len + slash, w->left, left + 1);
    memcpy(w->left, target, (size_t)len);
    if (slash)
        w->left[len] = '/';
    return STEP_ON;
}

static enum step enter(struct walk *w, const char *name, bool slash)
{
    int fd = openat(here(w), name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOTDIR && is_link(w, name) ? follow_link(w, name, slash) : fail_with(errno);
    if (w->depth == DEPTH_MAX) {
        close(fd);
        return fail_with(ENAMETOOLONG);
    }
    w->dirs[w->depth++] = fd;
    return STEP_ON;
}

static enum step leave(struct walk *w)
{
    if (w->depth == 0)
        return fail_with(EXDEV);
    close(w->dirs[--w->depth]);
    return STEP_ON;
}

static enum step open_last(struct walk *w, const char *name, int *ret)
{
    int fd = openat(here(w), name, w->flags | O_NOFOLLOW | O_CLOEXEC, w->mode);
    struct stat st;

    if (fd < 0) {
        int code = errno;

        /* ENOTDIR: with O_DIRECTORY. Who asked not to follow gets what the kernel says. */
        if ((code == ELOOP || code == ENOTDIR) && !(w->flags & O_NOFOLLOW) && is_link(w, name))
            return follow_link(w, name, false);
        return fail_with(code);
    }
    /* A link can be opened by itself with O_PATH, which only O_NOFOLLOW asks for. */
    if ((w->flags & (O_PATH | O_NOFOLLOW)) == O_PATH && fstat(fd, &st) == 0 && S_ISLNK(st.st_mode)) {
        close(fd);
        return follow_link(w, name, false);
    }
    return done_if(fd, ret);
}

static enum step step(struct walk *w, int *ret)
{
    bool slash, more, is_dot, is_up;
    char name[NAME_MAX + 1];
    enum step s;

    if (!take_name(w, name, &slash, &more))
        return fail_with(ENAMETOOLONG);
    is_dot = strcmp(name, ".") == 0;
    is_up = strcmp(name, "..") == 0;
    if (!is_dot && !is_up && !slash)
        return open_last(w, name, ret);
    if (!more && (w->flags & O_CREAT))
        return fail_with(EISDIR);
    s = is_dot ? STEP_ON : is_up ? leave(w) : enter(w, name, slash);
    /* Behind a link that was followed there is more again. */
    if (s != STEP_ON || w->left[0] != '\0')
        return s;
    return done_if(openat(here(w), ".", w->flags | O_DIRECTORY | O_CLOEXEC), ret);
}

static int walk(struct walk *w)
{
    enum step s = STEP_ON;
    int fd = -1, code;

    while (s == STEP_ON)
        s = step(w, &fd);
    code = errno;
    while (w->depth > 0)
        close(w->dirs[--w->depth]);
    errno = code;
    return s == STEP_DONE ? fd : -1;
}

int stage_walk(int dir_fd, const char *path, int flags, mode_t mode, bool follow)
{
    struct walk w = { .top = dir_fd, .flags = flags, .mode = mode, .follow = follow };
    size_t len = strlen(path);
    int fd;

    if (len >= sizeof(w.left))
        errno = ENAMETOOLONG;
    else if (len == 0 || path[0] == '/')
        errno = len == 0 ? ENOENT : EXDEV;
    if (len >= sizeof(w.left) || len == 0 || path[0] == '/')
        return -1;
    do {
        memcpy(w.left, path, len + 1);
        w.links = 0;
        fd = walk(&w);
    } while (fd < 0 && errno == EAGAIN && ++w.tries < TRIES_MAX);
    return fd;
}
