#include "unit/base/unit.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "manager/sweep.h"
#include "unit/base/scratch.h"

#define MINE "6f1c0f0e-0000-4000-8000-000000000001"
#define GONE "6f1c0f0e-0000-4000-8000-000000000002"

static char vms[PATH_MAX];

static int set_up(void **state)
{
    (void)state;
    scratch_enter();
    if (!getcwd(vms, sizeof(vms)))
        return 1;
    return scratch_sh("mkdir -p " MINE "/env " GONE "/tpm && echo x > " GONE "/tpm/state");
}

/* A process that lives on with this argument; comes back when others see that. */
static pid_t start(const char *argument)
{
    char command[128];
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        execlp("sleep", argument, "100057", (char *)NULL); /* as if it were its name */
        _exit(127);
    }
    /* Until then it has this program's arguments, and for a moment within exec none at all. */
    snprintf(command, sizeof(command),
             "timeout 60 sh -c 'until grep -qa 100057 /proc/%d/cmdline; do :; done'", (int)pid);
    assert_int_equal(scratch_sh(command), 0);
    return pid;
}

static bool keep_mine(const char *id, void *ctx)
{
    (void)ctx;
    return strcmp(id, MINE) == 0;
}

struct swept {
    char id[64];
    unsigned count;
    unsigned killed;
};

static void note(const char *id, unsigned killed, void *ctx)
{
    struct swept *s = ctx;

    snprintf(s->id, sizeof(s->id), "%s", id);
    s->count++;
    s->killed += killed;
}

static void MG_6_processes_and_directory_without_a_record_go_others_stay(void **state)
{
    char qemu[PATH_MAX + 128];
    char swtpm[PATH_MAX + 128];
    char setup[PATH_MAX + 128];
    char mine[PATH_MAX + 128];
    char reader[PATH_MAX + 128];
    struct swept seen = { 0 };
    struct err e = ERR_INIT;
    int status;

    (void)state;
    snprintf(qemu, sizeof(qemu), "unix:%s/" GONE "/qmp,server=on,wait=off", vms);
    snprintf(swtpm, sizeof(swtpm), "dir=%s/" GONE "/tpm", vms);
    snprintf(setup, sizeof(setup), "backend-uri=dir://%s/" GONE "/tpm", vms);
    snprintf(mine, sizeof(mine), "unix:%s/" MINE "/qmp,server=on,wait=off", vms);
    snprintf(reader, sizeof(reader), "%s/" GONE "/qemu.log", vms);

    pid_t gone[] = { start(qemu), start(swtpm), start(setup) };
    pid_t kept[] = { start(mine), start(reader) };

    assert_true(mgr_sweep(vms, keep_mine, note, &seen, &e));
    assert_string_equal(seen.id, GONE);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.killed, 3);
    for (size_t i = 0; i < ARRAY_LEN(gone); i++) {
        assert_int_equal(waitpid(gone[i], &status, 0), gone[i]);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        assert_int_equal(waitpid(kept[i], &status, WNOHANG), 0);
        kill(kept[i], SIGKILL);
        waitpid(kept[i], &status, 0);
    }
    assert_true(scratch_has(MINE "/env"));
    assert_false(scratch_has(GONE));
}

static void directory_that_is_not_there_is_an_error(void **state)
{
    struct err e = ERR_INIT;
    struct swept seen = { 0 };

    (void)state;
    assert_false(mgr_sweep("/nonexistent/vms", keep_mine, note, &seen, &e));
    assert_int_equal(e.kind, ERR_KIND_MISSING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(MG_6_processes_and_directory_without_a_record_go_others_stay, set_up,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(directory_that_is_not_there_is_an_error, set_up, scratch_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
