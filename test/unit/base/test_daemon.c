#include "unit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/daemon.h"

/* A daemon with a timer that keeps it busy; stopping closes the timer, or does nothing at all. */
struct program {
    struct daemon daemon;
    uv_timer_t busy;
    bool stubborn;
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

/* Runs a daemon in a child that signals itself; returns how it ended. */
static int run_child(int number, bool stubborn)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        static struct program p;
        struct err e = ERR_INIT;

        p.stubborn = stubborn;
        if (!daemon_open(&p.daemon, stop, &p, &e))
            _exit(9);
        uv_timer_init(&p.daemon.loop, &p.busy);
        uv_timer_start(&p.busy, nothing, 10000, 10000);
        raise(SIGPIPE); /* no reason to end */
        raise(number);
        daemon_run(&p.daemon);
        _exit(p.daemon.stopping ? 0 : 8);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void a_signal_stops_in_order_and_exits_0(void **state)
{
    (void)state;
    assert_int_equal(run_child(SIGTERM, false), 0);
    assert_int_equal(run_child(SIGINT, false), 0);
}

static void a_second_signal_ends_at_once_with_1(void **state)
{
    (void)state;
    assert_int_equal(run_child(SIGTERM, true), 1);
}

static void wrong_settings_are_2_and_other_faults_1(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    err_fail(&e, ERR_KIND_INVALID, "x");
    assert_int_equal(daemon_code_of(&e), 2);
    err_fail(&e, ERR_KIND_UNAVAILABLE, "x");
    assert_int_equal(daemon_code_of(&e), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signal_stops_in_order_and_exits_0),
        cmocka_unit_test(a_second_signal_ends_at_once_with_1),
        cmocka_unit_test(wrong_settings_are_2_and_other_faults_1),
    };
    return cmocka_run_group_tests_name("base/daemon", tests, NULL, NULL);
}
