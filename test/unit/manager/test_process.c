#include "unit/base/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/stage.h"
#include "unit/manager/loop.h"
#include "manager/process.h"
#include "unit/base/scratch.h"

struct watch {
    bool ended;
    struct mgr_process_exit how;
};

static void on_exit_of(const struct mgr_process_exit *how, void *ctx)
{
    struct watch *w = ctx;

    assert_false(w->ended); /* once */
    w->ended = true;
    w->how = *how;
}

struct fixture {
    uv_loop_t loop;
    int log_fd;
};

static int set_up(void **state)
{
    static struct fixture f;

    scratch_enter();
    uv_loop_init(&f.loop);
    f.log_fd = open("log", O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    *state = &f;
    return f.log_fd < 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    loop_end(&f->loop);
    close(f->log_fd);
    scratch_leave();
    return 0;
}

static struct mgr_process *start(struct fixture *f, const char *script, struct watch *w)
{
    char *argv[] = { "sh", "-c", (char *)(uintptr_t)script, NULL };
    struct mgr_process *p = NULL;
    struct err e = ERR_INIT;

    if (!mgr_process_spawn(&f->loop, argv, f->log_fd, -1, on_exit_of, w, &p, &e))
        fail_msg("%s", err_text(&e));
    return p;
}

static void exit_code_and_output_are_kept(void **state)
{
    struct fixture *f = *state;
    struct watch w = { 0 };
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
    struct err e = ERR_INIT;

    start(f, "echo out; echo err >&2; exit 7", &w);
    loop_until(&f->loop, &w.ended);
    assert_true(w.how.known && !w.how.by_signal);
    assert_int_equal(w.how.number, 7);
    assert_true(stage_read_file("log", &text, &e));
    assert_string_equal(buf_str(&text, &e), "out\nerr\n");
}

/* MG-11: what this process knows and holds open is not the child's. */
static void MG_11_environment_and_descriptors_are_not_handed_on(void **state)
{
    struct fixture *f = *state;
    struct watch w = { 0 };
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
    struct err e = ERR_INIT;
    int open_fd = dup2(f->log_fd, 57); /* without close-on-exec */

    setenv("AWS_SECRET_ACCESS_KEY", "s3cret", 1);
    start(f, "env | grep -c s3cret; test -e /proc/self/fd/57 && echo open; readlink /proc/self/fd/0", &w);
    loop_until(&f->loop, &w.ended);
    unsetenv("AWS_SECRET_ACCESS_KEY");
    close(open_fd);
    assert_true(stage_read_file("log", &text, &e));
    assert_string_equal(buf_str(&text, &e), "0\n/dev/null\n");
}

static void signal_ends_it_and_is_told(void **state)
{
    struct fixture *f = *state;
    struct watch w = { 0 };
    struct mgr_process *p = start(f, "exec sleep 1000", &w);

    mgr_process_signal(p, SIGTERM);
    loop_until(&f->loop, &w.ended);
    assert_true(w.how.known && w.how.by_signal);
    assert_int_equal(w.how.number, SIGTERM);
}

/* SIGKILL, and a plain end, take what the process has started with them. */
static void nothing_of_its_group_is_left(void **state)
{
    static const char *const scripts[] = { "sleep 1000 & echo $! > child; wait",
                                           "sleep 1000 & echo $! > child" };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        struct watch w = { 0 };
        struct mgr_process *p = start(f, scripts[i], &w);

        if (i == 0) {
            while (scratch_sh("test -s child") != 0)
                assert_false(w.ended);
            mgr_process_signal(p, SIGKILL);
        }
        loop_until(&f->loop, &w.ended);
        /* The grandchild is another's to reap: gone, or a zombie. */
        assert_int_equal(
            scratch_sh("timeout 60 sh -c 'while s=$(cut -d\" \" -f3 /proc/$(cat child)/stat 2>/dev/null) "
                       "&& test \"$s\" != Z; do :; done'"),
            0);
        assert_int_equal(unlink("child"), 0);
    }
}

