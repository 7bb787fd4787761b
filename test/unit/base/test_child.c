#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/stage.h"
#include "patience.h"

/* What a test sees of one child, and what it does at the first output. */
struct seen {
    uv_loop_t loop;
    uv_timer_t limit;
    struct child *child;
    struct buf text[2];
    size_t largest;
    size_t exits;
    struct child_exit how;
    size_t late; /* output after on_exit */
    uint64_t stop_grace_ms;
    enum { AT_FIRST_NOTHING, AT_FIRST_STOP, AT_FIRST_FREE, AT_FIRST_PAUSE } at_first;
    uv_timer_t resume;
    size_t len_at_resume;
};

static void resume_later(struct seen *s, uint64_t ms);

static void on_output(struct child *c, enum child_stream stream, struct slice bytes, void *ctx)
{
    struct seen *s = ctx;
    struct err e = ERR_INIT;
    bool first = s->text[0].len + s->text[1].len == 0;

    assert_true(bytes.len > 0);
    s->late += s->exits;
    s->largest = bytes.len > s->largest ? bytes.len : s->largest;
    assert_true(buf_append(&s->text[stream], bytes, &e));
    if (!first)
        return;
    switch (s->at_first) {
    case AT_FIRST_NOTHING: break;
    case AT_FIRST_STOP: child_stop(c, s->stop_grace_ms); break;
    case AT_FIRST_FREE:
        child_free(c);
        s->child = NULL;
        break;
    case AT_FIRST_PAUSE:
        child_pause(c, stream, true);
        resume_later(s, 300);
        break;
    }
}

static void on_exit_seen(struct child *c, const struct child_exit *how, void *ctx)
{
    struct seen *s = ctx;

    assert_ptr_equal(c, s->child);
    s->exits++;
    s->how = *how;
    child_free(c);
    s->child = NULL;
}

static void on_limit(uv_timer_t *t)
{
    (void)t;
    fail_msg("nothing happened for %llu ms", (unsigned long long)patience_ms(20000));
}

static void seen_init(struct seen *s)
{
    *s = (struct seen){ .text = { BUF_INIT(1 << 24), BUF_INIT(1 << 24) } };
    assert_int_equal(uv_loop_init(&s->loop), 0);
    uv_timer_init(&s->loop, &s->limit);
    uv_timer_start(&s->limit, on_limit, patience_ms(20000), 0);
    uv_unref((uv_handle_t *)&s->limit);
}

/* Runs the loop to its end: the child's handles are all that keep it. */
static void seen_run(struct seen *s)
{
    uv_run(&s->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&s->limit, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    assert_int_equal(s->late, 0);
}

static void seen_done(struct seen *s)
{
    buf_done(&s->text[0]);
    buf_done(&s->text[1]);
}

static const char *seen_text(struct seen *s, enum child_stream stream)
{
    struct err e = ERR_INIT;

    return buf_str(&s->text[stream], &e);
}

static void spawn(struct seen *s, struct child_spec spec)
{
    struct err e = ERR_INIT;

    spec.on_output = on_output;
    spec.on_exit = on_exit_seen;
    spec.ctx = s;
    if (!child_spawn(&s->loop, &spec, &s->child, &e))
        fail_msg("%s", err_text(&e));
}

static void spawn_sh(struct seen *s, const char *line)
{
    const char *const argv[] = { "/bin/sh", "-c", line, NULL };
    const char *const env[] = { "PATH=/usr/bin:/bin", "LC_ALL=C", NULL };

    spawn(s, (struct child_spec){ .argv = argv, .env = env, .drain_ms = 100 });
}

/* True when pid is gone, or dead and only waits to be reaped by someone else. */
static bool is_dead(pid_t pid)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
    struct err e = ERR_INIT;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (!stage_read_file(path, &text, &e))
        return true;

    const char *state = buf_str(&text, &e);

    state = state ? strrchr(state, ')') : NULL;
    return state && (state[2] == 'Z' || state[2] == 'X');
}

/* Its SIGKILL is under way; it dies when it gets a processor. */
static void wait_dead(pid_t pid)
{
    uint64_t until = uv_hrtime() + patience_ms(10000) * 1000000;

    while (!is_dead(pid)) {
        assert_true(uv_hrtime() < until);
        poll(NULL, 0, 1);
    }
}

static size_t open_fds(void)
{
    return scratch_count("/proc/self/fd");
}

/* ---- what a child sees, and what is seen of it ---- */

