#include "base/child_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/stage.h"

/* What the child needs, all of it made before fork: after it, only async-signal-safe calls are allowed. */
struct plan {
    const char *path;
    const struct child_spec *spec;
    int in_fd;
    int out_fd[2]; /* by enum child_stream */
    int status_fd;
    pid_t parent;
};

enum step { STEP_SESSION, STEP_FILES, STEP_CWD, STEP_EXEC };

struct failure {
    enum step step;
    int os_errno;
};

/* Runs in the child: tells the parent and ends. */
static _Noreturn void give_up(const struct plan *p, enum step step)
{
    struct failure f;

    memset(&f, 0, sizeof(f)); /* no stray stack bytes in the pipe */
    f.step = step;
    f.os_errno = errno;
    (void)!write(p->status_fd, &f, sizeof(f));
    _exit(127);
}

/* Marks all but stdin, stdout and stderr to be closed by exec. */
static void close_the_rest(void)
{
    struct rlimit limit = { 1024, 1024 };

    if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    /* Linux before 5.11 */
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur > 65536)
        limit.rlim_cur = 65536;
    for (int fd = 3; fd < (int)limit.rlim_cur; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static _Noreturn void run_child(const struct plan *p)
{
    static char *const no_env[] = { NULL };
    sigset_t none;

    /* Ignored signals outlive exec, and ours are not the child's affair. */
    for (int s = 1; s < NSIG; s++)
        (void)signal(s, SIG_DFL);
    if (setsid() < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 ||
        (p->spec->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0))
        give_up(p, STEP_SESSION);
    if (getppid() != p->parent) /* died before the line above */
        _exit(127);
    if (dup2(p->in_fd, 0) < 0 || dup2(p->out_fd[CHILD_STDOUT], 1) < 0 || dup2(p->out_fd[CHILD_STDERR], 2) < 0)
        give_up(p, STEP_FILES);
    close_the_rest();
    if (p->spec->cwd && chdir(p->spec->cwd) != 0)
        give_up(p, STEP_CWD);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(p->path, (char *const *)p->spec->argv, p->spec->env ? (char *const *)p->spec->env : no_env);
    give_up(p, STEP_EXEC);
}

/* A pipe that can't be mistaken for the child's stdin, stdout or stderr. */
static bool pipe_above_2(int ret_fds[2], struct err *e)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) != 0)
        return err_fail_os(e, "make a pipe");
    for (int i = 0; i < 2; i++) {
        ret_fds[i] = fds[i];
        if (fds[i] < 3) {
            ret_fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
            close(fds[i]);
        }
    }
    if (ret_fds[0] >= 0 && ret_fds[1] >= 0)
        return true;
    err_fail_os(e, "make a pipe");
    fd_done(&ret_fds[0]);
    fd_done(&ret_fds[1]);
    return false;
}

/* name on PATH, or NULL with *e set. */
static char *find_program(const char *name, struct err *e)
{
    const char *path = getenv("PATH");
    bool denied = false;

    if (!path || path[0] == '\0')
        path = "/usr/local/bin:/usr/bin:/bin";
    for (;;) {
        size_t len = strcspn(path, ":");
        char *full = len ? mem_format(e, "%.*s/%s", (int)len, path, name) : NULL;

        if (len && !full)
            return NULL;
        if (full && full[0] == '/' && access(full, X_OK) == 0)
            return full;
        denied = denied || (full && errno == EACCES);
        mem_free(full);
        if (path[len] == '\0')
            break;
        path += len + 1;
    }
    err_fail(e, denied ? ERR_KIND_DENIED : ERR_KIND_MISSING, "run '%s': %s", name,
             denied ? "found on PATH, but it may not be executed" : "no such program on PATH");
    return NULL;
}

static char *resolve_program(const char *name, struct err *e)
{
    if (!name || name[0] == '\0') {
        err_fail(e, ERR_KIND_INVALID, "run a program: its name is empty");
        return NULL;
    }
    if (name[0] == '/')
        return mem_dup_str(name, e);
    if (!strchr(name, '/'))
        return find_program(name, e);
    err_fail(e, ERR_KIND_INVALID, "run '%s': an absolute path or a plain name is wanted", name);
    return NULL;
}

