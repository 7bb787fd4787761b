#include "base/child_int.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

enum {
    DEFAULT_CHUNK_MAX = 1024,
    DEFAULT_DRAIN_MS = 1000,
    LATE_MAX = 1024 * 1024, /* more than both pipes hold: what is beyond was written after the end */
};

struct flow {
    uv_pipe_t pipe;
    bool paused;
    bool eof;
};

struct child {
    uv_signal_t chld;
    uv_timer_t kill_timer; /* from SIGTERM to SIGKILL     */
    uv_timer_t deadline;
    uv_timer_t drain;     /* from exit to the last byte  */
    struct flow flows[2]; /* by enum child_stream        */
    unsigned open_count;  /* handles that are not closed */
    pid_t pid;
    uint64_t kill_at; /* loop time; 0: not set       */
    uint64_t drain_ms;
    uint64_t deadline_grace_ms;
    bool exited; /* a zombie: its pid is still ours          */
    bool group_killed;
    bool moved;        /* bytes were read since the drain timer fired */
    uint64_t late_len; /* bytes read since the group was killed       */
    bool done;         /* reaped, and on_exit has been called      */
    bool freed;
    struct child_exit how;
    void (*on_output)(struct child *c, enum child_stream stream, struct slice bytes, void *ctx);
    void (*on_exit)(struct child *c, const struct child_exit *how, void *ctx);
    void *ctx;
    size_t chunk_max;
    char chunk[];
};

static void on_closed(uv_handle_t *h)
{
    struct child *c = h->data;

    if (--c->open_count == 0)
        mem_free(c);
}

static void close_all(struct child *c)
{
    uv_handle_t *const handles[] = {
        (uv_handle_t *)&c->chld,  (uv_handle_t *)&c->kill_timer,    (uv_handle_t *)&c->deadline,
        (uv_handle_t *)&c->drain, (uv_handle_t *)&c->flows[0].pipe, (uv_handle_t *)&c->flows[1].pipe,
    };

    for (size_t i = 0; i < ARRAY_LEN(handles); i++)
        if (handles[i]->data && !uv_is_closing(handles[i])) /* data tells one that was initialised */
            uv_close(handles[i], on_closed);
}

/* The group is safe to name as long as the child is not reaped: its pid can't be given away. */
static void signal_group(const struct child *c, int number)
{
    (void)kill(-c->pid, number);
}

/* The end, once the child has exited and there is nothing more to read. */
static void finish(struct child *c)
{
    if (c->done)
        return;
    c->done = true;
    signal_group(c, SIGKILL);
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    uv_signal_stop(&c->chld);
    uv_timer_stop(&c->kill_timer);
    uv_timer_stop(&c->deadline);
    uv_timer_stop(&c->drain);
    if (c->freed)
        close_all(c);
    else if (c->on_exit)
        c->on_exit(c, &c->how, c->ctx);
}

static void finish_when_drained(struct child *c)
{
    if (c->exited && c->flows[0].eof && c->flows[1].eof)
        finish(c);
}

/* ---- output ---- */

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    struct child *c = h->data;

    (void)suggested;
    *ret = uv_buf_init(c->chunk, (unsigned)c->chunk_max);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct child *c = s->data;
    enum child_stream stream = s == (uv_stream_t *)&c->flows[CHILD_STDOUT].pipe ? CHILD_STDOUT : CHILD_STDERR;

    if (n > 0) {
        c->moved = true;
        c->late_len += c->group_killed ? (uint64_t)n : 0;
    }
    if (n > 0 && c->on_output && !c->freed)
        c->on_output(c, stream, slice_of(buf->base, (size_t)n), c->ctx);
    if (n >= 0)
        return;
    /* Also a read error: there is nothing more to come either way. */
    uv_read_stop(s);
    c->flows[stream].eof = true;
    finish_when_drained(c);
}

void child_pause(struct child *c, enum child_stream stream, bool paused)
{
    struct flow *f = &c->flows[stream];

    if (f->paused == paused || f->eof || c->done || c->freed)
        return;
    f->paused = paused;
    if (paused)
        uv_read_stop((uv_stream_t *)&f->pipe);
    else {
        (void)uv_read_start((uv_stream_t *)&f->pipe, on_alloc, on_read);
        c->moved = true; /* a whole period for what was held back, even if its end is due right now */
    }
}

/* ---- the end ---- */

static void on_drain(uv_timer_t *t)
{
    struct child *c = t->data;

    if (!c->group_killed) {
        /* Whoever of the group holds the pipes lets go of them now. */
        c->group_killed = true;
        signal_group(c, SIGKILL);
        return; /* the timer repeats */
    }
    /* What the owner holds back is still in the pipe, and waits for him. */
    if (c->flows[0].paused || c->flows[1].paused)
        return;
    /* Nor is a busy loop a reason to lose what was written before the end. */
    if (c->moved && c->late_len < LATE_MAX) {
        c->moved = false;
        return;
    }
    c->how.cut_output = true;
    finish(c);
}

