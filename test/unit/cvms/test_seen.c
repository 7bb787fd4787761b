#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cvms/seen.h"

static struct cvms_print print_of_number(uint64_t number)
{
    const struct slice part = slice_of(&number, sizeof(number));
    struct cvms_print print;
    struct err e = ERR_INIT;

    assert_true(cvms_print_of(&part, 1, &print, &e));
    return print;
}

static enum cvms_seen_answer add(struct cvms_seen *s, uint64_t number)
{
    struct cvms_print print = print_of_number(number);
    struct err e = ERR_INIT;

    return cvms_seen_add(s, &print, &e);
}

static void second_delivery_is_known(void **state)
{
    struct cvms_seen s = CVMS_SEEN_INIT;

    (void)state;
    assert_int_equal(add(&s, 1), CVMS_SEEN_NEW);
    assert_int_equal(add(&s, 2), CVMS_SEEN_NEW);
    assert_int_equal(add(&s, 1), CVMS_SEEN_AGAIN);
    assert_int_equal(add(&s, 2), CVMS_SEEN_AGAIN);
    cvms_seen_done(&s);
}

static void parts_are_told_apart_by_their_ends(void **state)
{
    const struct slice ab_c[] = { SLICE_LIT("ab"), SLICE_LIT("c") },
                       a_bc[] = { SLICE_LIT("a"), SLICE_LIT("bc") };
    struct cvms_print one, two;
    struct err e = ERR_INIT;

    (void)state;
    assert_true(cvms_print_of(ab_c, 2, &one, &e));
    assert_true(cvms_print_of(a_bc, 2, &two, &e));
    assert_memory_not_equal(&one, &two, sizeof(one));
}

static void latest_are_remembered_and_memory_stays(void **state)
{
    struct cvms_seen s = CVMS_SEEN_INIT;
    uint64_t count = 5 * CVMS_SEEN_MIN + 7;

    (void)state;
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(add(&s, i), CVMS_SEEN_NEW);
    assert_true(s.now_count <= CVMS_SEEN_MIN);
    for (uint64_t i = count - CVMS_SEEN_MIN; i < count; i++)
        assert_int_equal(add(&s, i), CVMS_SEEN_AGAIN);
    assert_int_equal(add(&s, 0), CVMS_SEEN_NEW);
    cvms_seen_done(&s);
    cvms_seen_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(second_delivery_is_known),
        cmocka_unit_test(parts_are_told_apart_by_their_ends),
        cmocka_unit_test(latest_are_remembered_and_memory_stays),
    };

    return cmocka_run_group_tests_name("seen", tests, NULL, NULL);
}
