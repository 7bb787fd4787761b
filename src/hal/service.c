#include "hal/service.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/stage.h"
#include "base/text.h"

uint64_t hal_service_backoff_ms(unsigned failures)
{
    uint64_t wait = HAL_BACKOFF_FIRST_MS;

    for (unsigned i = 1; i < failures && wait < HAL_BACKOFF_MAX_MS; i++)
        wait *= 2;
    return wait < HAL_BACKOFF_MAX_MS ? wait : HAL_BACKOFF_MAX_MS;
}

void hal_service_ended(struct hal_service *s, uint64_t now_ms)
{
    if (now_ms - s->started_ms >= HAL_STABLE_MS)
        s->failures = 0;
    s->failures++;
    s->pid = 0;
    s->state = HAL_SERVICE_BACKOFF;
    s->retry_ms = now_ms + hal_service_backoff_ms(s->failures);
}

/* The child's side of the fork: only what is safe there. */
static void become(const struct hal_service *s, const struct hal_env *env, int out)
{
    sigset_t none;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char *const argv[] = { (char *)s->path, NULL };

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || chdir("/cocos") != 0)
        _exit(126);
    execve(s->path, argv, env->at);
    _exit(127);
}

bool hal_service_start(struct hal_service *s, const struct hal_env *env, uint64_t now_ms, struct err *e)
{
    int pipe_fds[2];

    if (access(s->path, X_OK) != 0) {
        s->state = HAL_SERVICE_ABSENT;
        return err_fail_os(e, "%s", s->path);
    }
    if (s->output >= 0)
        close(s->output); /* a grandchild of the former run may still hold the other end */
    s->output = -1;
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        return err_fail_os(e, "pipe for %s", s->name);

    pid_t pid = fork();

    if (pid < 0) {
        err_fail_os(e, "start %s", s->name);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
        return false;
    }
    if (pid == 0)
        become(s, env, pipe_fds[1]);
    close(pipe_fds[1]);
    fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
    s->output = pipe_fds[0];
    s->pid = pid;
    s->started_ms = now_ms;
    s->line_len = 0;
    s->state = HAL_SERVICE_STARTED;
    return true;
}

bool hal_service_probe(const struct hal_service *s)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    if (!s->socket)
        return s->pid != 0;

    CLEANUP(fd_done) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", s->socket);
    return fd >= 0 && connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0;
}

static void put_line(struct hal_service *s, int console, uint64_t now_ms)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(8 * HAL_LINE_MAX);
    struct err e = ERR_INIT;
    struct slice line = slice_of(s->line, s->line_len);

    s->line_len = 0;
    if (now_ms / 1000 != s->second) {
        s->second = now_ms / 1000;
        s->lines = 0;
        if (s->dropped && buf_format(&out, &e, "%s: (%u lines dropped)\n", s->name, s->dropped))
            s->dropped = 0;
    }
    if (++s->lines > HAL_LINES_PER_SECOND) {
        s->dropped++;
        return;
    }
    if (buf_format(&out, &e, "%s: ", s->name) && text_safe(line, &out, &e) &&
        buf_append_str(&out, "\n", &e) && !stage_write_all(console, buf_slice(&out), &e))
        s->dropped++;
}

bool hal_service_pump(struct hal_service *s, int console, uint64_t now_ms)
{
    char block[4096];

    for (;;) {
        ssize_t n = read(s->output, block, sizeof(block));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++) {
            if (block[i] != '\n' && s->line_len < sizeof(s->line))
                s->line[s->line_len++] = block[i];
            if (block[i] == '\n')
                put_line(s, console, now_ms);
        }
    }
    if (s->line_len)
        put_line(s, console, now_ms);
    close(s->output);
    s->output = -1;
    return false;
}
