#include "unit/base/unit.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/stage.h"
#include "host/cgroup.h"

#define V1 "31 30 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n"
#define V2 "36 25 0:31 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"

static struct path_case {
    const char *name;
    const char *mounts, *self;
    const char *want; /* NULL: none */
} cases[] = {
    { "service_of_systemd", V2, "0::/system.slice/m.service\n", "/sys/fs/cgroup/system.slice/m.service" },
    { "root", V2, "0::/\n", "/sys/fs/cgroup" },
    { "hybrid", V1 "38 31 0:38 / /sys/fs/cgroup/unified rw shared:1 master:2 - cgroup2 none rw\n",
      "9:cpu:/x\n0::/y\n", "/sys/fs/cgroup/unified/y" },
    { "part_of_it_is_mounted", "36 25 0:31 /box /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/box/a\n",
      "/sys/fs/cgroup/a" },
    { "all_of_the_part", "36 25 0:31 /box /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/box\n",
      "/sys/fs/cgroup" },
    { "another_part_is_mounted", "36 25 0:31 /box /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/boxed/a\n",
      NULL },
    { "version_1_alone", V1, "9:cpu:/x\n", NULL },
    { "in_none_of_version_2", V2, "9:cpu:/x\n", NULL },
    { "not_mounted", V1, "0::/a\n", NULL },
    { "outside_of_the_namespace", V2, "0::/../b\n", NULL },
    { "odd_mount_point", "36 25 0:31 / /a\\040b rw - cgroup2 cgroup2 rw\n", "0::/\n", NULL },
    { "line_that_is_cut", "36 25 0:31 / /sys/fs/cgroup rw -", "0::/\n", NULL },
    { "empty", "", "", NULL },
};

static void check_path(void **state)
{
    const struct path_case *c = *state;
    char got[HOST_CGROUP_MAX] = "";
    struct err e = ERR_INIT;

    assert_int_equal(host_cgroup_path(slice_of_str(c->mounts), slice_of_str(c->self), got, &e),
                     c->want != NULL);
    assert_string_equal(got, c->want ? c->want : "");
    if (!c->want)
        assert_int_equal(e.kind, ERR_KIND_UNSUPPORTED);
}

/* A cgroup of this test's own; skips where none can be made. */
static void make(char *path, size_t len, int *ret_fd)
{
    char own[HOST_CGROUP_MAX];
    struct err e = ERR_INIT;

    if (!host_cgroup_own(own, &e)) {
        print_message("skipped: needs a cgroup (version 2) that may be written to: %s\n", err_text(&e));
        skip();
    }
    snprintf(path, len, "%.200s/cocos-unit-%d", own, (int)getpid());
    if (!host_cgroup_make(path, ret_fd, &e))
        fail_msg("%s", err_text(&e));
}

static void all_in_it_are_killed_and_it_is_removed(void **state)
{
    char path[HOST_CGROUP_MAX];
    int fd;
    int status;
    int ready[2];
    char byte;
    struct err e = ERR_INIT;
    pid_t pid;

    (void)state;
    make(path, sizeof(path), &fd);
    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        if (write(fd, "0", 1) != 1)
            _exit(1);
        if (fork() == 0)
            setsid(); /* out of reach of a signal to the group */
        if (write(ready[1], "x", 1) != 1)
            _exit(2);
        pause();
        _exit(0);
    }
    close(ready[1]);
    for (int i = 0; i < 2; i++)
        assert_int_equal(read(ready[0], &byte, 1), 1);
    if (!host_cgroup_remove(path, 20000, &e))
        fail_msg("%s", err_text(&e));
    assert_int_equal(read(ready[0], &byte, 1), 0); /* both have ended */
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(access(path, F_OK), -1);
    assert_true(host_cgroup_remove(path, 0, &e)); /* again: it is gone */
    close(ready[0]);
    close(fd);
}

static void existing_one_is_not_taken(void **state)
{
    char path[HOST_CGROUP_MAX];
    int fd;
    int other;
    struct err e = ERR_INIT;

    (void)state;
    make(path, sizeof(path), &fd);
    close(fd);
    assert_false(host_cgroup_make(path, &other, &e));
    err_clear(&e);
    assert_true(host_cgroup_remove(path, 0, &e));
}

static void other_directory_is_not_removed(void **state)
{
    char path[] = "/tmp/cocos-unit-XXXXXX";
    struct err e = ERR_INIT;

    (void)state;
    assert_non_null(mkdtemp(path));
    assert_false(host_cgroup_remove(path, 0, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases) + 3];
    size_t n = 0;

    UNIT_ROWS(tests, n, cases, check_path);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(all_in_it_are_killed_and_it_is_removed);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(existing_one_is_not_taken);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(other_directory_is_not_removed);
    return cmocka_run_group_tests_name("host/cgroup", tests, NULL, NULL);
}
