/* Programs of the build, their logs, and waiting for a line. */

#include "e2e/lib/e2e.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <regex.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/stage.h"
#include "base/text.h"
#include "e2e/lib/e2e_int.h"

#define WORDS_MAX 64

struct words {
    char *argv[WORDS_MAX + 2];
    char *env[WORDS_MAX + 1];
    size_t argc, envc;
};

/* Sorts words into environment ("K=v" in front) and arguments. */
static void take_words(struct words *w, const char *program, va_list words)
{
    const char *word;

    *w = (struct words){ 0 };
    w->argv[w->argc++] = (char *)program;
    while ((word = va_arg(words, const char *))) {
        if (w->argc + w->envc >= WORDS_MAX)
            e2e_fail("more than %d words for %s", WORDS_MAX, program);
        if (w->argc == 1 && word[0] != '-' && strchr(word, '=') && word[0] >= 'A' && word[0] <= 'Z')
            w->env[w->envc++] = (char *)word;
        else
            w->argv[w->argc++] = (char *)word;
    }
}

static pid_t spawn(const struct words *w, const char *log, const char *err_log)
{
    pid_t pid = fork();

    if (pid < 0)
        e2e_fail("start %s: %s", w->argv[0], strerror(errno));
    if (pid > 0)
        return pid;
    setpgid(0, 0);

    int out = open(log, O_CREAT | O_WRONLY | O_APPEND, 0644);
    int err = open(err_log, O_CREAT | O_WRONLY | O_APPEND, 0644);
    int null = open("/dev/null", O_RDONLY);

    for (size_t i = 0; i < w->envc; i++)
        putenv(w->env[i]);
    dup2(null, 0);
    dup2(out, 1);
    dup2(err, 2);
    syscall(SYS_close_range, 3u, ~0u, 0u);
    execv(w->argv[0], w->argv);
    fprintf(stderr, "%s: %s\n", w->argv[0], strerror(errno));
    _exit(127);
}

/* A line of our own in a program's log: what was done, and when. */
static void note(const char *log, const char *what, const struct words *w)
{
    CLEANUP(fd_done) int fd = open(log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
    CLEANUP(buf_done) struct buf line = BUF_INIT(65536);
    struct err e = ERR_INIT;
    char stamp[40];
    bool ok;

    text_format_time(clock_wall_ns(clock_system()), stamp);
    ok = buf_format(&line, &e, "# %s %s", stamp, what);
    for (size_t i = 0; ok && w && i < w->envc; i++)
        ok = buf_format(&line, &e, " %s", w->env[i]);
    for (size_t i = 0; ok && w && i < w->argc; i++)
        ok = buf_format(&line, &e, " %s", w->argv[i]);
    if (!ok || !buf_append_str(&line, "\n", &e) || fd < 0 || !stage_write_all(fd, buf_slice(&line), &e))
        fprintf(stderr, "%s can't be written\n", log);
}

/* What a CVMS of these words orders, for the one who looks into a failure. */
static void save_manifest(const struct words *w)
{
    struct words print = *w;
    char file[2 * E2E_PATH];
    pid_t pid;

    print.argv[print.argc++] = (char *)"-print-manifest";
    snprintf(file, sizeof(file), "%s/manifest.json", e2e.out);
    pid = spawn(&print, file, "/dev/null");
    if (waitpid(pid, NULL, 0) != pid)
        fprintf(stderr, "%s can't be written\n", file);
}

void e2e_start(struct e2e_process *p, const char *program, ...)
{
    char path[2 * E2E_PATH];
    char mark[64];
    struct words w;
    va_list words;

    snprintf(path, sizeof(path), "%s/%s", e2e.build, program);
    va_start(words, program);
    take_words(&w, path, words);
    va_end(words);
    if (!p->log[0]) {
        snprintf(p->name, sizeof(p->name), "%.31s", program);
        snprintf(p->log, sizeof(p->log), "%.200s/%.31s.log", e2e.out, program);
        unlink(p->log);
        if (e2e.process_count == ARRAY_LEN(e2e.processes))
            e2e_fail("too many processes");
        e2e.processes[e2e.process_count++] = p;
    }
    p->sent = 0;
    note(p->log, "$", &w);
    if (strcmp(program, "cvms-test") == 0)
        save_manifest(&w);
    p->pid = spawn(&w, p->log, p->log);
    snprintf(mark, sizeof(mark), "%s started", p->name);
    e2e_mark(mark);
}

void e2e_signal(struct e2e_process *p, int signal)
{
    p->sent = signal;
    if (p->pid)
        kill(p->pid, signal);
}

static void need_no_crash(const struct e2e_process *p, int status)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) != p->sent)
        e2e_fail("%s was killed by signal %d; its log: %s", p->name, WTERMSIG(status), p->log);
}

