#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/stage.h"
#include "host/kvm_probe.h"

struct fixture {
    char path[64];
    int dir_fd;
    uv_loop_t loop;
    struct host_kvm_verdict verdict;
    unsigned calls;
};

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){ .path = "/tmp/cocos-unit-XXXXXX" };
    *state = &f;
    if (!mkdtemp(f.path) || uv_loop_init(&f.loop) != 0)
        return -1;
    f.dir_fd = open(f.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return f.dir_fd < 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    CLEANUP(fd_done) int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    close(f->dir_fd);
    return uv_loop_close(&f->loop) != 0 || !stage_remove_tree(tmp, f->path + strlen("/tmp/"), &e);
}

static void keep(const struct host_kvm_verdict *v, void *ctx)
{
    struct fixture *f = ctx;

    f->verdict = *v;
    f->calls++;
}

/* A stand-in for QEMU: a script that does what its text says. */
static void make_qemu(struct fixture *f, const char *body, char *ret_path, size_t len)
{
    struct err e = ERR_INIT;
    CLEANUP(fd_done) int fd = openat(f->dir_fd, "qemu", O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0755);

    assert_true(fd >= 0);
    assert_true(stage_write_all(fd, slice_of_str("#!/bin/sh\n"), &e));
    assert_true(stage_write_all(fd, slice_of_str(body), &e));
    snprintf(ret_path, len, "%s/qemu", f->path);
}

static void real_guest_passes_under_emulation(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;

    if (access("/usr/bin/qemu-system-x86_64", X_OK) != 0) {
        print_message("skipped: qemu-system-x86_64 is not installed\n");
        skip();
    }
    assert_true(host_tcg_probe(&f->loop, "/usr/bin/qemu-system-x86_64", f->dir_fd, keep, f, &e));
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(f->calls, 1);
    assert_string_equal(f->verdict.reason, "");
    assert_true(f->verdict.works);
}

static void qemu_that_fails_is_a_verdict_with_its_last_words(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char qemu[128];

    make_qemu(f, "echo 'failed to set MSR 0x10a' >&2; exit 134\n", qemu, sizeof(qemu));
    assert_true(host_tcg_probe(&f->loop, qemu, f->dir_fd, keep, f, &e));
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(f->calls, 1);
    assert_false(f->verdict.works);
    assert_string_equal(f->verdict.reason, "the probe guest ended with status 134: failed to set MSR 0x10a");
}

static void qemu_that_exits_with_zero_is_not_believed(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char qemu[128];

    make_qemu(f, "exit 0\n", qemu, sizeof(qemu));
    assert_true(host_tcg_probe(&f->loop, qemu, f->dir_fd, keep, f, &e));
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_false(f->verdict.works);
}

static void missing_qemu_is_an_error_or_a_verdict(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;

    assert_false(host_tcg_probe(&f->loop, "/nonexistent/qemu", f->dir_fd, keep, f, &e));
    assert_int_equal(e.kind, ERR_KIND_MISSING);
    assert_true(host_tcg_probe(&f->loop, "no-such-qemu-anywhere", f->dir_fd, keep, f, &e));
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(f->calls, 1);
    assert_false(f->verdict.works);
    assert_true(strlen(f->verdict.reason) > 0);
}

static void answer_is_kept_for_the_same_qemu_only(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    char qemu[128];

    if (access("/dev/kvm", R_OK | W_OK) != 0) {
        print_message("skipped: /dev/kvm can't be opened\n");
        skip();
    }
    make_qemu(f, "exit 65\n", qemu, sizeof(qemu));
    for (unsigned i = 0; i < 2; i++) {
        assert_true(host_kvm_probe(&f->loop, qemu, "", f->dir_fd, keep, f, &e));
        uv_run(&f->loop, UV_RUN_DEFAULT);
        assert_true(f->verdict.works);
        assert_int_equal(f->verdict.from_cache, i == 1);
    }
    make_qemu(f, "exit 1; # another QEMU\n", qemu, sizeof(qemu));
    assert_true(host_kvm_probe(&f->loop, qemu, "", f->dir_fd, keep, f, &e));
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_false(f->verdict.works);
    assert_false(f->verdict.from_cache);
    assert_int_equal(f->calls, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(real_guest_passes_under_emulation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(qemu_that_fails_is_a_verdict_with_its_last_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(qemu_that_exits_with_zero_is_not_believed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(missing_qemu_is_an_error_or_a_verdict, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answer_is_kept_for_the_same_qemu_only, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("manager/kvm_probe", tests, NULL, NULL);
}
