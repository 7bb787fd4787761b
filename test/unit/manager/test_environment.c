#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "manager/environment.h"
#include "proto/pb.h"

static Manager__CreateReq request(void)
{
    Manager__CreateReq r = MANAGER__CREATE_REQ__INIT;

    return r;
}

static void set_pem(ProtobufCBinaryData *d, const char *text)
{
    *d = pb_bytes(slice_of_str(text));
}

static void five_lines_are_always_there(void **state)
{
    Manager__CreateReq r = request();
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);

    (void)state;
    assert_true(mgr_environment(&r, "id-1", &out, &e));
    assert_string_equal(buf_str(&out, &e), "AGENT_LOG_LEVEL=\nAGENT_CVM_GRPC_URL=\nAGENT_CVM_ID=id-1\n"
                                           "AGENT_CERTS_TOKEN=\nAGENT_CVM_CA_URL=\n");
}

static void what_the_request_carries_follows(void **state)
{
    Manager__CreateReq r = request();
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);

    (void)state;
    r.agent_log_level = "debug";
    r.agent_cvm_server_url = "10.0.2.2:7001";
    r.aws_region = "eu-west-1";
    r.aws_access_key_id = "AK";
    set_pem(&r.agent_cvm_client_cert, "cert");
    set_pem(&r.agent_cvm_client_key, "key");
    set_pem(&r.agent_cvm_server_ca_cert, "ca");
    assert_true(mgr_environment(&r, "id-1", &out, &e));
    assert_string_equal(buf_str(&out, &e),
                        "AGENT_LOG_LEVEL=debug\nAGENT_CVM_GRPC_URL=10.0.2.2:7001\nAGENT_CVM_ID=id-1\n"
                        "AGENT_CERTS_TOKEN=\nAGENT_CVM_CA_URL=\n"
                        "AGENT_CVM_GRPC_CLIENT_CERT=/etc/certs/cert.pem\n"
                        "AGENT_CVM_GRPC_CLIENT_KEY=/etc/certs/key.pem\n"
                        "AGENT_CVM_GRPC_SERVER_CA_CERTS=/etc/certs/ca.pem\n"
                        "AWS_ACCESS_KEY_ID=AK\nAWS_REGION=eu-west-1\n");
}

static void all_faults_are_told_at_once_MG_2(void **state)
{
    Manager__CreateReq r = request();
    struct err e = ERR_INIT;
    uint64_t ttl_ms;

    (void)state;
    r.agent_cvm_server_url = "host:1\nLD_PRELOAD=/x";
    r.aa_kbs_params = "cc_kbc::http://kbs:8080 init=/bin/sh";
    r.ttl = "tomorrow";
    r.agent_log_level = "loud";
    set_pem(&r.agent_cvm_client_cert, "cert");
    assert_false(mgr_request_check(&r, &ttl_ms, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    assert_non_null(
        strstr(err_text(&e), "agent_cvm_server_url: byte 0x0a at 6: one line of text is wanted; "));
    assert_non_null(strstr(err_text(&e), "aa_kbs_params: byte 0x20 at 23"));
    assert_non_null(strstr(err_text(&e), "; ttl: "));
    assert_non_null(strstr(err_text(&e), "; agent_log_level: 'loud': "));
    assert_non_null(
        strstr(err_text(&e), "agent_cvm_client_cert and agent_cvm_client_key are wanted together"));
}

static void address_that_the_agent_would_not_take_is_refused(void **state)
{
    static const struct {
        char *url;
        bool want;
    } rows[] = {
        { "", true }, /* the agent has a default */
        { "10.0.2.2:7001", true },
        { "cvms.example:7001", true },
        { "dns:///cvms.example:7001", true },
        { "[::1]:7001", true },
        { "10.0.2.2", false },
        { "10.0.2.2:", false },
        { "10.0.2.2:99999", false },
        { "::1:7001", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Manager__CreateReq r = request();
        struct err e = ERR_INIT;
        uint64_t ttl_ms;

        r.agent_cvm_server_url = rows[i].url;
        assert_int_equal(mgr_request_check(&r, &ttl_ms, &e), rows[i].want);
        if (!rows[i].want)
            assert_true(slice_starts(slice_of_str(err_text(&e)), "agent_cvm_server_url: address '"));
    }
}

static void ttl_is_a_go_duration(void **state)
{
    static const struct {
        char *text;
        uint64_t want_ms;
    } rows[] = { { "", 0 }, { "1h0m0s", 3600000 }, { "90s", 90000 }, { "250ms", 250 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Manager__CreateReq r = request();
        struct err e = ERR_INIT;
        uint64_t ttl_ms = 1;

        r.ttl = rows[i].text;
        assert_true(mgr_request_check(&r, &ttl_ms, &e));
        assert_int_equal(ttl_ms, rows[i].want_ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_lines_are_always_there),
        cmocka_unit_test(what_the_request_carries_follows),
        cmocka_unit_test(all_faults_are_told_at_once_MG_2),
        cmocka_unit_test(address_that_the_agent_would_not_take_is_refused),
        cmocka_unit_test(ttl_is_a_go_duration),
    };
    return cmocka_run_group_tests_name("manager/environment", tests, NULL, NULL);
}
