#include "manager/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/mem.h"
#include "base/stage.h"
#include "base/text.h"

struct mgr_process {
    struct mgr_process_id id;
    int pidfd;
    bool ours; /* its parent is this process */
    uv_poll_t poll;
    mgr_process_exit_fn on_exit;
    void *ctx;
};

/* Field 22 of /proc/PID/stat, counted after the name, which may hold anything but its last ')'. */
static bool start_ticks(pid_t pid, uint64_t *ret, struct err *e)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
    char path[64];
    struct slice field;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (!stage_read_file(path, &text, e))
        return false;

    struct slice all = buf_slice(&text);
    size_t close = all.len;

    while (close > 0 && all.at[close - 1] != ')')
        close--;

    struct cursor at = cursor_of(slice_after(all, close + 1));

    for (int i = 3; i < 22; i++)
        if (!cursor_until(&at, ' ', &field))
            return err_fail(e, ERR_KIND_INTERNAL, "%s is not understood", path);
    if (!cursor_until(&at, ' ', &field) || !text_parse_u64(field, 0, UINT64_MAX, ret, e))
        return err_fail(e, ERR_KIND_INTERNAL, "%s is not understood", path);
    return true;
}

static void poll_closed(uv_handle_t *h)
{
    struct mgr_process *p = h->data;

    close(p->pidfd);
    mem_free(p);
}

void mgr_process_free(struct mgr_process *p)
{
    if (!p || uv_is_closing((uv_handle_t *)&p->poll))
        return;
    p->on_exit = NULL;
    uv_close((uv_handle_t *)&p->poll, poll_closed);
}

/* A pidfd is readable when the process has ended. */
static void ended(uv_poll_t *poll, int status, int events)
{
    struct mgr_process *p = poll->data;
    struct mgr_process_exit how = { false, false, 0 };
    siginfo_t info = { 0 };

    (void)status;
    (void)events;
    /* What it left in its group goes before it is reaped: until then its pid can't be another's. */
    if (p->ours)
        kill(-p->id.pid, SIGKILL);
    if (p->ours && waitid((idtype_t)P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG) == 0 &&
        info.si_pid == p->id.pid)
        how = (struct mgr_process_exit){ true, info.si_code != CLD_EXITED, info.si_status };
    uv_poll_stop(poll);

    mgr_process_exit_fn tell = p->on_exit;
    void *ctx = p->ctx;

    mgr_process_free(p);
    if (tell)
        tell(&how, ctx);
}

