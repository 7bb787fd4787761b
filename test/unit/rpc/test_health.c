#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_rpc.h"

#define HEALTH "grpc.health.v1.Health"

/* HealthCheckRequest{service} and HealthCheckResponse{status}, spelled out. */
#define ASK_ALL ""
#define ASK_AGENT \
    "\x0a\x05"    \
    "agent"
#define ASK_NEW \
    "\x0a\x03"  \
    "new"
#define SAYS_SERVING "\x08\x01"
#define SAYS_NOT_SERVING "\x08\x02"
#define SAYS_UNKNOWN "\x08\x03"

static const char *const names[] = { "agent" };

static void server_init(struct rpc_server *s)
{
    struct err e = ERR_INIT;

    *s = (struct rpc_server){ .count = 0 };
    assert_true(rpc_server_add_health(s, names, ARRAY_LEN(names), &e));
}

static void call_check(const struct rpc_server *s, struct rpc_call *c, const char *request)
{
    void *ctx = NULL;
    const struct rpc_method *m = fake_method(s, HEALTH, "Check", &ctx);

    assert_non_null(m);
    *c = (struct rpc_call){ .full = false };
    m->unary(c, slice_of_str(request), ctx);
}

static void call_watch(const struct rpc_server *s, struct rpc_call *c, const char *request)
{
    void *ctx = NULL;
    const struct rpc_method *m = fake_method(s, HEALTH, "Watch", &ctx);

    assert_non_null(m);
    *c = (struct rpc_call){ .full = false };
    m->open(c, ctx);
    assert_int_equal(c->wants, 1);
    fake_call_give(c, slice_of_str(request));
}

static bool sent(const struct rpc_call *c, size_t i, const char *wire)
{
    return i < c->sent_count && slice_equal_str(buf_slice(&c->sent[i]), wire);
}

static void check_answers_serving_for_the_server_and_its_names(void **state)
{
    (void)state;
    static const char *const asks[] = { ASK_ALL, ASK_AGENT };
    CLEANUP(fake_server_done) struct rpc_server s;

    server_init(&s);
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        struct rpc_call c;

        call_check(&s, &c, asks[i]);
        assert_true(c.finished);
        assert_int_equal(c.code, RPC_OK);
        assert_true(sent(&c, 0, SAYS_SERVING));
        fake_call_done(&c);
    }
}

static void check_of_an_unknown_name_is_not_found(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s;
    struct rpc_call c;

    server_init(&s);
    call_check(&s, &c, ASK_NEW);
    assert_int_equal(c.code, RPC_NOT_FOUND);
    assert_string_equal(c.text, "unknown service");
    assert_int_equal(c.sent_count, 0);
    fake_call_done(&c);
}

static void check_of_bytes_that_are_no_request_is_invalid(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s;
    struct rpc_call c;

    server_init(&s);
    call_check(&s, &c,
               "\x0a\x05"
               "ag");
    assert_int_equal(c.code, RPC_INVALID_ARGUMENT);
    assert_non_null(strstr(c.text, "HealthCheckRequest.service"));
    fake_call_done(&c);
}

static void check_follows_what_was_set(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s;
    struct rpc_call c;

    server_init(&s);
    rpc_server_health_set(&s, "agent", false);
    call_check(&s, &c, ASK_AGENT);
    assert_true(sent(&c, 0, SAYS_NOT_SERVING));
    fake_call_done(&c);
    call_check(&s, &c, ASK_ALL);
    assert_true(sent(&c, 0, SAYS_SERVING));
    fake_call_done(&c);
    rpc_server_health_set(&s, "agent", true);
    call_check(&s, &c, ASK_AGENT);
    assert_true(sent(&c, 0, SAYS_SERVING));
    fake_call_done(&c);
}

static void watch_hears_each_change_once(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s;
    struct rpc_call c;

    server_init(&s);
    call_watch(&s, &c, ASK_AGENT);
    assert_true(sent(&c, 0, SAYS_SERVING));
    rpc_server_health_set(&s, "agent", true);
    rpc_server_health_set(&s, "", false);
    assert_int_equal(c.sent_count, 1);
    rpc_server_health_set(&s, "agent", false);
    assert_true(sent(&c, 1, SAYS_NOT_SERVING));
    assert_int_equal(c.sent_count, 2);
    assert_false(c.finished);
    fake_call_done(&c);
}

static void watch_of_an_unknown_name_says_so_and_hears_when_it_comes(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s;
    struct rpc_call c;

    server_init(&s);
    call_watch(&s, &c, ASK_NEW);
    assert_true(sent(&c, 0, SAYS_UNKNOWN));
    assert_false(c.finished);
    rpc_server_health_set(&s, "new", true);
    assert_true(sent(&c, 1, SAYS_SERVING));
    fake_call_done(&c);
}

static void slow_watcher_gets_the_state_of_the_moment_it_can_read(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s;
    struct rpc_call c;

    server_init(&s);
    call_watch(&s, &c, ASK_AGENT);
    c.full = true;
    for (int i = 0; i < 1001; i++)
        rpc_server_health_set(&s, "agent", i % 2 == 1);
    assert_int_equal(c.sent_count, 1);
    c.full = false;
    c.events->writable(&c, c.ctx);
    assert_int_equal(c.sent_count, 2);
    assert_true(sent(&c, 1, SAYS_NOT_SERVING));
    c.events->writable(&c, c.ctx);
    assert_int_equal(c.sent_count, 2);
    fake_call_done(&c);
}

