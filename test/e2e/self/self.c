/*
 * Stories that must fail: what the harness has to notice. test/unit/tools/test_e2e.py
 * runs each under test/e2e/run.py, by the name that this program is called by.
 */

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "e2e/lib/e2e.h"

/* `program` is a script that the test has put into the build: it says "up", and behaves badly later. */
static void starts(struct e2e_process *p)
{
    e2e_start(p, "program", "SELF=1", NULL);
    e2e_line(p, 10000, "up", NULL, 0);
}

static void starts_one(void)
{
    static struct e2e_process p;

    starts(&p);
}

/* The story does not ask how it ended: the harness has to. */
static void does_not_look(void)
{
    static struct e2e_process p;
    siginfo_t info;

    starts(&p);
    waitid(P_PID, (id_t)p.pid, &info, WEXITED | WNOWAIT);
}

static void waits_for_its_end(void)
{
    static struct e2e_process p;

    starts(&p);
    e2e_wait(&p, 10000);
}

static void waits_for_a_line(void)
{
    static struct e2e_process p;

    starts(&p);
    e2e_line(&p, 100, "never said", NULL, 0);
}

static void kills_it(void)
{
    static struct e2e_process p;

    starts(&p);
    e2e_signal(&p, SIGKILL);
    if (e2e_wait(&p, 10000) != -SIGKILL)
        e2e_fail("it was not killed");
}

static void aborts(void)
{
    abort();
}

static void ends_early(void)
{
    exit(0);
}

static void goes_well(void)
{
}

static void skips(void)
{
    e2e_skip("needs a part that no machine has");
}

static const struct {
    const char *name;
    void (*run)(void);
} stories[] = {
    { "starts-one", starts_one },
    { "does-not-look", does_not_look },
    { "waits-for-its-end", waits_for_its_end },
    { "waits-for-a-line", waits_for_a_line },
    { "kills-it", kills_it },
    { "aborts", aborts },
    { "ends-early", ends_early },
    { "goes-well", goes_well },
    { "skips", skips },
};

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash ? slash + 1 : argv[0];

    (void)argc;
    e2e_begin(name);
    for (size_t i = 0; i < ARRAY_LEN(stories); i++)
        if (strcmp(name, stories[i].name) == 0)
            stories[i].run();
    return e2e_end();
}
