#include "unit/base/unit.h"

#include "agent/proxy.h"

#define P "http://localhost:3128"

static struct proxy_case {
    const char *name;
    const char *proxy;
    const char *no_proxy;
    const char *target;
    bool want;
} cases[] = {
    { "none_given", "", "", "cvms.example:7001", false },
    { "given", P, "", "cvms.example:7001", true },
    { "unix_socket", P, "", "/run/x.sock", false },
    { "unix_scheme", P, "", "unix:/run/x.sock", false },
    { "dns_scheme", P, "cvms.example", "dns:///cvms.example:7001", false },
    { "localhost", P, "", "localhost:7001", false },
    { "loopback", P, "", "127.3.2.1:7001", false },
    { "loopback_6", P, "", "[::1]:7001", false },
    { "star", P, "*", "cvms.example:7001", false },
    { "exact_name", P, "a.b, cvms.example", "cvms.example:7001", false },
    { "name_in_other_case", P, "CVMS.example", "cvms.EXAMPLE:7001", false },
    { "name_below", P, "example", "cvms.example:7001", false },
    { "name_that_only_ends_alike", P, "example", "myexample:7001", true },
    { "dot_name_below", P, ".local", "x.local:7001", false },
    { "dot_name_itself", P, ".local", "local:7001", true },
    { "star_dot_name", P, "*.local", "x.local:7001", false },
    { "port_equal", P, "cvms.example:7001", "cvms.example:7001", false },
    { "port_differs", P, "cvms.example:7002", "cvms.example:7001", true },
    { "address_equal", P, "10.0.2.2", "10.0.2.2:7001", false },
    { "address_differs", P, "10.0.2.2", "10.0.2.20:7001", true },
    { "network", P, "10.0.0.0/8", "10.200.2.2:7001", false },
    { "outside_network", P, "10.0.0.0/15", "10.2.0.1:7001", true },
    { "network_6", P, "fd00::/8", "[fd12::1]:7001", false },
    { "network_of_other_family", P, "fd00::/8", "10.0.0.1:7001", true },
    { "network_with_nonsense", P, "10.0.0.0/99", "10.0.0.1:7001", true },
    { "upstreams_unit_file", P, "localhost,127.0.0.1,.local,/run/cocos/", "10.0.2.2:7001", true },
    { "empty_entries", P, ",, ,", "10.0.2.2:7001", true },
};

static void check_case(void **state)
{
    const struct proxy_case *t = *state;

    assert_int_equal(proxy_wanted(t->proxy, t->no_proxy, t->target), t->want);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases)];
    size_t count = 0;

    UNIT_ROWS(tests, count, cases, check_case);
    return _cmocka_run_group_tests("agent/proxy", tests, count, NULL, NULL);
}