int e2e_wait(struct e2e_process *p, unsigned within_ms)
{
    CLEANUP(fd_done) int pidfd = p->pid ? (int)syscall(SYS_pidfd_open, p->pid, 0) : -1;
    struct pollfd end = { pidfd, POLLIN, 0 };
    int status;

    if (pidfd < 0)
        e2e_fail("%s does not run", p->name);
    if (poll(&end, 1, (int)e2e_ms(within_ms)) != 1)
        e2e_fail("%s did not end within %u ms; its log: %s", p->name, e2e_ms(within_ms), p->log);
    waitpid(p->pid, &status, 0);
    p->pid = 0;
    need_no_crash(p, status);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* ------------------------------------------------------------------- the log */

/* Looks through the lines behind `from`; on a match *from moves behind that line. */
static bool search(const char *log, const regex_t *re, long *from, char *ret, size_t len)
{
    FILE *f = fopen(log, "re");
    char *line = NULL;
    size_t room = 0;
    bool found = false;

    if (!f)
        return false;
    fseek(f, *from, SEEK_SET);
    while (!found && getline(&line, &room, f) > 0) {
        regmatch_t m[2];

        if (!strchr(line, '\n'))
            break; /* not whole yet */
        found = regexec(re, line, 2, m, 0) == 0;
        if (found) {
            *from = ftell(f);
            if (ret && m[1].rm_so >= 0)
                snprintf(ret, len, "%.*s", (int)(m[1].rm_eo - m[1].rm_so), line + m[1].rm_so);
        }
    }
    free(line);
    fclose(f);
    return found;
}

static void compile(regex_t *re, const char *regex)
{
    if (regcomp(re, regex, REG_EXTENDED) != 0)
        e2e_fail("'%s' is not a regular expression", regex);
}

void e2e_line(struct e2e_process *p, unsigned within_ms, const char *regex, char *ret, size_t len)
{
    const struct clock *clock = clock_system();
    uint64_t until = clock_mono_ms(clock) + e2e_ms(within_ms);
    CLEANUP(fd_done) int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    char events[4096];
    regex_t re;

    compile(&re, regex);
    inotify_add_watch(watch, e2e.out, IN_MODIFY | IN_CREATE);
    while (!search(p->log, &re, &p->seen, ret, len)) {
        struct pollfd changed = { watch, POLLIN, 0 };
        uint64_t now = clock_mono_ms(clock);
        int status;

        if (now >= until) {
            regfree(&re);
            e2e_fail("%s did not say /%s/ within %u ms; its log: %s", p->name, regex, e2e_ms(within_ms),
                     p->log);
        }
        if (p->pid && waitpid(p->pid, &status, WNOHANG) == p->pid) {
            p->pid = 0;
            need_no_crash(p, status);
            if (search(p->log, &re, &p->seen, ret, len))
                break;
            regfree(&re);
            e2e_fail("%s ended (status %d) and never said /%s/; its log: %s", p->name, status, regex, p->log);
        }
        /* At most 200 ms: the end of the process is no event of its log. */
        poll(&changed, 1, until - now < 200 ? (int)(until - now) : 200);
        while (read(watch, events, sizeof(events)) > 0)
            continue;
    }
    regfree(&re);
}

#define COUNTED_MAX 64

unsigned e2e_count(const struct e2e_process *p, const char *regex)
{
    static char seen[COUNTED_MAX][128];
    char found[128];
    unsigned count = 0;
    long from = 0;
    regex_t re;

    compile(&re, regex);
    while (count < COUNTED_MAX && search(p->log, &re, &from, found, sizeof(found))) {
        unsigned i = 0;

        while (i < count && strcmp(seen[i], found) != 0)
            i++;
        if (i == count)
            snprintf(seen[count++], sizeof(seen[0]), "%s", found);
    }
    regfree(&re);
    return count;
}

/* ----------------------------------------------------------------------- CLI */

static long cli_from; /* where the output of the last command begins */

static long size_of(const char *log)
{
    struct stat st;

    return stat(log, &st) == 0 ? (long)st.st_size : 0;
}

int e2e_cli(const char *agent_port, ...)
{
    static struct e2e_process cli;
    char path[2 * E2E_PATH];
    char url[64];
    char ended[32];
    struct words w;
    va_list words;
    int code;

    snprintf(path, sizeof(path), "%s/cocos-cli", e2e.build);
    snprintf(url, sizeof(url), "AGENT_GRPC_URL=127.0.0.1:%s", agent_port);
    va_start(words, agent_port);
    take_words(&w, path, words);
    va_end(words);
    w.env[w.envc++] = url;
    snprintf(cli.name, sizeof(cli.name), "cocos-cli");
    snprintf(cli.log, sizeof(cli.log), "%.200s/cli.log", e2e.out);

    note(cli.log, "$", &w);
    cli_from = size_of(cli.log);
    cli.pid = spawn(&w, cli.log, cli.log);
    code = e2e_wait(&cli, 60000);
    snprintf(ended, sizeof(ended), "exit code %d", code);
    note(cli.log, ended, NULL);
    return code;
}

bool e2e_cli_said(const char *regex)
{
    char log[E2E_PATH];
    regex_t re;
    long from = cli_from;
    bool found;

    snprintf(log, sizeof(log), "%.200s/cli.log", e2e.out);
    compile(&re, regex);
    found = search(log, &re, &from, NULL, 0);
    regfree(&re);
    return found;
}