static struct sh_case {
    const char *name;
    const char *line;
    const char *out;
    const char *err;
    bool by_signal;
    int number;
} sh_cases[] = {
    { "streams_are_apart", "echo a; echo b >&2; echo c", "a\nc\n", "b\n", false, 0 },
    { "exit_code_is_told", "exit 3", "", "", false, 3 },
    { "signal_is_told", "kill -KILL $$", "", "", true, SIGKILL },
    { "stdin_is_empty", "cat; echo end", "end\n", "", false, 0 },
    { "environment_is_what_was_given", "env -u PWD -u _ -u SHLVL -u OLDPWD | sort",
      "LC_ALL=C\nPATH=/usr/bin:/bin\n", "", false, 0 },
    { "own_session_and_group",
      "read -r _ _ _ _ g s _ < /proc/$$/stat; [ $g = $$ ] && [ $s = $$ ] && echo own", "own\n", "", false,
      0 },
    { "descriptors_don_t_leak", "[ -e /proc/$$/fd/57 ] || echo none", "none\n", "", false, 0 },
    { "ignored_signals_are_restored", "kill -PIPE $$; echo survived", "", "", true, SIGPIPE },
    { "blocked_signals_are_restored", "kill -USR1 $$; echo survived", "", "", true, SIGUSR1 },
    { "background_job_without_pipes_is_killed_at_the_end", "sleep 1000 >/dev/null 2>&1 & echo $! > pid", "",
      "", false, 0 },
    { "background_job_with_pipes_does_not_hang_us", "sleep 1000 & echo $! > pid", "", "", false, 0 },
    { "background_writer_does_not_hang_us", "while :; do :; done & echo $! > pid; echo x", "x\n", "", false,
      0 },
};

static void check_sh(void **state)
{
    const struct sh_case *c = *state;
    size_t fds = open_fds();
    sigset_t block;
    sigset_t before;
    struct seen s;

    (void)unlink("pid");
    assert_int_equal(dup2(STDERR_FILENO, 57), 57); /* without O_CLOEXEC */
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    sigprocmask(SIG_BLOCK, &block, &before);
    seen_init(&s);
    spawn_sh(&s, c->line);
    sigprocmask(SIG_SETMASK, &before, NULL);
    seen_run(&s);
    close(57);
    assert_int_equal(s.exits, 1);
    assert_string_equal(seen_text(&s, CHILD_STDOUT), c->out);
    assert_string_equal(seen_text(&s, CHILD_STDERR), c->err);
    assert_int_equal(s.how.by_signal, c->by_signal);
    assert_int_equal(s.how.number, c->number);
    assert_false(s.how.stopped || s.how.timed_out || s.how.cut_output);
    assert_int_equal(open_fds(), fds);
    if (scratch_has("pid")) {
        CLEANUP(buf_done) struct buf text = BUF_INIT(64);
        struct err e = ERR_INIT;

        scratch_read("pid", &text);

        pid_t pid = (pid_t)strtol(buf_str(&text, &e), NULL, 10);

        assert_true(pid > 1);
        wait_dead(pid);
    }
    seen_done(&s);
}

static void cwd_is_entered(void **state)
{
    static const char *const argv[] = { "pwd", NULL };
    struct seen s;

    (void)state;
    seen_init(&s);
    spawn(&s, (struct child_spec){ .argv = argv, .cwd = "/proc" });
    seen_run(&s);
    assert_string_equal(seen_text(&s, CHILD_STDOUT), "/proc\n");
    seen_done(&s);
}

static void output_is_whole_and_in_small_chunks(void **state)
{
    struct seen s;
    struct slice left;
    char want[16];

    (void)state;
    seen_init(&s);
    spawn_sh(&s, "seq 1 200000 & seq 1 50000 >&2; wait");
    seen_run(&s);
    assert_int_equal(s.largest, 1024);
    assert_int_equal(s.text[CHILD_STDOUT].len, 1288895);
    assert_int_equal(s.text[CHILD_STDERR].len, 288894);
    left = buf_slice(&s.text[CHILD_STDOUT]);
    for (int i = 1; i <= 200000; i++) {
        int len = snprintf(want, sizeof(want), "%d\n", i);

        assert_memory_equal(left.at, want, (size_t)len);
        left = slice_after(left, (size_t)len);
    }
    seen_done(&s);
}

static void chunk_size_can_be_chosen(void **state)
{
    static const char *const argv[] = { "head", "-c", "10000", "/dev/zero", NULL };
    struct seen s;

    (void)state;
    seen_init(&s);
    spawn(&s, (struct child_spec){ .argv = argv, .chunk_max = 7 });
    seen_run(&s);
    assert_int_equal(s.largest, 7);
    assert_int_equal(s.text[CHILD_STDOUT].len, 10000);
    seen_done(&s);
}

