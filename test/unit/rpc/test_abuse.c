#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rpc/abuse.h"

static int take_all(struct rpc_bucket *b, uint64_t now_ms)
{
    int n = 0;

    while (n < 1000 && rpc_bucket_take(b, now_ms))
        n++;
    return n;
}

static void bucket_gives_its_burst_and_then_its_rate(void **state)
{
    struct rpc_bucket b;

    (void)state;
    rpc_bucket_init(&b, 10, 5, 1000);
    assert_int_equal(take_all(&b, 1000), 10);
    assert_int_equal(take_all(&b, 1199), 0);
    assert_int_equal(take_all(&b, 1200), 1);
    assert_int_equal(take_all(&b, 2200), 5);
    assert_int_equal(take_all(&b, 100000000), 10); /* never more than the burst */
    assert_int_equal(take_all(&b, UINT64_MAX), 10);
    assert_int_equal(take_all(&b, 0), 0); /* a clock that jumps back gives nothing */
}

static void token_given_back_can_be_taken_and_not_above_the_burst(void **state)
{
    struct rpc_bucket b;

    (void)state;
    rpc_bucket_init(&b, 2, 0, 0);
    rpc_bucket_give(&b);
    assert_int_equal(take_all(&b, 0), 2);
    rpc_bucket_give(&b);
    assert_int_equal(take_all(&b, 0), 1);
}

static void budget_is_bounded_at_every_level(void **state)
{
    struct rpc_budget server = { 0, 100, NULL };
    struct rpc_budget peer = { 0, 80, &server };
    struct rpc_budget one = { 0, 60, &peer };
    struct rpc_budget two = { 0, 60, &peer };
    size_t a = 0;
    size_t b = 0;

    (void)state;
    assert_true(rpc_budget_set(&one, &a, 60));
    assert_false(rpc_budget_set(&one, &a, 61)); /* its own limit */
    assert_false(rpc_budget_set(&two, &b, 30)); /* the peer's */
    assert_int_equal(b, 0);
    assert_int_equal(two.held, 0);
    assert_true(rpc_budget_set(&two, &b, 20));
    assert_int_equal(server.held, 80);
    assert_true(rpc_budget_set(&one, &a, 10));
    assert_int_equal(server.held, 30);
    assert_true(rpc_budget_set(&two, &b, 50));
    rpc_budget_release(&one, &a);
    rpc_budget_release(&one, &a);
    rpc_budget_release(&two, &b);
    assert_int_equal(server.held + peer.held + one.held + two.held, 0);
    server.max = 5;
    assert_false(rpc_budget_set(&one, &a, 6));
    assert_int_equal(one.held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bucket_gives_its_burst_and_then_its_rate),
        cmocka_unit_test(token_given_back_can_be_taken_and_not_above_the_burst),
        cmocka_unit_test(budget_is_bounded_at_every_level),
    };

    return cmocka_run_group_tests_name("rpc/abuse", tests, NULL, NULL);
}
