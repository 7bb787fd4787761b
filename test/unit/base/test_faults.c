#include "unit.h"

#include "base/slice.h"
#include "base/faults.h"

static void none_is_no_error(void **state)
{
    struct faults f = FAULTS_INIT;
    struct err e = ERR_INIT;

    (void)state;
    assert_true(faults_none(&f, &e));
    assert_int_equal(e.kind, ERR_KIND_NONE);
}

static void two_are_both_told(void **state)
{
    struct faults f = FAULTS_INIT;
    struct err e = ERR_INIT;

    (void)state;
    faults_add(&f, "id: %s", "empty");
    faults_add(&f, "algorithm: missing");
    assert_false(faults_none(&f, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    assert_string_equal(err_text(&e), "id: empty; algorithm: missing");
}

static void what_does_not_fit_is_counted(void **state)
{
    struct faults f = FAULTS_INIT;
    struct err e = ERR_INIT;

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        faults_add(&f, "datasets[%zu].hash: 31 bytes, 32 are wanted", i);
    assert_false(faults_none(&f, &e));
    assert_non_null(strstr(err_text(&e), "datasets[0].hash: 31 bytes, 32 are wanted; datasets[1]"));
    assert_non_null(strstr(err_text(&e), "wanted; and 98"));
    assert_true(slice_ends(slice_of_str(err_text(&e)), " more faults"));
}

static void one_too_long_for_any_room_is_counted(void **state)
{
    struct faults f = FAULTS_INIT;
    struct err e = ERR_INIT;

    (void)state;
    faults_add(&f, "%02000d", 1);
    faults_add(&f, "id: empty");
    assert_false(faults_none(&f, &e));
    assert_string_equal(err_text(&e), "and 2 more faults");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_is_no_error),
        cmocka_unit_test(two_are_both_told),
        cmocka_unit_test(what_does_not_fit_is_counted),
        cmocka_unit_test(one_too_long_for_any_room_is_counted),
    };
    return cmocka_run_group_tests_name("base/faults", tests, NULL, NULL);
}