static void look_for_exit(struct child *c)
{
    siginfo_t info;

    memset(&info, 0, sizeof(info));
    if (c->exited || waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
        return;
    c->exited = true;
    c->how.by_signal = info.si_code != CLD_EXITED;
    c->how.core_dumped = info.si_code == CLD_DUMPED;
    c->how.number = info.si_status;
    uv_timer_stop(&c->deadline);
    if (c->freed)
        finish(c);
    else {
        uv_timer_start(&c->drain, on_drain, c->drain_ms, c->drain_ms);
        finish_when_drained(c);
    }
}

static void on_chld(uv_signal_t *s, int number)
{
    (void)number;
    look_for_exit(s->data);
}

static void on_kill(uv_timer_t *t)
{
    signal_group(t->data, SIGKILL);
}

static void stop(struct child *c, uint64_t grace_ms)
{
    uint64_t at = uv_now(uv_handle_get_loop((uv_handle_t *)&c->kill_timer)) + grace_ms;

    if (c->done)
        return;
    if (grace_ms == 0) {
        signal_group(c, SIGKILL);
        return;
    }
    signal_group(c, SIGTERM);
    signal_group(c, SIGCONT); /* one that is stopped would not hear it */
    if (c->kill_at == 0 || at < c->kill_at) {
        c->kill_at = at;
        uv_timer_start(&c->kill_timer, on_kill, grace_ms, 0);
    }
}

void child_stop(struct child *c, uint64_t grace_ms)
{
    if (!c->exited)
        c->how.stopped = true;
    stop(c, grace_ms);
}

static void on_deadline(uv_timer_t *t)
{
    struct child *c = t->data;

    c->how.timed_out = true;
    stop(c, c->deadline_grace_ms);
}

pid_t child_pid(const struct child *c)
{
    return c->pid;
}

void child_free(struct child *c)
{
    if (!c || c->freed)
        return;
    c->freed = true;
    if (c->done) {
        close_all(c);
        return;
    }
    /* The rest of it stays until the process is reaped. */
    for (size_t i = 0; i < ARRAY_LEN(c->flows); i++)
        uv_read_stop((uv_stream_t *)&c->flows[i].pipe);
    uv_timer_stop(&c->deadline);
    signal_group(c, SIGKILL);
    if (c->exited)
        finish(c);
}

/* ---- the start ---- */

/* data doubles as the mark of a handle that has to be closed. */
static void mark_open(struct child *c, uv_handle_t *h)
{
    h->data = c;
    c->open_count++;
}

static bool init_handles(struct child *c, uv_loop_t *loop)
{
    uv_timer_t *const timers[] = { &c->kill_timer, &c->deadline, &c->drain };

    for (size_t i = 0; i < ARRAY_LEN(timers); i++) {
        uv_timer_init(loop, timers[i]);
        mark_open(c, (uv_handle_t *)timers[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(c->flows); i++) {
        if (uv_pipe_init(loop, &c->flows[i].pipe, 0) != 0)
            return false;
        mark_open(c, (uv_handle_t *)&c->flows[i].pipe);
    }
    if (uv_signal_init(loop, &c->chld) != 0)
        return false;
    mark_open(c, (uv_handle_t *)&c->chld);
    /* Before the fork, so that no exit is missed. */
    return uv_signal_start(&c->chld, on_chld, SIGCHLD) == 0;
}

/* Hands the pipes to the loop; those it didn't take are closed. */
static bool start_reading(struct child *c, const struct child_started *started)
{
    bool ok = true;

    for (size_t i = 0; i < ARRAY_LEN(c->flows); i++) {
        if (uv_pipe_open(&c->flows[i].pipe, started->read_fd[i]) != 0) {
            close(started->read_fd[i]);
            ok = false;
        } else if (uv_read_start((uv_stream_t *)&c->flows[i].pipe, on_alloc, on_read) != 0) {
            ok = false;
        }
    }
    return ok;
}

bool child_spawn(uv_loop_t *loop, const struct child_spec *spec, struct child **ret, struct err *e)
{
    size_t chunk_max = spec->chunk_max ? spec->chunk_max : DEFAULT_CHUNK_MAX;
    struct child_started started;
    struct child *c;

    if (chunk_max > 1024 * 1024)
        return err_fail(e, ERR_KIND_INVALID, "run a program: chunks of %zu bytes", chunk_max);
    c = mem_new(sizeof(*c) + chunk_max, e);
    if (!c)
        return false;
    c->chunk_max = chunk_max;
    c->drain_ms = spec->drain_ms ? spec->drain_ms : DEFAULT_DRAIN_MS;
    c->deadline_grace_ms = spec->deadline_grace_ms;
    c->on_output = spec->on_output;
    c->on_exit = spec->on_exit;
    c->ctx = spec->ctx;

    bool ok = init_handles(c, loop) || err_fail(e, ERR_KIND_LIMIT, "run a program: no descriptors left");

    if (!ok || !child_exec(spec, &started, e)) {
        close_all(c);
        return false;
    }
    c->pid = started.pid;
    if (!start_reading(c, &started)) {
        child_free(c);
        return err_fail(e, ERR_KIND_INTERNAL, "run '%s': read its output", spec->argv[0]);
    }
    uv_update_time(loop); /* exec may have taken its time */
    if (spec->deadline_ms)
        uv_timer_start(&c->deadline, on_deadline, spec->deadline_ms, 0);
    *ret = c;
    return true;
}
