#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/cmdline.h"

static const struct get_case {
    const char *name;
    struct slice line;
    enum hal_found want;
    const char *value;
} lookups[] = {
    { "absent", SLICE_LIT("console=ttyS0 quiet"), HAL_ABSENT, NULL },
    { "first_word", SLICE_LIT("key=a b=c"), HAL_FOUND, "a" },
    { "last_word_with_newline", SLICE_LIT("b=c key=value\n"), HAL_FOUND, "value" },
    { "empty_value", SLICE_LIT("key= x"), HAL_FOUND, "" },
    { "value_with_equals", SLICE_LIT("key=a=b"), HAL_FOUND, "a=b" },
    { "longer_key_is_another", SLICE_LIT("akey=1 keys=2"), HAL_ABSENT, NULL },
    { "twice_is_refused", SLICE_LIT("key=1 key=1"), HAL_BAD, NULL },
    { "longest_value", SLICE_LIT("key=1234567"), HAL_FOUND, "1234567" },
    { "one_too_long", SLICE_LIT("key=12345678"), HAL_BAD, NULL },
    { "word_without_equals", SLICE_LIT("key"), HAL_ABSENT, NULL },
    { "empty_line", SLICE_LIT(""), HAL_ABSENT, NULL },
};

static void check_get(void **state)
{
    const struct get_case *c = *state;
    struct err e = ERR_INIT;
    char value[8] = "unset";

    assert_int_equal(hal_cmdline_get(c->line, "key", value, sizeof(value), &e), c->want);
    assert_string_equal(value, c->want == HAL_FOUND ? c->value : value);
    assert_int_equal(e.kind, c->want == HAL_BAD ? ERR_KIND_INVALID : ERR_KIND_NONE);
}

static const struct address_case {
    const char *name;
    struct slice line;
    enum hal_found want;
    struct hal_address address;
} addresses[] = {
    { "address_absent_means_dhcp", SLICE_LIT("quiet"), HAL_ABSENT, { 0, 0, 0, 0 } },
    { "address_with_gateway",
      SLICE_LIT("cocos.ip=10.0.2.15/24 cocos.gateway=10.0.2.2"),
      HAL_FOUND,
      { 0x0a00020f, 0x0a000202, 24, 0 } },
    { "address_with_name_server",
      SLICE_LIT("cocos.dns=10.0.2.3 cocos.ip=10.0.2.15/24"),
      HAL_FOUND,
      { 0x0a00020f, 0, 24, 0x0a000203 } },
    { "name_server_without_address_means_dhcp", SLICE_LIT("cocos.dns=10.0.2.3"), HAL_ABSENT, { 0, 0, 0, 0 } },
    { "name_server_a_name", SLICE_LIT("cocos.ip=10.0.2.15/24 cocos.dns=host"), HAL_BAD, { 0, 0, 0, 0 } },
    { "name_server_twice",
      SLICE_LIT("cocos.ip=10.0.2.15/24 cocos.dns=10.0.2.3 cocos.dns=10.0.2.3"),
      HAL_BAD,
      { 0, 0, 0, 0 } },
    { "address_without_gateway", SLICE_LIT("cocos.ip=192.168.0.1/32"), HAL_FOUND, { 0xc0a80001, 0, 32, 0 } },
    { "address_without_prefix", SLICE_LIT("cocos.ip=10.0.2.15"), HAL_BAD, { 0, 0, 0, 0 } },
    { "prefix_zero", SLICE_LIT("cocos.ip=10.0.2.15/0"), HAL_BAD, { 0, 0, 0, 0 } },
    { "prefix_33", SLICE_LIT("cocos.ip=10.0.2.15/33"), HAL_BAD, { 0, 0, 0, 0 } },
    { "prefix_not_a_number", SLICE_LIT("cocos.ip=10.0.2.15/x"), HAL_BAD, { 0, 0, 0, 0 } },
    { "octet_256", SLICE_LIT("cocos.ip=10.0.2.256/24"), HAL_BAD, { 0, 0, 0, 0 } },
    { "gateway_a_name", SLICE_LIT("cocos.ip=10.0.2.15/24 cocos.gateway=host"), HAL_BAD, { 0, 0, 0, 0 } },
};

