#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rpc/address.h"

static struct parse_case {
    const char *name;
    const char *text;
    bool ok, is_unix;
    const char *host;
    uint16_t port;
    const char *literal; /* as text; NULL: it is a name */
} parses[] = {
    { "ipv4", "127.0.0.1:7002", true, false, "127.0.0.1", 7002, "127.0.0.1:7002" },
    { "ipv6_in_brackets", "[::1]:0", true, false, "::1", 0, "[::1]:0" },
    { "name", "cvms.example:7001", true, false, "cvms.example", 7001, NULL },
    { "dns_scheme", "dns:///cvms:1", true, false, "cvms", 1, NULL },
    { "port_alone", ":7001", true, false, "", 7001, NULL },
    { "path", "/run/x.sock", true, true, "/run/x.sock", 0, "unix:/run/x.sock" },
    { "unix_scheme", "unix:/run/x.sock", true, true, "/run/x.sock", 0, "unix:/run/x.sock" },
    { "unix_scheme_with_slashes", "unix:///run/x.sock", true, true, "/run/x.sock", 0, "unix:/run/x.sock" },
    { "relative_unix_path", "unix:x.sock", true, true, "x.sock", 0, "unix:x.sock" },
    { "no_port_is_refused", "localhost", false, false, "", 0, NULL },
    { "empty_is_refused", "", false, false, "", 0, NULL },
    { "empty_port_is_refused", "localhost:", false, false, "", 0, NULL },
    { "port_above_65535_is_refused", "localhost:65536", false, false, "", 0, NULL },
    { "port_of_letters_is_refused", "localhost:http", false, false, "", 0, NULL },
    { "negative_port_is_refused", "localhost:-1", false, false, "", 0, NULL },
    { "bare_ipv6_is_refused", "::1:7001", false, false, "", 0, NULL },
    { "empty_unix_path_is_refused", "unix:", false, false, "", 0, NULL },
};

static void check_parse(void **state)
{
    const struct parse_case *p = *state;
    struct rpc_address a = { 0 };
    struct rpc_sockaddr s;
    struct err e = ERR_INIT;
    char text[RPC_ADDRESS_TEXT_MAX];

    assert_int_equal(rpc_address_parse(p->text, &a, &e), p->ok);
    if (!p->ok) {
        assert_int_equal(e.kind, ERR_KIND_INVALID);
        return;
    }
    assert_int_equal(a.is_unix, p->is_unix);
    assert_string_equal(a.host, p->host);
    assert_int_equal(a.port, p->port);
    assert_int_equal(rpc_address_literal(&a, &s), p->literal != NULL);
    if (!p->literal)
        return;
    rpc_sockaddr_text(&s, text);
    assert_string_equal(text, p->literal);
}

static void path_longer_than_a_socket_address_is_refused(void **state)
{
    struct rpc_address a;
    struct err e = ERR_INIT;
    char path[110];

    (void)state;
    memset(path, 'p', sizeof(path));
    path[0] = '/';
    path[107] = '\0';
    assert_true(rpc_address_parse(path, &a, &e));
    path[107] = 'p';
    path[108] = '\0';
    assert_false(rpc_address_parse(path, &a, &e));
}

static void host_longer_than_a_name_is_refused(void **state)
{
    struct rpc_address a;
    struct err e = ERR_INIT;
    char text[300];

    (void)state;
    memset(text, 'h', sizeof(text));
    memcpy(text + 255, ":1", 3);
    assert_true(rpc_address_parse(text, &a, &e));
    text[255] = 'h';
    memcpy(text + 256, ":1", 3);
    assert_false(rpc_address_parse(text, &a, &e));
}

int main(void)
{
    static struct CMUnitTest tests[ARRAY_LEN(parses) + 2] = {
        cmocka_unit_test(path_longer_than_a_socket_address_is_refused),
        cmocka_unit_test(host_longer_than_a_name_is_refused),
    };

    for (size_t i = 0; i < ARRAY_LEN(parses); i++)
        tests[2 + i] = (struct CMUnitTest){ parses[i].name, check_parse, NULL, NULL, &parses[i] };
    return cmocka_run_group_tests_name("rpc/address", tests, NULL, NULL);
}
