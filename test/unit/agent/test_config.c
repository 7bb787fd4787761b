#include "unit/base/unit.h"

#include "agent/config.h"
#include "agent/platform.h"

static struct listen_case {
    const char *name;
    const char *host;
    const char *port; /* AGENT_GRPC_PORT, NULL: not set */
    const char *manifest_port;
    const char *want;
} listen_cases[] = {
    { "nothing_said_is_7002", NULL, NULL, "", "0.0.0.0:7002" },
    { "port_of_the_manifest", NULL, NULL, "8000", "0.0.0.0:8000" },
    { "own_port_wins", NULL, "9000", "8000", "0.0.0.0:9000" },
    { "own_port_0_wins", "127.0.0.1", "0", "8000", "127.0.0.1:0" },
    { "address_6", "::1", NULL, "8000", "[::1]:8000" },
    { "address_6_in_brackets", "[::1]", NULL, "8000", "[::1]:8000" },
    { "path", "/run/agent.sock", "9000", "8000", "unix:/run/agent.sock" },
    { "relative_path", "./agent.sock", NULL, "", "unix:./agent.sock" },
    { "unix_scheme", "unix:/run/agent.sock", NULL, "", "unix:/run/agent.sock" },
};

static void check_listen(void **state)
{
    const struct listen_case *t = *state;
    char host[64], port[64], listen[AGENT_LISTEN_MAX];
    char *argv[] = { (char *)"cocos-agent", NULL };
    char *env[3] = { NULL };
    struct config_values values = { 0 };
    struct agent_config cfg;
    struct err e = ERR_INIT;
    size_t count = 0;

    if (t->host) {
        snprintf(host, sizeof(host), "AGENT_GRPC_HOST=%s", t->host);
        env[count++] = host;
    }
    if (t->port) {
        snprintf(port, sizeof(port), "AGENT_GRPC_PORT=%s", t->port);
        env[count++] = port;
    }
    assert_int_equal(agent_config_read(1, argv, env, &cfg, &values, &e), CONFIG_RUN);
    assert_true(agent_config_listen(&cfg, t->manifest_port, listen, &e));
    assert_string_equal(listen, t->want);
    assert_string_equal(cfg.runner_socket, "/run/cocos/runner.sock");
    config_values_done(&values);
}

static void sockets_follow_the_run_directory_and_their_variables(void **state)
{
    char *argv[] = { (char *)"cocos-agent", NULL };
    char *env[] = { (char *)"COCOS_RUN_DIR=/tmp/r", (char *)"LOG_FORWARDER_SOCKET=/x/log.sock", NULL };
    struct config_values values = { 0 };
    struct agent_config cfg;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(agent_config_read(1, argv, env, &cfg, &values, &e), CONFIG_RUN);
    assert_string_equal(cfg.attestation_socket, "/tmp/r/attestation.sock");
    assert_string_equal(cfg.log_socket, "/x/log.sock");
    assert_int_equal(cfg.cvms.reconnect_delay_ms, 5000);
    assert_false(cfg.require_bound_signatures);
    config_values_done(&values);
}

static void two_numberings_of_platforms(void **state)
{
    static const int want[] = { 1, 3, 4, 5, 2 };
    Attestation__V1__PlatformType p;

    (void)state;
    for (int32_t type = 0; type < 5; type++) {
        assert_true(platform_of_agent_type(type, &p));
        assert_int_equal(p, want[type]);
    }
    assert_false(platform_of_agent_type(-1, &p));
    assert_false(platform_of_agent_type(5, &p));
    assert_false(platform_of_agent_type(INT32_MAX, &p));
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(listen_cases) + 2];
    size_t count = 0;

    UNIT_ROWS(tests, count, listen_cases, check_listen);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(
        sockets_follow_the_run_directory_and_their_variables);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(two_numberings_of_platforms);
    return _cmocka_run_group_tests("agent/config", tests, count, NULL, NULL);
}