static void check_address(void **state)
{
    const struct address_case *c = *state;
    struct err e = ERR_INIT;
    struct hal_address got = { 0, 0, 0, 0 };

    assert_int_equal(hal_cmdline_address(c->line, &got, &e), c->want);
    assert_int_equal(got.addr, c->address.addr);
    assert_int_equal(got.gateway, c->address.gateway);
    assert_int_equal(got.prefix, c->address.prefix);
    assert_int_equal(got.dns, c->address.dns);
}

static const struct env_case {
    const char *name;
    struct slice text;
    bool want;
    const char *entries; /* joined by '|'    */
    const char *fault;   /* the error's text */
} envs[] = {
    { "env_empty", SLICE_LIT(""), true, "", "" },
    { "env_lines", SLICE_LIT("A=1\nB_2=x y\n"), true, "A=1|B_2=x y", "" },
    { "env_no_newline_at_end", SLICE_LIT("A=1"), true, "A=1", "" },
    { "env_comments_and_blank_lines", SLICE_LIT("# a\n\nA=1\n"), true, "A=1", "" },
    { "env_empty_value", SLICE_LIT("A=\n"), true, "A=", "" },
    { "env_value_with_equals", SLICE_LIT("A=b=c\n"), true, "A=b=c", "" },
    { "env_later_line_replaces", SLICE_LIT("A=1\nB=2\nA=3\n"), true, "A=3|B=2", "" },
    { "env_no_equals", SLICE_LIT("A=1\nB\n"), false, "A=1", "line 2: KEY=VALUE is wanted" },
    { "env_key_with_dash", SLICE_LIT("A-B=1\n"), false, "",
      "line 1: a name of letters, digits and '_' is wanted before '='" },
    { "env_key_starts_with_digit", SLICE_LIT("1A=1\n"), false, "",
      "line 1: a name of letters, digits and '_' is wanted before '='" },
    { "env_key_empty", SLICE_LIT("=1\n"), false, "",
      "line 1: a name of letters, digits and '_' is wanted before '='" },
    { "env_carriage_return", SLICE_LIT("A=1\r\n"), false, "", "line 1: control byte 0x0d" },
    { "env_nul", SLICE_LIT("A=1\0B\n"), false, "", "line 1: control byte 0x00" },
};

static void check_env(void **state)
{
    const struct env_case *c = *state;
    struct err e = ERR_INIT;
    struct hal_env env = { NULL, 0 };
    CLEANUP(buf_done) struct buf joined = BUF_INIT(4096);

    assert_int_equal(hal_env_read(c->text, &env, &e), c->want);
    for (size_t i = 0; i < env.count; i++)
        assert_true(buf_format(&joined, &e, "%s%s", i ? "|" : "", env.at[i]));
    if (env.count)
        assert_null(env.at[env.count]);
    assert_true(slice_equal_str(buf_slice(&joined), c->entries));
    assert_string_equal(c->want ? "" : err_text(&e), c->fault);
    hal_env_done(&env);
}

static void env_of_257_variables_is_refused(void **state)
{
    struct err e = ERR_INIT;
    struct hal_env env = { NULL, 0 };

    (void)state;
    for (int i = 0; i < HAL_ENV_LINES_MAX; i++) {
        char line[16];
        int n = snprintf(line, sizeof(line), "V%d=1\n", i);

        assert_true(hal_env_read(slice_of(line, (size_t)n), &env, &e));
    }
    assert_false(hal_env_read(slice_of_str("ONE_MORE=1\n"), &env, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
    assert_int_equal(env.count, HAL_ENV_LINES_MAX);
    hal_env_done(&env);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(lookups) + ARRAY_LEN(addresses) + ARRAY_LEN(envs) + 1];
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(lookups); i++)
        tests[n++] = (struct CMUnitTest){ lookups[i].name, check_get, NULL, NULL, (void *)&lookups[i] };
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++)
        tests[n++] = (struct CMUnitTest){ addresses[i].name, check_address, NULL, NULL,
                                          (void *)&addresses[i] };
    for (size_t i = 0; i < ARRAY_LEN(envs); i++)
        tests[n++] = (struct CMUnitTest){ envs[i].name, check_env, NULL, NULL, (void *)&envs[i] };
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(env_of_257_variables_is_refused);
    return cmocka_run_group_tests_name("hal/cmdline", tests, NULL, NULL);
}
