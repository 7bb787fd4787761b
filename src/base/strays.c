#include "base/strays.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/stage.h"
#include "base/text.h"

/* Found in one round; the others are met in the next. */
#define ROUND_MAX 1024

/* The kernel's list of children is quick to read; that all of /proc agrees is looked at now and then. */
#define QUICK_ROUNDS 32

/* How long a child that was killed may take to end before we look again. */
#define PAUSE_MS 5

struct round {
    const pid_t *spare;
    size_t spare_count;
    pid_t found[ROUND_MAX];
    size_t count;
};

bool strays_adopt(struct err *e)
{
    return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 || err_fail_os(e, "adopt orphaned processes");
}

static void find(struct round *r, pid_t pid)
{
    for (size_t i = 0; i < r->spare_count; i++)
        if (r->spare[i] == pid)
            return;
    if (pid > 1 && r->count < ROUND_MAX)
        r->found[r->count++] = pid;
}

/* The children that the first thread has: those it forked, and all that were adopted. */
static void find_quickly(struct round *r)
{
    CLEANUP(fd_done) int fd = -1;
    char path[64], text[4096], *at = text, *end;
    ssize_t len;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    fd = open(path, O_RDONLY | O_CLOEXEC);
    len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (len <= 0)
        return;
    /* The last number may be cut off: then it is left for the next round. */
    while (len > 0 && text[len - 1] != ' ')
        len--;
    text[len] = '\0';
    for (long pid; (pid = strtol(at, &end, 10)) > 0 && end != at; at = end)
        find(r, (pid_t)pid);
}

/* The parent in a line of /proc/<pid>/stat, behind the name, which may hold anything; 0: none. */
static pid_t parent_of(const char *pid)
{
    CLEANUP(fd_done) int fd = -1;
    char path[320], text[512];
    const char *behind;
    ssize_t len;

    snprintf(path, sizeof(path), "/proc/%s/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (len <= 0)
        return 0;
    text[len] = '\0';
    behind = strrchr(text, ')');
    /* ") S 17" */
    return behind && strlen(behind) > 4 ? (pid_t)strtol(behind + 4, NULL, 10) : 0;
}

/* All of /proc: also what a thread other than the first one forked, and where the kernel keeps no list. */
static void find_thoroughly(struct round *r)
{
    DIR *dir = opendir("/proc");
    pid_t self = getpid();
    const struct dirent *d;

    while (dir && (d = readdir(dir)))
        if (d->d_name[0] >= '1' && d->d_name[0] <= '9' && parent_of(d->d_name) == self)
            find(r, (pid_t)strtol(d->d_name, NULL, 10));
    if (dir)
        closedir(dir);
}

/*
 * All are stopped before the first is killed, so that none sees another end
 * and acts on it. True when one was reaped.
 */
static bool kill_found(const struct round *r)
{
    bool any = false;

    for (size_t i = 0; i < r->count; i++)
        (void)kill(r->found[i], SIGSTOP);
    for (size_t i = 0; i < r->count; i++)
        (void)kill(r->found[i], SIGKILL);
    for (size_t i = 0; i < r->count; i++)
        any = waitpid(r->found[i], NULL, WNOHANG) > 0 || any;
    return any;
}

/* Until the child has ended, or a moment has passed. */
static void wait_for(pid_t pid)
{
    CLEANUP(fd_done) int fd = (int)syscall(SYS_pidfd_open, pid, 0U);
    struct pollfd end = { .fd = fd, .events = POLLIN };

    (void)poll(&end, 1, PAUSE_MS); /* one that has no descriptor is left out, and only time passes */
}

static bool still_there(const struct round *r, uint64_t timeout_ms, struct err *e)
{
    CLEANUP(fd_done) int fd = -1;
    char path[64], name[32] = "?", shown[TEXT_SHORT_SIZE], took[32];
    ssize_t len;

    text_format_duration_ms(timeout_ms, took);
    if (r->count == 0)
        return err_fail(e, ERR_KIND_TIMEOUT, "processes could not be found in /proc within %s", took);
    snprintf(path, sizeof(path), "/proc/%d/comm", (int)r->found[0]);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    len = fd < 0 ? -1 : read(fd, name, sizeof(name));
    text_short(slice_of(name, len > 0 ? (size_t)len - 1 : 1), shown);
    return err_fail(e, ERR_KIND_TIMEOUT,
                    "processes could not be ended within %s: %zu are left, one is %d (%s)", took, r->count,
                    (int)r->found[0], shown);
}

bool strays_end(const pid_t *spare, size_t spare_count, uint64_t timeout_ms, struct err *e)
{
    uint64_t ends_ms = clock_mono_ms(clock_system()) + timeout_ms;
    struct round r = { .spare = spare, .spare_count = spare_count };

    for (unsigned n = 0;; n++) {
        bool thorough = n % QUICK_ROUNDS == 0;

        /* The kernel's word, which no process that keeps forking can slip past. */
        if (spare_count == 0 && waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
            return true;
        r.count = 0;
        if (!thorough)
            find_quickly(&r);
        if (r.count == 0) {
            find_thoroughly(&r);
            if (r.count == 0 && spare_count > 0)
                return true;
        }
        if (clock_mono_ms(clock_system()) >= ends_ms)
            return still_there(&r, timeout_ms, e);
        if (!kill_found(&r))
            wait_for(r.count > 0 ? r.found[0] : -1);
    }
}