static void program_that_is_not_there_is_MISSING(void **state)
{
    struct fixture *f = *state;
    char *argv[] = { "/nonexistent/qemu", NULL };
    struct mgr_process *p = NULL;
    struct err e = ERR_INIT;

    assert_false(mgr_process_spawn(&f->loop, argv, f->log_fd, -1, on_exit_of, NULL, &p, &e));
    assert_int_equal(e.kind, ERR_KIND_MISSING);
    assert_string_equal(err_text(&e), "start /nonexistent/qemu: No such file or directory");
}

static void freed_process_runs_on_and_is_adopted(void **state)
{
    struct fixture *f = *state;
    struct watch first = { 0 };
    struct watch second = { 0 };
    struct mgr_process *p = start(f, "exec sleep 1000", &first);
    struct mgr_process_id id = mgr_process_id(p);
    struct err e = ERR_INIT;

    mgr_process_free(p);
    mgr_process_free(NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(kill(id.pid, 0), 0);
    assert_true(mgr_process_adopt(&f->loop, &id, on_exit_of, &second, &p, &e));
    assert_int_equal(mgr_process_id(p).start_ticks, id.start_ticks);
    mgr_process_signal(p, SIGKILL);
    loop_until(&f->loop, &second.ended);
    assert_false(second.how.known); /* how, only its parent learns */
    assert_false(first.ended);
    assert_int_equal(waitpid(id.pid, NULL, 0), id.pid);
}

static void MG_5_pid_of_another_process_is_not_adopted_and_not_signalled(void **state)
{
    struct fixture *f = *state;
    struct watch w = { 0 };
    struct mgr_process *p = start(f, "exec sleep 1000", &w);
    struct mgr_process_id recorded = mgr_process_id(p);
    struct mgr_process *adopted = NULL;
    struct err e = ERR_INIT;

    recorded.start_ticks--; /* what had this pid began at another time */
    assert_false(mgr_process_adopt(&f->loop, &recorded, on_exit_of, NULL, &adopted, &e));
    assert_int_equal(e.kind, ERR_KIND_MISSING);
    assert_null(adopted);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_false(w.ended);
    assert_int_equal(waitpid(recorded.pid, NULL, WNOHANG), 0); /* unharmed */
    mgr_process_signal(p, SIGKILL);
    loop_until(&f->loop, &w.ended);
}

static void MG_5_process_that_is_gone_is_MISSING(void **state)
{
    struct fixture *f = *state;
    struct watch w = { 0 };
    struct mgr_process_id id = mgr_process_id(start(f, "exit 0", &w));
    struct mgr_process *adopted = NULL;
    struct err e = ERR_INIT;

    loop_until(&f->loop, &w.ended);
    assert_false(mgr_process_adopt(&f->loop, &id, on_exit_of, NULL, &adopted, &e));
    assert_int_equal(e.kind, ERR_KIND_MISSING);
}

static void MG_5_init_and_groups_are_never_adopted(void **state)
{
    static const pid_t pids[] = { 1, 0, -1, -4000 };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
        struct mgr_process_id id = { pids[i], 0 };
        struct mgr_process *adopted = NULL;
        struct err e = ERR_INIT;

        assert_false(mgr_process_adopt(&f->loop, &id, on_exit_of, NULL, &adopted, &e));
        assert_int_equal(e.kind, ERR_KIND_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(exit_code_and_output_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(MG_11_environment_and_descriptors_are_not_handed_on, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(signal_ends_it_and_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_of_its_group_is_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(program_that_is_not_there_is_MISSING, set_up, tear_down),
        cmocka_unit_test_setup_teardown(freed_process_runs_on_and_is_adopted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(MG_5_pid_of_another_process_is_not_adopted_and_not_signalled, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(MG_5_process_that_is_gone_is_MISSING, set_up, tear_down),
        cmocka_unit_test_setup_teardown(MG_5_init_and_groups_are_never_adopted, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