static void watchers_may_leave_in_any_order(void **state)
{
    (void)state;
    static const size_t orders[][3] = { { 0, 1, 2 }, { 2, 1, 0 }, { 1, 0, 2 }, { 1, 2, 0 } };

    for (size_t o = 0; o < ARRAY_LEN(orders); o++) {
        CLEANUP(fake_server_done) struct rpc_server s;
        struct rpc_call c[3];

        server_init(&s);
        for (size_t i = 0; i < 3; i++)
            call_watch(&s, &c[i], ASK_AGENT);
        for (size_t i = 0; i < 3; i++) {
            rpc_server_health_set(&s, "agent", i % 2 == 1);
            for (size_t k = i; k < 3; k++)
                assert_int_equal(c[orders[o][k]].sent_count, i + 2);
            fake_call_done(&c[orders[o][i]]);
        }
        rpc_server_health_set(&s, "agent", true);
    }
}

static void watch_without_a_request_is_invalid(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s;
    struct rpc_call c = { .full = false };
    void *ctx = NULL;

    server_init(&s);
    fake_method(&s, HEALTH, "Watch", &ctx)->open(&c, ctx);
    c.events->half_closed(&c, c.ctx);
    assert_int_equal(c.code, RPC_INVALID_ARGUMENT);
    rpc_server_health_set(&s, "agent", false);
    assert_int_equal(c.sent_count, 0);
    fake_call_done(&c);
}

static void watch_goes_on_after_half_close(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s;
    struct rpc_call c;

    server_init(&s);
    call_watch(&s, &c, ASK_AGENT);
    c.events->half_closed(&c, c.ctx);
    assert_false(c.finished);
    rpc_server_health_set(&s, "agent", false);
    assert_true(sent(&c, 1, SAYS_NOT_SERVING));
    fake_call_done(&c);
}

static void drain_tells_and_ends_watchers(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s;
    struct rpc_call before;
    struct rpc_call unknown;
    struct rpc_call silent = { .full = false };
    struct rpc_call after;
    struct rpc_call asked;
    void *ctx = NULL;

    server_init(&s);
    call_watch(&s, &before, ASK_AGENT);
    call_watch(&s, &unknown, ASK_NEW);
    fake_method(&s, HEALTH, "Watch", &ctx)->open(&silent, ctx);
    rpc_health_drain(&s);
    call_watch(&s, &after, ASK_ALL);
    call_check(&s, &asked, ASK_AGENT);
    assert_true(sent(&before, 1, SAYS_NOT_SERVING));
    assert_int_equal(unknown.sent_count, 1);
    assert_int_equal(silent.sent_count, 0);
    assert_true(sent(&after, 0, SAYS_NOT_SERVING));
    assert_true(sent(&asked, 0, SAYS_NOT_SERVING));
    assert_int_equal(before.code, RPC_UNAVAILABLE);
    assert_int_equal(unknown.code, RPC_UNAVAILABLE);
    assert_int_equal(silent.code, RPC_UNAVAILABLE);
    assert_int_equal(after.code, RPC_UNAVAILABLE);
    fake_call_done(&before);
    fake_call_done(&unknown);
    fake_call_done(&silent);
    fake_call_done(&after);
    fake_call_done(&asked);
}

static void drain_without_health_does_nothing(void **state)
{
    (void)state;
    struct rpc_server s = { .count = 0 };

    rpc_health_drain(&s);
}

static void set_without_health_does_nothing(void **state)
{
    (void)state;
    struct rpc_server s = { .count = 0 };

    rpc_server_health_set(&s, "agent", true);
}

static void H2_15_every_method_says_who_may_call_it(void **state)
{
    (void)state;
    CLEANUP(fake_server_done) struct rpc_server s;

    server_init(&s);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.services[0]->count, 2);
    for (size_t i = 0; i < s.services[0]->count; i++) {
        const struct rpc_method *m = &s.services[0]->methods[i];

        assert_non_null(m->allow);
        assert_true((m->unary != NULL) != (m->open != NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_answers_serving_for_the_server_and_its_names),
        cmocka_unit_test(check_of_an_unknown_name_is_not_found),
        cmocka_unit_test(check_of_bytes_that_are_no_request_is_invalid),
        cmocka_unit_test(check_follows_what_was_set),
        cmocka_unit_test(watch_hears_each_change_once),
        cmocka_unit_test(watch_of_an_unknown_name_says_so_and_hears_when_it_comes),
        cmocka_unit_test(slow_watcher_gets_the_state_of_the_moment_it_can_read),
        cmocka_unit_test(watchers_may_leave_in_any_order),
        cmocka_unit_test(watch_without_a_request_is_invalid),
        cmocka_unit_test(watch_goes_on_after_half_close),
        cmocka_unit_test(drain_tells_and_ends_watchers),
        cmocka_unit_test(drain_without_health_does_nothing),
        cmocka_unit_test(set_without_health_does_nothing),
        cmocka_unit_test(H2_15_every_method_says_who_may_call_it),
    };

    return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
