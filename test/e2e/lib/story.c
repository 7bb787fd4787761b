/* The story's life: its directories, its moments, its end. */

#include "e2e/lib/e2e.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <regex.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/stage.h"
#include "base/text.h"
#include "e2e/lib/e2e_int.h"

#define END_MS 5000 /* for a process to end on SIGTERM */

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
    char line[256];

    snprintf(line, sizeof(line), "{\"at_ms\":%llu,\"what\":\"%.200s\"}\n", (unsigned long long)now_ms(),
             what);
    write_out("times.jsonl", line, O_APPEND, 0644);
    printf("# %6llu ms  %s\n", (unsigned long long)now_ms(), what);
    fflush(stdout);
}

void e2e_begin(const char *story)
{
    struct err e = ERR_INIT;
    CLEANUP(fd_done) int fd = -1;

    snprintf(e2e.name, sizeof(e2e.name), "%s", story);
    snprintf(e2e.build, sizeof(e2e.build), "%s", need("E2E_BUILD", "build"));
    snprintf(e2e.out, sizeof(e2e.out), "%.150s/%s", need("E2E_OUT", "build/e2e"), story);
    e2e.scale = (unsigned)strtoul(need("E2E_SCALE", "100"), NULL, 10);
    e2e.began_ms = clock_mono_ms(clock_system());
    if (!stage_dir_open(e2e.out, 0755, &fd, &e)) {
        fprintf(stderr, "%s\n", err_text(&e));
        exit(1);
    }
    write_out("times.jsonl", "", O_TRUNC, 0644);
    snprintf(e2e.dir, sizeof(e2e.dir), "/tmp/e2e-XXXXXX");
    if (!mkdtemp(e2e.dir)) {
        perror("make a private directory");
        exit(1);
    }
    e2e_mark("begin");
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

/* Every process whose command line names the private directory; killed when asked. */
static unsigned leftovers(bool end_them, char *ret_first, size_t len)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    unsigned count = 0;

    while (proc && (entry = readdir(proc))) {
        CLEANUP(buf_done) struct buf args = BUF_INIT(256 * 1024);
        struct err e = ERR_INIT;
        char path[64];
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

        if (pid <= 1 || pid == getpid())
            continue;
        snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
        if (!stage_read_file(path, &args, &e) || !args.len ||
            !memmem(buf_slice(&args).at, args.len, e2e.dir, strlen(e2e.dir)))
            continue;
        if (count++ == 0)
            snprintf(ret_first, len, "%d (%s)", (int)pid, buf_str(&args, &e));
        if (end_them)
            kill(pid, SIGKILL);
    }
    if (proc)
        closedir(proc);
    return count;
}

/* What no log of a story may hold, whatever the story is about. */
static bool find_damage(char *ret, size_t len)
{
    static const char *const words[] = { "ERROR: AddressSanitizer",
                                         "ERROR: LeakSanitizer",
                                         "runtime error:",
                                         "WARNING: ThreadSanitizer",
                                         "Kernel panic",
                                         "Oops:",
                                         "BUG: ",
                                         "core dumped",
                                         "Assertion " };
    DIR *dir = opendir(e2e.out);
    struct dirent *entry;
    bool found = false;

    while (dir && !found && (entry = readdir(dir))) {
        CLEANUP(buf_done) struct buf text = BUF_INIT(64 << 20);
        struct err e = ERR_INIT;
        char path[2 * E2E_PATH];

        if (!slice_ends(slice_of_str(entry->d_name), ".log"))
            continue;
        snprintf(path, sizeof(path), "%s/%s", e2e.out, entry->d_name);
        if (!stage_read_file(path, &text, &e) || !text.len)
            continue;
        for (size_t i = 0; i < ARRAY_LEN(words) && !found; i++)
            if (memmem(buf_slice(&text).at, text.len, words[i], strlen(words[i]))) {
                snprintf(ret, len, "%s holds '%s'", path, words[i]);
                found = true;
            }
    }
    if (dir)
        closedir(dir);
    return found;
}

/* Ends what still runs, newest first, and clears the private directory. */
static void clean_up(void)
{
    char first[512];
    struct err e = ERR_INIT;
    CLEANUP(fd_done) int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    e2e_manager_stop();
    while (e2e.process_count > 0) {
        struct e2e_process *p = e2e.processes[--e2e.process_count];

        if (!p->pid)
            continue;
        CLEANUP(fd_done) int pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
        struct pollfd end = { pidfd, POLLIN, 0 };

        kill(p->pid, SIGTERM);
        if (poll(&end, 1, END_MS) != 1)
            kill(-p->pid, SIGKILL);
        waitpid(p->pid, NULL, 0);
    }
    if (leftovers(true, first, sizeof(first)) && !e2e.failed) {
        fprintf(stderr, "a process was left behind: %s\n", first);
        e2e.failed = true;
    }
    if (tmp >= 0 && !stage_remove_tree(tmp, e2e.dir + strlen("/tmp/"), &e))
        fprintf(stderr, "%s\n", err_text(&e));
}

int e2e_end(void)
{
    char damage[2 * E2E_PATH + 64];

    e2e_mark(e2e.failed ? "failed" : "story done");
    clean_up();
    if (find_damage(damage, sizeof(damage))) {
        fprintf(stderr, "%s\n", damage);
        e2e.failed = true;
    }
    e2e_mark("end");
    printf("%s 1 - %s\n", e2e.failed ? "not ok" : "ok", e2e.name);
    return e2e.failed ? 1 : 0;
}

void e2e_fail(const char *fmt, ...)
{
    char text[2048];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (e2e.failed)
        _exit(1); /* failing while failing: nothing better can be said */
    e2e.failed = true;
    fprintf(stderr, "# %s\n# everything about it is in %s; run it again with: make e2e STORY=%s\n", text,
            e2e.out, e2e.name);
    write_out("failure.txt", text, O_TRUNC, 0644);
    e2e_end();
    exit(1);
}
