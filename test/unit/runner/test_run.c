#include "unit/base/unit.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/stage.h"
#include "base/strays.h"
#include "runner/run.h"
#include "unit/base/patience.h"

struct fixture {
    char dir[256];
    uv_loop_t loop;
    uv_timer_t limit; /* no test waits longer */
    struct run *run;
    bool finished;
    char error[RUN_ERROR_MAX];
    struct buf out, err;
    size_t largest;
    const char *stop_at; /* stdout text at which the run is stopped */
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const char *tmp = getenv("TMPDIR");

    assert_non_null(f);
    snprintf(f->dir, sizeof(f->dir), "%s/run-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(uv_timer_init(&f->loop, &f->limit), 0);
    f->out = f->err = (struct buf)BUF_INIT((size_t)64 * 1024 * 1024);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    CLEANUP(fd_done) int parent = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct err e = ERR_INIT;

    uv_close((uv_handle_t *)&f->limit, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    assert_true(stage_remove_tree(parent, f->dir + 1, &e));
    buf_done(&f->out);
    buf_done(&f->err);
    free(f);
    return 0;
}

static void on_output(const struct run_step *step, enum child_stream stream, struct slice bytes, void *ctx)
{
    struct fixture *f = ctx;
    struct buf *b = stream == CHILD_STDERR ? &f->err : &f->out;
    struct err e = ERR_INIT;

    (void)step;
    if (bytes.len > f->largest)
        f->largest = bytes.len;
    assert_true(buf_append(b, bytes, &e));
    if (f->stop_at && strstr(buf_str(&f->out, &e), f->stop_at))
        run_stop(f->run);
}

static void on_finished(const char *error, void *ctx)
{
    struct fixture *f = ctx;

    snprintf(f->error, sizeof(f->error), "%s", error);
    f->finished = true;
}

static void on_limit(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* Runs a script of that text as the algorithm; its error is in f->error. */
static void run_kind(struct fixture *f, const char *kind, const char *script, uint64_t deadline_ms)
{
    struct run_request r = { .kind = kind, .work_dir = f->dir, .algorithm = "algo", .requirements = "" };
    struct run_config cfg = {
        .deadline_ms = deadline_ms, .output = on_output, .finished = on_finished, .ctx = f
    };
    struct run_plan plan = { .count = 0 };
    struct err e = ERR_INIT;
    bool late = false;
    char path[512];

    if (script) {
        snprintf(path, sizeof(path), "%s/algo", f->dir);

        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

        assert_true(fd >= 0);
        assert_true(stage_write_all(fd, slice_of_str(script), &e));
        close(fd);
    }
    if (!run_plan_make(&r, &plan, &e) || !run_start(&f->loop, &plan, &cfg, &f->run, &e))
        fail_msg("%s", err_text(&e));
    f->limit.data = &late;
    uv_timer_start(&f->limit, on_limit, patience_ms(30000), 0);
    while (!f->finished && !late)
        uv_run(&f->loop, UV_RUN_ONCE);
    uv_timer_stop(&f->limit);
    assert_true(f->finished);
}

static void run_sh(struct fixture *f, const char *script)
{
    char text[4096];

    snprintf(text, sizeof(text), "#!/bin/sh\n%s\n", script);
    run_kind(f, "bin", text, 0);
}

static struct outcome_case {
    const char *name;
    const char *script; /* of sh */
    const char *want_error;
} outcome_cases[] = {
    { "success_has_no_error", "exit 0", "" },
    { "stderr_of_a_success_is_no_error", "echo careful >&2", "" },
    { "exit_code_is_told", "exit 3", "algorithm execution error: exit status 3" },
    { "last_lines_of_stderr_are_told", "echo early; echo one >&2; echo two >&2; exit 1",
      "algorithm execution error: exit status 1; last lines of stderr:\none\ntwo" },
    { "signal_is_told_by_name", "kill -SEGV $$", "algorithm execution error: signal: segmentation fault" },
    { "kill_is_killed", "kill -KILL $$", "algorithm execution error: signal: killed" },
    { "term_is_terminated", "kill -TERM $$", "algorithm execution error: signal: terminated" },
};

static void check_outcome(void **state)
{
    const struct outcome_case *c = *state;
    struct fixture *f;
    void *fixture;
    char *core;

    setup(&fixture);
    f = fixture;
    run_sh(f, c->script);
    core = strstr(f->error, " (core dumped)"); /* as the machine is set up */
    if (core)
        memmove(core, core + strlen(" (core dumped)"), strlen(core + strlen(" (core dumped)")) + 1);
    assert_string_equal(f->error, c->want_error);
    teardown(&fixture);
}

static void missing_algorithm_is_told(void **state)
{
    struct fixture *f = *state;

    run_kind(f, "bin", NULL, 0);
    assert_true(slice_starts(slice_of_str(f->error), "error starting algorithm: "));
    assert_non_null(strstr(f->error, "/algo"));
}

static void missing_interpreter_is_named(void **state)
{
    struct fixture *f = *state;

    run_kind(f, "bin", "#!/no/such/interpreter\n", 0);
    assert_true(slice_starts(slice_of_str(f->error), "error starting algorithm: "));
    if (!strstr(f->error, "/no/such/interpreter"))
        fail_msg("%s", f->error);
}

static void output_comes_whole_in_pieces_of_at_most_1024_bytes(void **state)
{
    struct fixture *f = *state;

    run_sh(f, "head -c 3000000 /dev/zero | tr '\\0' x; printf end");
    assert_string_equal(f->error, "");
    assert_int_equal(f->out.len, 3000003);
    assert_true(slice_ends(buf_slice(&f->out), "xend"));
    assert_true(f->largest <= 1024);
}

static void algorithm_runs_in_the_work_dir_with_little_environment(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;

    setenv("CANARY", "secret", 1);
    run_sh(f, "pwd; env");

    const char *text = buf_str(&f->out, &e);

    assert_true(slice_starts(slice_of_str(text), f->dir));
    assert_null(strstr(text, "CANARY"));
    assert_null(strstr(text, "secret"));
    assert_non_null(strstr(text, "PATH="));
}

static void stop_kills_the_run(void **state)
{
    struct fixture *f = *state;

    f->stop_at = "started";
    run_sh(f, "trap '' TERM INT HUP; echo started; while :; do sleep 1000; done");
    assert_string_equal(f->error, "algorithm execution error: signal: killed (stopped)");
}

/* No such process, or a dead one whom nobody has waited for. It has been killed; dying takes a moment. */
static bool is_gone(const char *pid_text)
{
    int pid = (int)strtol(pid_text, NULL, 10);
    uint64_t ms = 0;
    char path[64], line[256];
    struct pollfd none = { .fd = -1 };

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    for (;; ms += 10, poll(&none, 1, 10)) {
        FILE *f = fopen(path, "re");

        if (!f)
            return true;

        bool dead = fgets(line, sizeof(line), f) && strstr(line, ") Z ");

        fclose(f);
        if (dead || ms > patience_ms(10000))
            return dead;
    }
}

static void stop_kills_children_of_the_algorithm(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;

    f->stop_at = "started";
    run_sh(f, "sleep 1000 & a=$!; (sleep 1000 & echo $! >b; wait) & while [ ! -s b ]; do :; done\n"
              "echo $a $(cat b) started; wait");
    assert_non_null(strstr(f->error, "signal: killed"));

    const char *pids = buf_str(&f->out, &e);

    assert_true(is_gone(pids));
    assert_true(is_gone(strchr(pids, ' ')));
}

static void what_the_algorithm_leaves_running_is_killed(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;

    run_sh(f, "sleep 1000 & echo $!; exit 0");
    assert_string_equal(f->error, "");
    assert_true(is_gone(buf_str(&f->out, &e)));
}

static void deadline_kills_and_is_told(void **state)
{
    struct fixture *f = *state;

    run_kind(f, "bin", "#!/bin/sh\nsleep 1000\n", 200);
    assert_string_equal(f->error, "algorithm execution error: signal: killed (it ran longer than 200ms)");
}

static void python_runs_in_an_environment_that_is_removed(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char venv[512];

    run_kind(f, "python", "import sys, os\nprint(sys.prefix)\nprint(open('algo').name)\n", 0);
    assert_string_equal(f->error, "");
    snprintf(venv, sizeof(venv), "%s/" RUN_VENV_DIR, f->dir);
    assert_true(slice_starts(slice_of_str(buf_str(&f->out, &e)), venv));
    assert_int_equal(access(venv, F_OK), -1);
}

static void python_traceback_is_in_the_error(void **state)
{
    struct fixture *f = *state;

    run_kind(f, "python", "raise ValueError('bad data')\n", 0);
    assert_true(
        slice_starts(slice_of_str(f->error), "algorithm execution error: exit status 1; last lines of "));
    assert_true(slice_ends(slice_of_str(f->error), "ValueError: bad data"));
}

static void ag_17_venv_of_an_interrupted_run_is_swept(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char path[512];

    snprintf(path, sizeof(path), "%s/" RUN_VENV_DIR, f->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/" RUN_VENV_DIR "/lib", f->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(run_sweep(f->dir, &e));
    snprintf(path, sizeof(path), "%s/" RUN_VENV_DIR, f->dir);
    assert_int_equal(access(path, F_OK), -1);
    assert_true(run_sweep(f->dir, &e));
}

#define TEST(name) (struct CMUnitTest) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static struct CMUnitTest tests[ARRAY_LEN(outcome_cases) + 11];
    struct err e = ERR_INIT;
    size_t count = 0;

    if (!strays_adopt(&e))
        return 1;

    UNIT_ROWS(tests, count, outcome_cases, check_outcome);
    tests[count++] = TEST(missing_algorithm_is_told);
    tests[count++] = TEST(missing_interpreter_is_named);
    tests[count++] = TEST(output_comes_whole_in_pieces_of_at_most_1024_bytes);
    tests[count++] = TEST(algorithm_runs_in_the_work_dir_with_little_environment);
    tests[count++] = TEST(stop_kills_the_run);
    tests[count++] = TEST(stop_kills_children_of_the_algorithm);
    tests[count++] = TEST(what_the_algorithm_leaves_running_is_killed);
    tests[count++] = TEST(deadline_kills_and_is_told);
    tests[count++] = TEST(python_runs_in_an_environment_that_is_removed);
    tests[count++] = TEST(python_traceback_is_in_the_error);
    tests[count++] = TEST(ag_17_venv_of_an_interrupted_run_is_swept);
    return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
