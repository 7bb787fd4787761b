#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cvms/show.h"

#define NOW_NS INT64_C(1767323045006000000) /* 2026-01-02T03:04:05.006Z */

#define JSON_HEAD "{\"time\":\"2026-01-02T03:04:05.006000000Z\",\"peer\":\"10.0.0.1:5\",\"job_id\":\"cvm-1\","
#define FILE_SHA3 "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a" /* of no bytes */

static Google__Protobuf__Timestamp at = { PROTOBUF_C_MESSAGE_INIT(&google__protobuf__timestamp__descriptor),
                                          1767323045, 7 };
static Google__Protobuf__Timestamp bad_at = {
    PROTOBUF_C_MESSAGE_INIT(&google__protobuf__timestamp__descriptor), 1, 1000000000
};

#define TEXT(literal) ((char *)(uintptr_t)(literal))
#define BASE(name) PROTOBUF_C_MESSAGE_INIT(&cvms__##name##__descriptor)

static Cvms__AgentEvent event = { BASE(agent_event), TEXT("Running"),  &at, TEXT("1"), { 0, NULL },
                                  TEXT("agent"),     TEXT("Completed") };
static Cvms__AgentEvent event_with_details = {
    BASE(agent_event), TEXT("E\n"), NULL, TEXT(""), { 2, (uint8_t *)TEXT("\x1bX") }, TEXT(""), TEXT("")
};
static Cvms__AgentLog log_line = { BASE(agent_log), TEXT("slope 0.41"), TEXT("1"), TEXT("DEBUG"), &at };
static Cvms__AgentLog log_hostile = { BASE(agent_log), TEXT("a\nb\x1b[2Jc\xffz\xe2\x80\xae"), TEXT(""),
                                      TEXT("WARN\r"), &bad_at };
static Cvms__RunResponse accepted = { BASE(run_response), TEXT("1"), TEXT("") };
static Cvms__RunResponse refused = { BASE(run_response), TEXT("1"), TEXT("algorithm: missing") };
static Cvms__StopComputationResponse stopped = { BASE(stop_computation_response), TEXT("1"), TEXT("") };
static Cvms__StopComputationResponse not_stopped = { BASE(stop_computation_response), TEXT("1"),
                                                     TEXT("busy") };
static Cvms__AgentStateRes state_res = { BASE(agent_state_res), TEXT("9"), TEXT("ReceivingData") };
static Cvms__AttestationResponse vtpm = { BASE(attestation_response), { 0, NULL }, TEXT("4f:1c") };
static Cvms__AzureAttestationToken azure = { BASE(azure_attestation_token),
                                             { 3, (uint8_t *)TEXT("abc") },
                                             TEXT("") };

#define MESSAGE(arm, member, value)                                              \
    {                                                                            \
        BASE(client_stream_message), CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_##arm, \
        {                                                                        \
            .member = &(value)                                                   \
        }                                                                        \
    }

