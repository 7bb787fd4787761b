#include "unit/base/scratch.h"

#include <unistd.h>

#include "manager/memory.h"

#define MIB (1ull << 20)

static void has(unsigned mib)
{
    char text[128];

    snprintf(text, sizeof(text), "MemTotal:  9999999 kB\nMemFree:  1 kB\nMemAvailable:  %u kB\n", mib * 1024);
    assert_int_equal(scratch_sh("mkdir -p proc"), 0);
    scratch_write("proc/meminfo", slice_of_str(text), 0600);
}

static int set_up(void **state)
{
    (void)state;
    scratch_enter();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_leave();
    return 0;
}

static void MG_3_vms_that_are_being_made_count(void **state)
{
    struct mgr_memory m = { ".", NULL };
    struct mgr_claim c[3] = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    has(1000);
    assert_true(mgr_memory_claim(&m, &c[0], 400 * MIB, &e));
    assert_true(mgr_memory_claim(&m, &c[1], 400 * MIB, &e));
    assert_false(mgr_memory_claim(&m, &c[2], 400 * MIB, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
    assert_string_equal(err_text(&e),
                        "a VM has 400 MiB of memory (MANAGER_QEMU_MEMORY_SIZE), 1000 MiB are free on "
                        "this host, and 800 MiB of them belong to other VMs: remove one, or make them "
                        "smaller");
    err_clear(&e);
    mgr_memory_release(&m, &c[2]); /* was never made */
    mgr_memory_release(&m, &c[0]);
    mgr_memory_release(&m, &c[0]);
    assert_true(mgr_memory_claim(&m, &c[2], 600 * MIB, &e)); /* to the last byte */
    assert_false(mgr_memory_claim(&m, &c[0], 1 * MIB, &e));
    mgr_memory_release(&m, &c[1]);
    mgr_memory_release(&m, &c[2]);
    assert_null(m.first);
}

/* What a VM has taken is gone from what is free already. */
static void resident_memory_counts_once(void **state)
{
    struct mgr_memory m = { ".", NULL };
    struct mgr_claim runs = { 0 };
    struct mgr_claim gone = { 0 };
    struct mgr_claim next = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    has(1000);
    mgr_memory_hold(&m, &runs, 1, getpid()); /* all of it is there, and more */
    assert_true(mgr_memory_claim(&m, &next, 1000 * MIB, &e));
    mgr_memory_release(&m, &next);
    mgr_memory_hold(&m, &gone, 1 * MIB, 0x3fffffff); /* no such process */
    assert_false(mgr_memory_claim(&m, &next, 1000 * MIB, &e));
    err_clear(&e);
    assert_true(mgr_memory_claim(&m, &next, 999 * MIB, &e));
}

static void host_that_does_not_tell_admits_nobody(void **state)
{
    struct mgr_memory m = { ".", NULL };
    struct mgr_claim c = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    assert_false(mgr_memory_claim(&m, &c, 1, &e));
    err_clear(&e);
    assert_int_equal(scratch_sh("mkdir proc && echo MemFree: 1 kB >proc/meminfo"), 0);
    assert_false(mgr_memory_claim(&m, &c, 1, &e));
    assert_string_equal(err_text(&e), "./proc/meminfo has no MemAvailable");
    err_clear(&e);
    assert_int_equal(scratch_sh("echo MemAvailable: lots >proc/meminfo"), 0);
    assert_false(mgr_memory_claim(&m, &c, 1, &e));
    assert_null(m.first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(MG_3_vms_that_are_being_made_count, set_up, tear_down),
        cmocka_unit_test_setup_teardown(resident_memory_counts_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(host_that_does_not_tell_admits_nobody, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("manager/memory", tests, NULL, NULL);
}