bool mgr_process_has_ended(const struct mgr_process *p, struct mgr_process_exit *ret)
{
    struct pollfd end = { p->pidfd, POLLIN, 0 };
    siginfo_t info = { 0 };

    if (poll(&end, 1, 0) != 1)
        return false;
    *ret = (struct mgr_process_exit){ false, false, 0 };
    if (p->ours && waitid((idtype_t)P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid == p->id.pid)
        *ret = (struct mgr_process_exit){ true, info.si_code != CLD_EXITED, info.si_status };
    return true;
}

static bool watch(uv_loop_t *loop, pid_t pid, bool ours, mgr_process_exit_fn on_exit, void *ctx,
                  struct mgr_process **ret, struct err *e)
{
    struct mgr_process *p = mem_new(sizeof(*p), e);

    if (!p)
        return false;
    *p = (struct mgr_process){ .id = { pid, 0 }, .ours = ours, .on_exit = on_exit, .ctx = ctx };
    p->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (p->pidfd < 0) {
        err_fail_os(e, "watch process %d", (int)pid);
        mem_free(p);
        return false;
    }
    /* Read after the pidfd exists: from here on both speak of the same process. */
    if (!start_ticks(pid, &p->id.start_ticks, e)) {
        close(p->pidfd);
        mem_free(p);
        return false;
    }
    fcntl(p->pidfd, F_SETFD, FD_CLOEXEC);

    int rc = uv_poll_init(loop, &p->poll, p->pidfd);

    if (rc != 0) {
        close(p->pidfd);
        mem_free(p);
        return err_fail(e, ERR_KIND_INTERNAL, "watch process %d: %s", (int)pid, uv_strerror(rc));
    }
    p->poll.data = p;
    uv_poll_start(&p->poll, UV_READABLE, ended);
    *ret = p;
    return true;
}

/* Why there was no exec, for the parent. */
static void tell_parent(int fd, int code)
{
    if (write(fd, &code, sizeof(code)) < 0)
        _exit(126);
}

/* The child's side: only what is safe between fork and exec. */
static void become(char *const *argv, char *const *env, int log_fd, int cgroup_fd, int tell_fd)
{
    sigset_t none;
    int null = open("/dev/null", O_RDONLY);

    /* Our handlers write into a pipe of the loop, which is still shared here. */
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    /* Before exec, so that nothing it starts is outside. */
    if (cgroup_fd >= 0 && write(cgroup_fd, "0", 1) != 1) {
        tell_parent(tell_fd, errno);
        _exit(127);
    }
    if (null >= 0 && dup2(null, 0) >= 0 && dup2(log_fd, 1) >= 0 && dup2(log_fd, 2) >= 0 &&
        dup2(tell_fd, 3) >= 0) {
        fcntl(3, F_SETFD, FD_CLOEXEC);
        syscall(SYS_close_range, 4u, ~0u, 0u);
        environ = (char **)env;
        execvp(argv[0], argv);
        tell_fd = 3;
    }
    tell_parent(tell_fd, errno);
    _exit(127);
}

bool mgr_process_spawn(uv_loop_t *loop, char *const *argv, int log_fd, int cgroup_fd,
                       mgr_process_exit_fn on_exit, void *ctx, struct mgr_process **ret, struct err *e)
{
    static char *const env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                 "HOME=/", "LANG=C.UTF-8", NULL };
    int tell[2];
    int code = 0;
    sigset_t all;
    sigset_t before;

    if (pipe2(tell, O_CLOEXEC) != 0)
        return err_fail_os(e, "start %s", argv[0]);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);

    pid_t pid = fork();

    if (pid == 0)
        become(argv, env, log_fd, cgroup_fd, tell[1]);
    code = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(tell[1]);
    if (pid < 0) {
        close(tell[0]);
        errno = code;
        return err_fail_os(e, "start %s", argv[0]);
    }

    ssize_t n;

    do
        n = read(tell[0], &code, sizeof(code));
    while (n < 0 && errno == EINTR);
    close(tell[0]);
    if (n == (ssize_t)sizeof(code)) {
        waitpid(pid, NULL, 0);
        errno = code;
        return err_fail_os(e, "start %s", argv[0]);
    }
    if (watch(loop, pid, true, on_exit, ctx, ret, e))
        return true;
    kill(-pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return err_wrap(e, "start %s", argv[0]);
}

bool mgr_process_adopt(uv_loop_t *loop, const struct mgr_process_id *id, mgr_process_exit_fn on_exit,
                       void *ctx, struct mgr_process **ret, struct err *e)
{
    struct mgr_process *p;

    if (id->pid <= 1)
        return err_fail(e, ERR_KIND_INVALID, "process %d", (int)id->pid);
    if (!watch(loop, id->pid, false, on_exit, ctx, &p, e)) {
        if (e->os_errno == ESRCH)
            return err_fail(e, ERR_KIND_MISSING, "process %d is gone", (int)id->pid);
        return false;
    }
    if (p->id.start_ticks != id->start_ticks) {
        mgr_process_free(p);
        return err_fail(e, ERR_KIND_MISSING, "process %d is another one now", (int)id->pid);
    }
    *ret = p;
    return true;
}

struct mgr_process_id mgr_process_id(const struct mgr_process *p)
{
    return p->id;
}

void mgr_process_signal(struct mgr_process *p, int signal)
{
    /* Linux 6.9 and later signal a group through a pidfd; only there is that sound for a process of another. */
    const unsigned group = 1u << 2;

    if (signal == SIGKILL && syscall(SYS_pidfd_send_signal, p->pidfd, signal, NULL, group) == 0)
        return;
    /* A child of ours keeps its pid, and so its group's number, until `ended` reaps it. */
    if (signal == SIGKILL && p->ours)
        kill(-p->id.pid, SIGKILL);
    else
        syscall(SYS_pidfd_send_signal, p->pidfd, signal, NULL, 0);
}