/* The program named in the first line of a script; "" for anything else. */
static void read_interpreter(const char *path, char ret[256])
{
    CLEANUP(fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char line[256] = "";
    ssize_t len = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
    char *at = line + 2;

    ret[0] = '\0';
    if (len < 2 || line[0] != '#' || line[1] != '!')
        return;
    at += strspn(at, " \t");
    at[strcspn(at, " \t\r\n")] = '\0';
    snprintf(ret, 256, "%s", at);
}

static bool tell_missing_interpreter(const struct plan *p, struct err *e)
{
    char name[256];

    read_interpreter(p->path, name);
    return err_fail(e, ERR_KIND_MISSING, "run '%s': the interpreter it asks for is not there%s%s%s", p->path,
                    name[0] ? ": '" : "", name, name[0] ? "'" : "");
}

static bool tell_failure(const struct plan *p, const struct failure *f, struct err *e)
{
    errno = f->os_errno;
    switch (f->step) {
    case STEP_SESSION: return err_fail_os(e, "run '%s': start a session", p->path);
    case STEP_FILES: return err_fail_os(e, "run '%s': set up its files", p->path);
    case STEP_CWD: return err_fail_os(e, "run '%s': enter '%s'", p->path, p->spec->cwd);
    case STEP_EXEC: break;
    }
    if (f->os_errno == ENOENT && access(p->path, F_OK) == 0)
        return tell_missing_interpreter(p, e);
    errno = f->os_errno;
    if (f->os_errno == ENOEXEC)
        return err_fail(e, ERR_KIND_INVALID,
                        "run '%s': neither a program for this machine nor a script with '#!'", p->path);
    return err_fail_os(e, "run '%s'", p->path);
}

/* Waits for exec: the pipe closes on success and brings a failure otherwise. */
static bool wait_for_exec(int status_fd, struct failure *ret)
{
    size_t used = 0;

    while (used < sizeof(*ret)) {
        ssize_t n = read(status_fd, (char *)ret + used, sizeof(*ret) - used);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    return used < sizeof(*ret);
}

static pid_t fork_quietly(const struct plan *p)
{
    sigset_t all;
    sigset_t before;

    /* A handler of ours that ran in the child would write into our loop's pipes. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);

    pid_t pid = fork();

    if (pid == 0)
        run_child(p);

    int code = errno;

    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = code;
    return pid;
}

bool child_exec(const struct child_spec *spec, struct child_started *ret, struct err *e)
{
    CLEANUP(mem_done) char *path = resolve_program(spec->argv[0], e);
    CLEANUP(fd_done) int null_fd = -1;
    CLEANUP(fd_done) int out_read = -1;
    CLEANUP(fd_done) int out_write = -1;
    CLEANUP(fd_done) int err_read = -1;
    CLEANUP(fd_done) int err_write = -1;
    CLEANUP(fd_done) int status_read = -1;
    CLEANUP(fd_done) int status_write = -1;
    struct failure f;
    int fds[2];

    if (!path)
        return false;
    if (!pipe_above_2(fds, e))
        return false;
    out_read = fds[0];
    out_write = fds[1];
    if (!pipe_above_2(fds, e))
        return false;
    err_read = fds[0];
    err_write = fds[1];
    if (!pipe_above_2(fds, e))
        return false;
    status_read = fds[0];
    status_write = fds[1];

    int any_null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    null_fd = any_null < 0 ? -1 : fcntl(any_null, F_DUPFD_CLOEXEC, 3);
    fd_done(&any_null);
    if (null_fd < 0 || fcntl(out_read, F_SETFL, O_NONBLOCK) != 0 || fcntl(err_read, F_SETFL, O_NONBLOCK) != 0)
        return err_fail_os(e, "run '%s': set up its files", path);

    const struct plan plan = { path, spec, null_fd, { out_write, err_write }, status_write, getpid() };
    pid_t pid = fork_quietly(&plan);

    if (pid < 0) {
        /* EAGAIN is the limit on processes. */
        err_fail_os(e, "run '%s': fork", path);
        e->kind = ERR_KIND_LIMIT;
        return false;
    }
    fd_done(&status_write);
    if (!wait_for_exec(status_read, &f)) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        return tell_failure(&plan, &f, e);
    }
    ret->pid = pid;
    ret->read_fd[CHILD_STDOUT] = out_read;
    ret->read_fd[CHILD_STDERR] = err_read;
    out_read = -1;
    err_read = -1;
    return true;
}
