#include "unit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/daemon.h"

/* A daemon with a timer that keeps it busy; stopping closes the timer, or does nothing at all. */
struct program {
    struct daemon daemon;
    uv_timer_t busy;
    int number;    /* of the signal it sends itself */
    bool stubborn; /* does not heed it              */
    enum err_kind start_fails, later_fails;
};

static void nothing(uv_timer_t *t)
{
    (void)t;
}

static void stop(void *ctx)
{
    struct program *p = ctx;

    if (p->stubborn)
        raise(SIGTERM); /* the second one */
    else
        uv_close((uv_handle_t *)&p->busy, NULL);
}

static void take_down(void *ctx)
{
    struct program *p = ctx;

    uv_close((uv_handle_t *)&p->busy, NULL);
}

static void fail_later(uv_timer_t *t)
{
    struct program *p = t->data;
    struct err e = ERR_INIT;

    err_fail(&e, p->later_fails, "x");
    daemon_fail(&p->daemon, &e);
}

static bool start(void *ctx, struct err *e)
{
    struct program *p = ctx;

    uv_timer_init(&p->daemon.loop, &p->busy);
    p->busy.data = p;
    uv_timer_start(&p->busy, p->later_fails ? fail_later : nothing, p->later_fails ? 0 : 10000, 10000);
    if (p->start_fails)
        return err_fail(e, p->start_fails, "x");
    raise(SIGPIPE); /* no reason to end */
    raise(SIGXFSZ);
    if (p->number)
        raise(p->number);
    return true;
}

/* Runs a daemon in a child and returns its exit code, or its signal below 0. */
static int run_child(struct program p)
{
    static const struct daemon_turns turns = { start, stop, take_down };
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        int code = daemon_serve(&p.daemon, &turns, &p);

        _exit(p.daemon.stopping ? code : 8);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void a_signal_stops_in_order_and_exits_0(void **state)
{
    (void)state;
    assert_int_equal(run_child((struct program){ .number = SIGTERM }), 0);
    assert_int_equal(run_child((struct program){ .number = SIGINT }), 0);
}

static void a_second_signal_ends_at_once_with_1(void **state)
{
    (void)state;
    assert_int_equal(run_child((struct program){ .number = SIGTERM, .stubborn = true }), 1);
}

static void wrong_settings_are_2_and_other_faults_1(void **state)
{
    (void)state;
    assert_int_equal(run_child((struct program){ .start_fails = ERR_KIND_INVALID }), 2);
    assert_int_equal(run_child((struct program){ .start_fails = ERR_KIND_UNAVAILABLE }), 1);
}

static void a_fault_behind_start_ends_the_program_likewise(void **state)
{
    (void)state;
    assert_int_equal(run_child((struct program){ .later_fails = ERR_KIND_INVALID }), 2);
    assert_int_equal(run_child((struct program){ .later_fails = ERR_KIND_INTERNAL }), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signal_stops_in_order_and_exits_0),
        cmocka_unit_test(a_second_signal_ends_at_once_with_1),
        cmocka_unit_test(wrong_settings_are_2_and_other_faults_1),
        cmocka_unit_test(a_fault_behind_start_ends_the_program_likewise),
    };
    return cmocka_run_group_tests_name("base/daemon", tests, NULL, NULL);
}
