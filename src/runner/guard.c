#include "runner/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/stage.h"

/* Moves fd to number 0 and closes all others; /dev/null stands for 1 and 2. */
static void keep_only(int fd)
{
    int null = open("/dev/null", O_RDWR);

    if (dup2(fd, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
        _exit(1);
    syscall(SYS_close_range, 3U, ~0U, 0U);
}

/* In the forked process: only async-signal-safe calls, as other threads may have held any lock. */
static void guard(int fd)
{
    pid_t group = 0, told;
    ssize_t n;

    /* A session of its own: what is sent to the runner's group must not end it before its work. */
    setsid();
    keep_only(fd);
    prctl(PR_SET_NAME, "cocos-guard");
    for (;;) {
        n = read(0, &told, sizeof(told));
        if (n == (ssize_t)sizeof(told))
            group = told;
        else if (n >= 0 || errno != EINTR)
            break;
    }
    if (group > 1)
        kill(-group, SIGKILL);
    _exit(0);
}

bool run_guard_start(struct run_guard *g, struct err *e)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) != 0)
        return err_fail_os(e, "make a pipe for the guard of a run");

    sigset_t all, before;

    /* A handler of ours that ran in the guard would write into our loop's pipes; it needs no signal at all. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);

    pid_t pid = fork();

    if (pid == 0)
        guard(fds[0]);

    int code = errno;

    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) {
        errno = code;
        err_fail_os(e, "start the guard of a run");
        fd_done(&fds[0]);
        fd_done(&fds[1]);
        return false;
    }
    fd_done(&fds[0]);
    g->pid = pid;
    g->fd = fds[1];
    return true;
}

void run_guard_watch(struct run_guard *g, pid_t group)
{
    ssize_t n;

    /* Should the guard have been killed, there is nobody to tell; SIGPIPE is ignored by the program. */
    do
        n = write(g->fd, &group, sizeof(group));
    while (n < 0 && errno == EINTR);
}

void run_guard_end(struct run_guard *g)
{
    if (g->fd < 0)
        return;
    run_guard_watch(g, 0);
    fd_done(&g->fd);
    while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
