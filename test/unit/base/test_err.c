#include "unit.h"

#include <errno.h>

#include "base/err.h"

static void a_new_error_is_none(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(e.kind, ERR_KIND_NONE);
    assert_string_equal(err_text(&e), "");
}

static void context_is_put_before_the_cause(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_false(err_fail(&e, ERR_KIND_DENIED, "open '%s'", "b2"));
    assert_false(err_wrap(&e, "layer %d of %d", 2, 5));
    assert_false(err_wrap(&e, "pull"));
    assert_int_equal(e.kind, ERR_KIND_DENIED);
    assert_int_equal(e.os_errno, 0);
    assert_string_equal(err_text(&e), "pull: layer 2 of 5: open 'b2'");
}

static void a_second_failure_replaces_the_first(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    errno = ENOENT;
    assert_false(err_fail_os(&e, "first"));
    assert_false(err_fail(&e, ERR_KIND_LIMIT, "second"));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
    assert_int_equal(e.os_errno, 0);
    assert_string_equal(err_text(&e), "second");
    /* Also when it quotes the first. */
    assert_false(err_fail(&e, ERR_KIND_INVALID, "third after %s", err_text(&e)));
    assert_string_equal(err_text(&e), "third after second");
    err_clear(&e);
    assert_int_equal(e.kind, ERR_KIND_NONE);
    assert_string_equal(err_text(&e), "");
}

static void long_texts_keep_what_was_first(void **state)
{
    static char text[ERR_TEXT_SIZE * 2];
    struct err e = ERR_INIT;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    err_fail(&e, ERR_KIND_INVALID, "cause");
    for (int i = 0; i < 10; i++)
        err_wrap(&e, "%.300s", text);
    assert_int_equal(strlen(err_text(&e)), ERR_TEXT_SIZE - 1);
    assert_string_equal(err_text(&e) + ERR_TEXT_SIZE - 1 - 7, ": cause");
    err_fail(&e, ERR_KIND_INVALID, "begin%s", text);
    assert_int_equal(strlen(err_text(&e)), ERR_TEXT_SIZE - 1);
    assert_memory_equal(err_text(&e), "beginx", 6);
}

static struct os_case {
    const char *name;
    int code;
    enum err_kind want;
} os_cases[] = {
    { "os_ENOENT", ENOENT, ERR_KIND_MISSING },
    { "os_EACCES", EACCES, ERR_KIND_DENIED },
    { "os_EPERM", EPERM, ERR_KIND_DENIED },
    { "os_ENOSPC", ENOSPC, ERR_KIND_LIMIT },
    { "os_EDQUOT", EDQUOT, ERR_KIND_LIMIT },
    { "os_EMFILE", EMFILE, ERR_KIND_LIMIT },
    { "os_ENFILE", ENFILE, ERR_KIND_LIMIT },
    { "os_ENOMEM", ENOMEM, ERR_KIND_LIMIT },
    { "os_ETIMEDOUT", ETIMEDOUT, ERR_KIND_TIMEOUT },
    { "os_ECONNREFUSED", ECONNREFUSED, ERR_KIND_UNAVAILABLE },
    { "os_ECONNRESET", ECONNRESET, ERR_KIND_UNAVAILABLE },
    { "os_EPIPE", EPIPE, ERR_KIND_UNAVAILABLE },
    { "os_EIO", EIO, ERR_KIND_INTERNAL },
    { "os_EINVAL", EINVAL, ERR_KIND_INTERNAL },
};

static void check_os(void **state)
{
    const struct os_case *c = *state;
    struct err e = ERR_INIT;
    char want[256];

    errno = c->code;
    assert_false(err_fail_os(&e, "write '%s'", "x"));
    snprintf(want, sizeof(want), "write 'x': %s", strerror(c->code));
    assert_string_equal(err_text(&e), want);
    assert_int_equal(e.kind, c->want);
    assert_int_equal(e.os_errno, c->code);
    err_wrap(&e, "more");
    assert_int_equal(e.kind, c->want);
    assert_int_equal(e.os_errno, c->code);
}

static void each_kind_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = ERR_KIND_NONE; a <= ERR_KIND_INTERNAL; a++)
        for (int b = a + 1; b <= ERR_KIND_INTERNAL; b++)
            assert_string_not_equal(err_kind_name((enum err_kind)a), err_kind_name((enum err_kind)b));
    assert_string_equal(err_kind_name((enum err_kind)99), "internal");
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(a_new_error_is_none),
        cmocka_unit_test(context_is_put_before_the_cause),
        cmocka_unit_test(a_second_failure_replaces_the_first),
        cmocka_unit_test(long_texts_keep_what_was_first),
        cmocka_unit_test(each_kind_has_a_name_of_its_own),
    };
    static struct CMUnitTest tests[32];
    size_t count = 0;

    UNIT_ROWS(tests, count, os_cases, check_os);
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        tests[count++] = single[i];
    return _cmocka_run_group_tests("err", tests, count, NULL, NULL);
}