/* ---- what can't be run ---- */

static struct fail_case {
    const char *name;
    const char *argv0;
    const char *cwd;
    enum err_kind want;
    const char *want_text;
} fail_cases[] = {
    { "no_such_program_on_path", "no-such-program-57", NULL, ERR_KIND_MISSING,
      "run 'no-such-program-57': no such program on PATH" },
    { "no_such_file", "/no/such/file", NULL, ERR_KIND_MISSING,
      "run '/no/such/file': No such file or directory" },
    { "relative_path", "./x", NULL, ERR_KIND_INVALID,
      "run './x': an absolute path or a plain name is wanted" },
    { "empty_name", "", NULL, ERR_KIND_INVALID, "run a program: its name is empty" },
    { "no_name", NULL, NULL, ERR_KIND_INVALID, "run a program: its name is empty" },
    { "no_interpreter", "script", NULL, ERR_KIND_MISSING,
      "the interpreter it asks for is not there: '/no/such/interpreter'" },
    { "not_executable", "plain", NULL, ERR_KIND_DENIED, "Permission denied" },
    { "no_format", "noformat", NULL, ERR_KIND_INVALID, "neither a program for this machine nor a script" },
    { "a_directory", "/tmp", NULL, ERR_KIND_DENIED, "run '/tmp': Permission denied" },
    { "no_such_cwd", "/bin/true", "/no/such/dir", ERR_KIND_MISSING, "run '/bin/true': enter '/no/such/dir'" },
};

static void check_fail(void **state)
{
    const struct fail_case *c = *state;
    size_t fds;
    char full[256];
    char dir[192];
    struct seen s;
    struct err e = ERR_INIT;

    scratch_write("script", (struct slice)SLICE_LIT("#!/no/such/interpreter\n"), 0755);
    scratch_write("plain", (struct slice)SLICE_LIT("#!/bin/sh\n"), 0644);
    scratch_write("noformat", (struct slice)SLICE_LIT("\x01\x02\x03"), 0755);
    assert_non_null(getcwd(dir, sizeof(dir)));
    if (c->argv0 && scratch_has(c->argv0) && c->argv0[0] != '/' && c->argv0[0] != '\0')
        snprintf(full, sizeof(full), "%s/%s", dir, c->argv0);
    else
        snprintf(full, sizeof(full), "%s", c->argv0 ? c->argv0 : "");

    const char *const argv[] = { c->argv0 ? full : NULL, NULL };
    const struct child_spec spec = {
        .argv = argv, .cwd = c->cwd, .on_output = on_output, .on_exit = on_exit_seen, .ctx = &s
    };

    fds = open_fds();
    seen_init(&s);
    assert_false(child_spawn(&s.loop, &spec, &s.child, &e));
    assert_int_equal(e.kind, c->want);
    assert_non_null(strstr(err_text(&e), c->want_text));
    assert_null(s.child);
    uv_run(&s.loop, UV_RUN_DEFAULT);
    seen_run(&s);
    assert_int_equal(open_fds(), fds);
    assert_int_equal(s.exits, 0);
    /* No child is left behind, dead or alive. */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    seen_done(&s);
}

/* ---- stopping ---- */

static struct stop_case {
    const char *name;
    const char *line; /* says "up" when it is ready to be stopped */
    uint64_t grace_ms;
    bool by_signal;
    int number;
} stop_cases[] = {
    { "sigterm_ends_it", "echo up; while :; do sleep 1000; done", 10000, true, SIGTERM },
    { "sigterm_can_be_handled", "trap 'exit 7' TERM; echo up; sleep 1000 & wait", 10000, false, 7 },
    { "sigkill_follows", "trap '' TERM; echo up; while :; do sleep 1000; done", 50, true, SIGKILL },
    { "no_grace_is_sigkill", "trap 'exit 7' TERM; echo up; while :; do sleep 1000; done", 0, true, SIGKILL },
    { "stopped_process_gets_sigterm",
      "(until grep -q '^State:.T' /proc/$$/status; do :; done; echo up) & kill -STOP $$; while :; do sleep "
      "1000; done",
      10000, true, SIGTERM },
    { "the_whole_group_goes", "(trap '' TERM; while :; do sleep 1; done) & echo up; wait", 10000, true,
      SIGTERM },
};

