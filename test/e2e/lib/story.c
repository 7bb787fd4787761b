/* The story's life: its directories, its moments, its end. */

#include "e2e/lib/e2e.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/stage.h"
#include "base/text.h"
#include "e2e/lib/e2e_int.h"

#define END_MS 10000 /* for a process to end on SIGTERM */

struct e2e_story e2e;

static uint64_t now_ms(void)
{
    return clock_mono_ms(clock_system()) - e2e.began_ms;
}

static const char *need(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value && value[0] ? value : otherwise;
}

static void write_out(const char *name, const char *text, int flags, unsigned mode)
{
    char path[2 * E2E_PATH];
    struct err e = ERR_INIT;

    snprintf(path, sizeof(path), "%s/%s", e2e.out, name);

    CLEANUP(fd_done) int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC | flags, mode);

    if (fd < 0 || !stage_write_all(fd, slice_of_str(text), &e))
        fprintf(stderr, "%s can't be written\n", path);
}

void e2e_mark(const char *what)
{
    CLEANUP(buf_done) struct buf line = BUF_INIT(1024);
    struct err e = ERR_INIT;
    char stamp[40];

    text_format_time(clock_wall_ns(clock_system()), stamp);
    if (!buf_format(&line, &e, "{\"time\":\"%s\",\"at_ms\":%llu,\"what\":\"", stamp,
                    (unsigned long long)now_ms()) ||
        !text_safe(slice_of_str(what), &line, &e) || !buf_append_str(&line, "\"}\n", &e))
        fprintf(stderr, "%s\n", err_text(&e));
    else
        write_out("times.jsonl", buf_str(&line, &e), O_APPEND, 0644);
    printf("# %6llu ms  %s\n", (unsigned long long)now_ms(), what);
    fflush(stdout);
}

void e2e_begin(const char *story)
{
    struct err e = ERR_INIT;
    CLEANUP(fd_done) int fd = -1;
    const char *out = getenv("E2E_OUT");
    const char *dir = getenv("E2E_DIR");

    if (!out || !dir) {
        fprintf(stderr, "a story is run by: make e2e STORY=%s\n", story);
        exit(2);
    }
    snprintf(e2e.name, sizeof(e2e.name), "%s", story);
    snprintf(e2e.build, sizeof(e2e.build), "%s", need("E2E_BUILD", "build"));
    snprintf(e2e.guest_build, sizeof(e2e.guest_build), "%s", need("E2E_GUEST_BUILD", e2e.build));
    snprintf(e2e.out, sizeof(e2e.out), "%s", out);
    snprintf(e2e.dir, sizeof(e2e.dir), "%s", dir);
    e2e.scale = (unsigned)strtoul(need("E2E_SCALE", "100"), NULL, 10);
    e2e.began_ms = clock_mono_ms(clock_system());
    if (!stage_dir_open(e2e.out, 0755, &fd, &e)) {
        fprintf(stderr, "%s\n", err_text(&e));
        exit(1);
    }
    e2e_mark("begin");
}

unsigned e2e_now_ms(void)
{
    return (unsigned)now_ms();
}

unsigned e2e_ms(unsigned ms)
{
    return (unsigned)((uint64_t)ms * e2e.scale / 100);
}

const char *e2e_file(const char *name)
{
    static char ring[16][E2E_PATH + 64]; /* as many as a line of a story needs */
    static size_t next;
    char *path = ring[next++ % ARRAY_LEN(ring)];

    snprintf(path, sizeof(ring[0]), "%s/%s", e2e.dir, name);
    return path;
}

const char *e2e_write(const char *name, const char *text, unsigned mode)
{
    const char *path = e2e_file(name);
    struct err e = ERR_INIT;
    CLEANUP(fd_done) int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, mode);

    if (fd < 0 || !stage_write_all(fd, slice_of_str(text), &e))
        e2e_fail("%s can't be written", path);
    return path;
}

void e2e_complain(const char *fmt, ...)
{
    char text[2048];
    char line[2200];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    e2e.failed = true;
    snprintf(line, sizeof(line), "%s\n", text);
    write_out("failure.txt", line, O_APPEND, 0644);
    fprintf(stderr, "# %s\n", text);
}

void e2e_allow(const char *regex)
{
    char line[512];

    snprintf(line, sizeof(line), "%s\n", regex);
    write_out("allowed.txt", line, O_APPEND, 0644);
}

static void complain_of_end(const struct e2e_process *p, int status, const char *when)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) != p->sent)
        e2e_complain("%s was killed by signal %d %s; its log: %s", p->name, WTERMSIG(status), when, p->log);
    else if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        e2e_complain("%s ended with exit code %d %s; its log: %s", p->name, WEXITSTATUS(status), when,
                     p->log);
}

bool e2e_runs(struct e2e_process *p)
{
    int status;

    if (p->pid && waitpid(p->pid, &status, WNOHANG) == p->pid) {
        complain_of_end(p, status, "though nobody had asked it to end");
        p->pid = 0;
    }
    return p->pid != 0;
}

/* A program that still runs has to end in order when it is asked to. */
static void end_process(struct e2e_process *p)
{
    CLEANUP(fd_done) int pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    struct pollfd end = { pidfd, POLLIN, 0 };
    int status = 0;

    e2e_signal(p, SIGTERM);
    if (poll(&end, 1, (int)e2e_ms(END_MS)) != 1) {
        e2e_complain("%s did not end within %u ms of SIGTERM; its log: %s", p->name, e2e_ms(END_MS), p->log);
        e2e_signal(p, SIGKILL);
    } else {
        p->sent = 0; /* SIGTERM is to be handled, not to be killed by */
    }
    waitpid(p->pid, &status, 0);
    p->pid = 0;
    complain_of_end(p, status, "on SIGTERM");
}

static void end_all(void)
{
    e2e_manager_stop();
    while (e2e.process_count > 0)
        if (e2e_runs(e2e.processes[--e2e.process_count]))
            end_process(e2e.processes[e2e.process_count]);
    e2e_mark("end");
}

int e2e_end(void)
{
    e2e_mark(e2e.failed ? "failed" : "story done");
    end_all();
    printf("%s 1 - %s\n", e2e.failed ? "not ok" : "ok", e2e.name);
    return e2e.failed ? 1 : 0;
}

void e2e_skip(const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    end_all();
    printf("ok 1 - %s # SKIP %s\n", e2e.name, text);
    exit(e2e.failed ? 1 : 77);
}

void e2e_fail(const char *fmt, ...)
{
    char text[2048];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    e2e_complain("%s", text);
    if (e2e.ending)
        _exit(1); /* failing while failing: nothing better can be said */
    e2e.ending = true;
    exit(e2e_end());
}
