#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strays.h"

#define TIMEOUT_MS 60000
#define BOMB_MAX 300

/* What the processes of a case tell: they have no other way once they are orphans. */
struct board {
    volatile int started; /* as many as the case waits for */
    volatile int forks;
};

static struct board *board;

static _Noreturn void linger(void)
{
    for (;;)
        pause();
}

static void started(void)
{
    __atomic_add_fetch(&board->started, 1, __ATOMIC_SEQ_CST);
}

/* ---- what an algorithm may do to get away; all of them end as orphans of the test ---- */

static _Noreturn void go_plain(void)
{
    started();
    linger();
}

static _Noreturn void go_session(void)
{
    setsid();
    go_plain();
}

static _Noreturn void go_double_fork(void)
{
    setsid();
    if (fork() != 0)
        _exit(0);
    setsid();
    if (fork() != 0)
        _exit(0);
    go_plain();
}

static _Noreturn void go_deaf(void)
{
    sigset_t all;

    setsid();
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    for (int s = 1; s < NSIG; s++)
        (void)signal(s, SIG_IGN);
    go_plain();
}

static _Noreturn void go_stopped(void)
{
    setsid();
    started();
    raise(SIGSTOP);
    linger();
}

/* A tree: parents stay, so their children are ours only when they are dead. */
static _Noreturn void go_deep(void)
{
    for (int i = 0; i < 20 && fork() == 0; i++)
        setsid();
    go_plain();
}

/* Always one process, never the same one for long. */
static _Noreturn void go_comet(void)
{
    started();
    for (;;) {
        pid_t pid = fork();

        __atomic_add_fetch(&board->forks, 1, __ATOMIC_SEQ_CST);
        if (pid > 0)
            _exit(0);
    }
}

/* Each forks for as long as it lives, up to a bound that a machine bears. */
static _Noreturn void go_bomb(void)
{
    started();
    for (;;) {
        if (__atomic_add_fetch(&board->forks, 1, __ATOMIC_SEQ_CST) > BOMB_MAX)
            linger();
        if (fork() == 0)
            setsid();
    }
}

/* Two that watch each other: who sees the other end starts another one. */
static _Noreturn void go_watch(void)
{
    int fds[2];

    setsid();
    for (;;) {
        char c;

        if (pipe(fds) != 0)
            _exit(1);
        if (fork() == 0) {
            close(fds[1]);
            if (fork() == 0) { /* holds the pipe of nobody, and lives on */
                close(fds[0]);
                go_plain();
            }
            (void)!read(fds[0], &c, 1); /* the watched one's end */
            continue;
        }
        started();
        close(fds[0]);
        linger();
    }
}

static void *lone_thread(void *unused)
{
    started();
    linger();
    return unused;
}

/* The first thread has ended: the process looks like a zombie and is none. */
static _Noreturn void go_headless(void)
{
    pthread_t t;

    setsid();
    if (pthread_create(&t, NULL, lone_thread, NULL) != 0)
        _exit(1);
    pthread_exit(NULL);
}

static struct stray_case {
    const char *name;
    void (*go)(void);
    int started;
} cases[] = {
    { "AG-8_orphan_of_our_group", go_plain, 1 },
    { "AG-8_orphan_of_its_own_session", go_session, 1 },
    { "AG-8_double_fork", go_double_fork, 1 },
    { "AG-8_deaf_to_all_signals", go_deaf, 1 },
    { "AG-8_stopped", go_stopped, 1 },
    { "AG-8_deep_tree", go_deep, 21 },
    { "AG-8_comet", go_comet, 1 },
    { "AG-8_fork_bomb", go_bomb, 1 },
    { "AG-8_watchers", go_watch, 2 },
    { "AG-8_process_without_first_thread", go_headless, 1 },
};

static void reset_board(void)
{
    board->started = 0;
    board->forks = 0;
}

static void wait_until(int want)
{
    uint64_t ends_ms = clock_mono_ms(clock_system()) + TIMEOUT_MS;

    while (__atomic_load_n(&board->started, __ATOMIC_SEQ_CST) < want) {
        assert_true(clock_mono_ms(clock_system()) < ends_ms);
        (void)poll(NULL, 0, 1);
    }
}

/* An orphan that does this: its parent, a child of ours, has been waited for. */
static void let_go(void (*go)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        if (fork() == 0)
            go();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void check_case(void **state)
{
    const struct stray_case *c = *state;
    struct err e = ERR_INIT;

    reset_board();
    let_go(c->go);
    wait_until(c->started);
    if (!strays_end(NULL, 0, TIMEOUT_MS, &e))
        fail_msg("%s", err_text(&e));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void nothing_to_end_is_fine(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_true(strays_end(NULL, 0, 0, &e));
}

static void those_to_spare_are_spared_with_their_children(void **state)
{
    struct err e = ERR_INIT;
    pid_t spare;

    (void)state;
    reset_board();
    spare = fork();
    if (spare == 0) {
        if (fork() == 0)
            go_plain();
        go_plain();
    }
    let_go(go_session);
    wait_until(3);
    if (!strays_end(&spare, 1, TIMEOUT_MS, &e))
        fail_msg("%s", err_text(&e));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), 0); /* the spared one lives, and is the only one */
    assert_int_equal(kill(spare, 0), 0);
    assert_true(strays_end(NULL, 0, TIMEOUT_MS, &e));
}

static void one_that_stays_is_named(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    reset_board();
    let_go(go_session);
    wait_until(1);
    assert_false(strays_end(NULL, 0, 0, &e)); /* no time at all */
    assert_int_equal(e.kind, ERR_KIND_TIMEOUT);
    assert_non_null(strstr(err_text(&e), "1 are left, one is "));
    assert_true(strays_end(NULL, 0, TIMEOUT_MS, &e));
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases) + 3];
    struct err e = ERR_INIT;
    size_t count = 0;

    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED || !strays_adopt(&e))
        return 1;
    UNIT_ROWS(tests, count, cases, check_case);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(nothing_to_end_is_fine);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(those_to_spare_are_spared_with_their_children);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(one_that_stays_is_named);
    return _cmocka_run_group_tests("base/strays", tests, count, NULL, NULL);
}