static void check_stop(void **state)
{
    const struct stop_case *c = *state;
    struct seen s;

    seen_init(&s);
    s.at_first = AT_FIRST_STOP;
    s.stop_grace_ms = c->grace_ms;
    spawn_sh(&s, c->line);
    seen_run(&s);
    assert_int_equal(s.exits, 1);
    assert_true(s.how.stopped);
    assert_int_equal(s.how.by_signal, c->by_signal);
    assert_int_equal(s.how.number, c->number);
    assert_false(s.how.timed_out);
    assert_string_equal(seen_text(&s, CHILD_STDOUT), "up\n");
    seen_done(&s);
}

static void deadline_stops_it(void **state)
{
    static const char *const argv[] = { "/bin/sh", "-c",
                                        "trap '' TERM; echo up; while :; do sleep 1000; done", NULL };
    bool was_up = false;

    (void)state;
    /* Long enough for the shell to have come to ignore SIGTERM. */
    for (uint64_t ms = 100; !was_up; ms *= 3) {
        struct seen s;

        assert_true(ms < patience_ms(20000));
        seen_init(&s);
        spawn(&s, (struct child_spec){
                      .argv = argv, .deadline_ms = ms, .deadline_grace_ms = 50, .drain_ms = 100 });
        seen_run(&s);
        was_up = s.text[CHILD_STDOUT].len > 0;
        assert_true(s.how.timed_out);
        assert_false(s.how.stopped);
        assert_true(s.how.by_signal);
        assert_int_equal(s.how.number, was_up ? SIGKILL : s.how.number);
        seen_done(&s);
    }
}

static void deadline_after_the_end_is_nothing(void **state)
{
    static const char *const argv[] = { "true", NULL };
    struct seen s;

    (void)state;
    seen_init(&s);
    spawn(&s, (struct child_spec){ .argv = argv, .deadline_ms = 3600000 });
    seen_run(&s); /* would wait for an hour otherwise */
    assert_false(s.how.timed_out);
    assert_int_equal(s.how.number, 0);
    seen_done(&s);
}

static void escaped_process_is_cut_off(void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(64);
    struct err e = ERR_INIT;
    struct seen s;

    (void)state;
    seen_init(&s);
    spawn_sh(&s, "setsid sleep 1000 & echo $! > pid; while ! [ \"$(cut -d' ' -f6 /proc/$!/stat)\" = $! ]; do "
                 ":; done; echo x");
    seen_run(&s);
    assert_true(s.how.cut_output);
    assert_int_equal(s.exits, 1);
    assert_int_equal(s.how.number, 0);
    assert_string_equal(seen_text(&s, CHILD_STDOUT), "x\n");
    scratch_read("pid", &text);
    assert_int_equal(kill((pid_t)strtol(buf_str(&text, &e), NULL, 10), SIGKILL), 0);
    seen_done(&s);
}

/* ---- back-pressure ---- */

static void on_resume(uv_timer_t *t)
{
    struct seen *s = t->data;

    s->len_at_resume = s->text[CHILD_STDOUT].len;
    assert_int_equal(s->exits, 0);
    uv_close((uv_handle_t *)t, NULL);
    child_pause(s->child, CHILD_STDOUT, false);
    /* A loop that is busy for longer than the drain period, which then ends before anything is read. */
    for (uint64_t until = uv_hrtime() + 150 * (uint64_t)1000000; uv_hrtime() < until;)
        ;
    uv_update_time(&s->loop);
}

static void resume_later(struct seen *s, uint64_t ms)
{
    uv_timer_init(&s->loop, &s->resume);
    s->resume.data = s;
    uv_timer_start(&s->resume, on_resume, ms, 0);
}

static void paused_output_stays_with_the_child(void **state)
{
    struct seen s;

    (void)state;
    seen_init(&s);
    s.at_first = AT_FIRST_PAUSE;
    spawn_sh(&s, "head -c 1000000 /dev/zero; echo done >&2");
    seen_run(&s);
    assert_int_equal(s.len_at_resume, 1024);
    assert_int_equal(s.text[CHILD_STDOUT].len, 1000000);
    assert_string_equal(seen_text(&s, CHILD_STDERR), "done\n");
    seen_done(&s);
}

static void output_held_back_over_the_exit_is_kept(void **state)
{
    struct seen s;

    (void)state;
    seen_init(&s);
    spawn_sh(&s, "echo kept"); /* drains for 100 ms */
    child_pause(s.child, CHILD_STDOUT, true);
    resume_later(&s, 500); /* falls together with a drain */
    seen_run(&s);
    assert_int_equal(s.len_at_resume, 0);
    assert_int_equal(s.exits, 1);
    assert_string_equal(seen_text(&s, CHILD_STDOUT), "kept\n");
    assert_false(s.how.cut_output);
    seen_done(&s);
}

