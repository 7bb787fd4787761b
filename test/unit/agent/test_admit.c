#include "unit/base/unit.h"

#include "agent/admit.h"

#define SEATS_MAX 256

struct fixture {
    struct admit admit;
    struct admit_seat seats[SEATS_MAX];
    size_t count;
};

static struct auth_grant grant_of(enum auth_role role, size_t key, bool proven)
{
    return (struct auth_grant){ .role = role, .key = key, .bound = !proven, .wants_filename = !proven };
}

/* Admits as many as there is room for, up to wanted; how many that were. */
static size_t admit_many(struct fixture *f, size_t wanted, enum auth_role role, size_t key)
{
    struct auth_grant grant = grant_of(role, key, true);
    struct rpc_status status;
    size_t count = 0;

    while (count < wanted && admit_check(&f->admit, &grant, &status)) {
        admit_take(&f->admit, &f->seats[f->count++], &grant);
        count++;
    }
    if (count < wanted)
        assert_int_equal(status.code, RPC_RESOURCE_EXHAUSTED);
    return count;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->admit.what = "uploads";
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void one_user_gets_half_and_each_other_one(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(admit_many(f, 100, AUTH_DATA, 7), ADMIT_SHARED);
    assert_int_equal(admit_many(f, 100, AUTH_DATA, 8), 1);
    assert_int_equal(admit_many(f, 100, AUTH_ALGORITHM, 7), 1); /* another role is another user */
    admit_leave(&f->admit, &f->seats[0]);
    assert_int_equal(admit_many(f, 100, AUTH_DATA, 7), 0);
    for (size_t i = 1; i < ADMIT_SHARED; i++)
        admit_leave(&f->admit, &f->seats[i]);
    assert_int_equal(admit_many(f, 100, AUTH_DATA, 8), ADMIT_SHARED - 2);
}

static void all_together_have_a_bound_as_well(void **state)
{
    struct fixture *f = *state;
    struct auth_grant grant = grant_of(AUTH_DATA, 1000, true);
    struct rpc_status status;

    for (size_t key = 0; key < ADMIT_MAX; key++)
        assert_int_equal(admit_many(f, 1, AUTH_DATA, key), 1);
    assert_false(admit_check(&f->admit, &grant, &status));
    assert_string_equal(status.message, "64 uploads are under way already; try again later");
}

static void unproven_ones_take_no_seat_of_others_and_the_oldest_gives_way(void **state)
{
    struct auth_grant unproven = grant_of(AUTH_DATA, 0, false);
    struct fixture *f = *state;
    struct rpc_status status;

    for (size_t i = 0; i < ADMIT_UNPROVEN_MAX; i++) {
        assert_true(admit_check(&f->admit, &unproven, &status));
        admit_take(&f->admit, &f->seats[f->count++], &unproven);
        assert_null(admit_in_the_way(&f->admit));
    }
    assert_int_equal(admit_many(f, 100, AUTH_DATA, 0), ADMIT_SHARED);
    assert_true(admit_check(&f->admit, &unproven, &status));
    admit_take(&f->admit, &f->seats[f->count++], &unproven);
    assert_ptr_equal(admit_in_the_way(&f->admit), &f->seats[0]);
    admit_leave(&f->admit, &f->seats[0]);
    assert_null(admit_in_the_way(&f->admit));
}

static void one_who_proves_himself_is_counted_with_his_others(void **state)
{
    struct auth_grant unproven = grant_of(AUTH_DATA, 0, false), proven = grant_of(AUTH_DATA, 5, true);
    struct fixture *f = *state;
    struct rpc_status status;

    admit_take(&f->admit, &f->seats[f->count++], &unproven);
    admit_take(&f->admit, &f->seats[f->count++], &unproven);
    assert_int_equal(admit_many(f, ADMIT_SHARED - 1, AUTH_DATA, 5), ADMIT_SHARED - 1);
    assert_true(admit_prove(&f->admit, &f->seats[0], &proven, &status));
    assert_true(admit_prove(&f->admit, &f->seats[0], &proven, &status)); /* each message asks */
    assert_false(admit_prove(&f->admit, &f->seats[1], &proven, &status));
    assert_int_equal(status.code, RPC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(status.message, "32 uploads are under way already, one of them with this key"));
    for (size_t i = 0; i < f->count; i++) {
        admit_leave(&f->admit, &f->seats[i]);
        admit_leave(&f->admit, &f->seats[i]);
    }
    assert_int_equal(f->admit.proven_count + f->admit.unproven_count, 0);
    assert_null(f->admit.first);
    assert_null(f->admit.last);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(one_user_gets_half_and_each_other_one),
        TEST(all_together_have_a_bound_as_well),
        TEST(unproven_ones_take_no_seat_of_others_and_the_oldest_gives_way),
        TEST(one_who_proves_himself_is_counted_with_his_others),
    };

    return cmocka_run_group_tests_name("agent/admit", tests, NULL, NULL);
}