static struct show_case {
    const char *name;
    Cvms__ClientStreamMessage m;
    const char *text, *json; /* json: after JSON_HEAD */
} cases[] = {
    { "event_with_status", MESSAGE(AGENT_EVENT, agent_event, event),
      "03:04:05.006 cvm-1 event Running/Completed computation 1 by agent\n",
      "\"stream\":\"agent\",\"kind\":\"event\",\"computation_id\":\"1\",\"event_type\":\"Running\","
      "\"status\":\"Completed\",\"originator\":\"agent\",\"timestamp\":\"2026-01-02T03:04:05.000000007Z\"}"
      "\n" },
    { "RL_6_event_with_controls", MESSAGE(AGENT_EVENT, agent_event, event_with_details),
      "03:04:05.006 cvm-1 event E\\x0a details \\x1bX\n",
      "\"stream\":\"agent\",\"kind\":\"event\",\"computation_id\":\"\",\"event_type\":\"E\\u000a\","
      "\"status\":\"\",\"originator\":\"\",\"timestamp\":null,\"details\":\"G1g=\"}\n" },
    { "log_line", MESSAGE(AGENT_LOG, agent_log, log_line), "03:04:05.006 cvm-1 log DEBUG slope 0.41\n",
      "\"stream\":\"agent\",\"kind\":\"log\",\"computation_id\":\"1\",\"level\":\"DEBUG\","
      "\"message\":\"slope 0.41\",\"timestamp\":\"2026-01-02T03:04:05.000000007Z\"}\n" },
    { "RL_6_log_with_controls", MESSAGE(AGENT_LOG, agent_log, log_hostile),
      "03:04:05.006 cvm-1 log WARN\\x0d a\\x0ab\\x1b[2Jc\\xffz\\u{202e}\n",
      "\"stream\":\"agent\",\"kind\":\"log\",\"computation_id\":\"\",\"level\":\"WARN\\u000d\","
      "\"message\":\"a\\u000ab\\u001b[2Jc\xef\xbf\xbdz\\u202e\",\"timestamp\":null}\n" },
    { "run_accepted", MESSAGE(RUN_RES, run_res, accepted), "03:04:05.006 cvm-1 run accepted computation 1\n",
      "\"stream\":\"agent\",\"kind\":\"run_res\",\"computation_id\":\"1\",\"error\":\"\"}\n" },
    { "run_refused", MESSAGE(RUN_RES, run_res, refused),
      "03:04:05.006 cvm-1 run refused computation 1: algorithm: missing\n",
      "\"stream\":\"agent\",\"kind\":\"run_res\",\"computation_id\":\"1\",\"error\":\"algorithm: "
      "missing\"}\n" },
    { "stop_done", MESSAGE(STOP_COMPUTATION_RES, stopcomputationres, stopped),
      "03:04:05.006 cvm-1 stop done computation 1\n",
      "\"stream\":\"agent\",\"kind\":\"stop_res\",\"computation_id\":\"1\",\"message\":\"\"}\n" },
    { "stop_failed", MESSAGE(STOP_COMPUTATION_RES, stopcomputationres, not_stopped),
      "03:04:05.006 cvm-1 stop failed computation 1: busy\n",
      "\"stream\":\"agent\",\"kind\":\"stop_res\",\"computation_id\":\"1\",\"message\":\"busy\"}\n" },
    { "state", MESSAGE(AGENT_STATE_RES, agentstateres, state_res), "03:04:05.006 cvm-1 state ReceivingData\n",
      "\"stream\":\"agent\",\"kind\":\"state\",\"id\":\"9\",\"state\":\"ReceivingData\"}\n" },
    { "attestation_of_a_vtpm", MESSAGE(V_TPMATTESTATION_REPORT, vtpmattestationreport, vtpm),
      "03:04:05.006 cvm-1 attestation vtpm, 0 bytes, certificate 4f:1c\n",
      "\"stream\":\"agent\",\"kind\":\"attestation\",\"source\":\"vtpm\",\"cert_serial_number\":\"4f:1c\","
      "\"sha3_256\":\"" FILE_SHA3 "\",\"file\":\"\"}\n" },
    { "attestation_of_azure", MESSAGE(AZURE_ATTESTATION_TOKEN, azureattestationtoken, azure),
      "03:04:05.006 cvm-1 attestation azure, 3 bytes\n",
      "\"stream\":\"agent\",\"kind\":\"attestation\",\"source\":\"azure\",\"cert_serial_number\":\"\","
      "\"sha3_256\":\"3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532\","
      "\"file\":\"YWJj\"}\n" },
};

static void check_case(void **state)
{
    const struct show_case *c = *state;
    const struct cvms_sender from = { "10.0.0.1:5", "cvm-1", false };
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    CLEANUP(buf_done) struct buf json = BUF_INIT(65536);
    struct err e = ERR_INIT;

    assert_true(cvms_show(CVMS_FORM_TEXT, NOW_NS, &from, &c->m, &text, &e));
    assert_string_equal(buf_str(&text, &e), c->text);
    assert_true(cvms_show(CVMS_FORM_JSONL, NOW_NS, &from, &c->m, &json, &e));
    assert_true(slice_starts(buf_slice(&json), JSON_HEAD));
    assert_string_equal(buf_str(&json, &e) + strlen(JSON_HEAD), c->json);
}

static void message_without_arm_is_invalid_and_shows_nothing(void **state)
{
    const Cvms__ClientStreamMessage m = CVMS__CLIENT_STREAM_MESSAGE__INIT;
    const struct cvms_sender from = { "p", "", true };
    CLEANUP(buf_done) struct buf out = BUF_INIT(65536);

    (void)state;
    for (int form = CVMS_FORM_TEXT; form <= CVMS_FORM_JSONL; form++) {
        struct err e = ERR_INIT;

        assert_false(cvms_show((enum cvms_form)form, NOW_NS, &from, &m, &out, &e));
        assert_int_equal(e.kind, ERR_KIND_INVALID);
        assert_int_equal(out.len, 0);
    }
}

static void sender_without_job_id_is_shown_by_address(void **state)
{
    const Cvms__ClientStreamMessage m = MESSAGE(AGENT_STATE_RES, agentstateres, state_res);
    const struct cvms_sender from = { "10.0.0.1:5", "", true };
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    CLEANUP(buf_done) struct buf json = BUF_INIT(65536);
    struct err e = ERR_INIT;

    (void)state;
    assert_true(cvms_show(CVMS_FORM_TEXT, NOW_NS, &from, &m, &text, &e));
    assert_string_equal(buf_str(&text, &e), "03:04:05.006 10.0.0.1:5 state ReceivingData\n");
    assert_true(cvms_show(CVMS_FORM_JSONL, NOW_NS, &from, &m, &json, &e));
    assert_non_null(strstr(buf_str(&json, &e), "\"stream\":\"log-forwarder\""));
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(message_without_arm_is_invalid_and_shows_nothing),
        cmocka_unit_test(sender_without_job_id_is_shown_by_address),
    };
    struct CMUnitTest tests[ARRAY_LEN(cases) + ARRAY_LEN(single)];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        tests[i] = (struct CMUnitTest){ cases[i].name, check_case, NULL, NULL, &cases[i] };
    memcpy(tests + ARRAY_LEN(cases), single, sizeof(single));
    return cmocka_run_group_tests_name("show", tests, NULL, NULL);
}