/* ---- freeing ---- */

static void free_kills_and_is_silent(void **state)
{
    struct seen s;
    pid_t pid;

    (void)state;
    seen_init(&s);
    spawn_sh(&s, "trap '' TERM; while :; do sleep 1000; done");
    pid = child_pid(s.child);
    child_free(s.child);
    s.child = NULL;
    seen_run(&s);
    assert_int_equal(s.exits, 0);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH); /* reaped as well */
    child_free(NULL);
    seen_done(&s);
}

static void free_within_output_is_fine(void **state)
{
    struct seen s;

    (void)state;
    seen_init(&s);
    s.at_first = AT_FIRST_FREE;
    spawn_sh(&s, "while :; do echo x; done");
    seen_run(&s);
    assert_int_equal(s.exits, 0);
    assert_in_range(s.text[CHILD_STDOUT].len, 1, 1024); /* one chunk */
    seen_done(&s);
}

static void many_at_once(void **state)
{
    static struct seen all[20];
    static uv_loop_t *loop = &all[0].loop;
    static const char *const argv[] = { "/bin/sh", "-c", "echo out; echo err >&2; exit 9", NULL };
    size_t fds = open_fds();

    (void)state;
    seen_init(&all[0]);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct child_spec spec = {
            .argv = argv, .on_output = on_output, .on_exit = on_exit_seen, .ctx = &all[i]
        };
        struct err e = ERR_INIT;

        if (i > 0)
            all[i] = (struct seen){ .text = { BUF_INIT(1024), BUF_INIT(1024) } };
        assert_true(child_spawn(loop, &spec, &all[i].child, &e));
    }
    seen_run(&all[0]);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        assert_int_equal(all[i].exits, 1);
        assert_int_equal(all[i].how.number, 9);
        assert_string_equal(seen_text(&all[i], CHILD_STDOUT), "out\n");
        assert_string_equal(seen_text(&all[i], CHILD_STDERR), "err\n");
        seen_done(&all[i]);
    }
    assert_int_equal(open_fds(), fds);
}

/* ---- death of the parent ---- */

static void child_dies_with_a_killed_parent(void **state)
{
    static const char *const argv[] = { "sleep", "1000", NULL };
    int fds[2];
    pid_t sleeper = 0;
    pid_t parent;

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    parent = fork();
    if (parent == 0) {
        struct child_spec spec = { .argv = argv };
        struct child *c;
        struct err e = ERR_INIT;
        uv_loop_t loop;

        uv_loop_init(&loop);
        sleeper = child_spawn(&loop, &spec, &c, &e) ? child_pid(c) : -1;
        (void)!write(fds[1], &sleeper, sizeof(sleeper));
        pause();
        _exit(1);
    }
    assert_int_equal(read(fds[0], &sleeper, sizeof(sleeper)), sizeof(sleeper));
    close(fds[0]);
    close(fds[1]);
    assert_true(sleeper > 1);
    assert_false(is_dead(sleeper));
    kill(parent, SIGKILL);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    wait_dead(sleeper);
}

static int enter(void **state)
{
    uv_signal_t first;
    uv_loop_t loop;

    (void)state;
    scratch_enter();
    setenv("PATH", "/usr/bin:/bin", 1); /* a folder in it that may not be searched would be another error */
    /* libuv keeps a pipe for signals from its first loop on, which is no leak. */
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_signal_init(&loop, &first), 0);
    uv_close((uv_handle_t *)&first, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(cwd_is_entered),
        cmocka_unit_test(output_is_whole_and_in_small_chunks),
        cmocka_unit_test(chunk_size_can_be_chosen),
        cmocka_unit_test(deadline_stops_it),
        cmocka_unit_test(deadline_after_the_end_is_nothing),
        cmocka_unit_test(escaped_process_is_cut_off),
        cmocka_unit_test(paused_output_stays_with_the_child),
        cmocka_unit_test(output_held_back_over_the_exit_is_kept),
        cmocka_unit_test(free_kills_and_is_silent),
        cmocka_unit_test(free_within_output_is_fine),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(child_dies_with_a_killed_parent),
    };
    static struct CMUnitTest tests[96];
    size_t count = 0;

    UNIT_ROWS(tests, count, sh_cases, check_sh);
    UNIT_ROWS(tests, count, fail_cases, check_fail);
    UNIT_ROWS(tests, count, stop_cases, check_stop);
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        tests[count++] = single[i];
    return _cmocka_run_group_tests("child", tests, count, enter, scratch_teardown);
}
