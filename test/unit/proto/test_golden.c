/*
 * PB-8: messages of each released generation, kept as bytes, mean today what
 * they meant then, and come out byte for byte when encoded again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/cvms.pb-c.h"
#include "proto/pb.h"

#define DIR "test/fixtures/golden/"

/* The fixtures of make.py: its two hashes and its key. */
static const uint8_t key[] = { 0x30, 0x03, 0x02, 0x01, 0x05 };

static void read_hex(const char *name, struct buf *out)
{
    char path[128];
    char line[256];
    struct err e = ERR_INIT;

    snprintf(path, sizeof(path), DIR "%s.hex", name);
    FILE *f = fopen(path, "r");

    if (!f)
        fail_msg("%s: run from the top of the source tree", path);
    while (fgets(line, sizeof(line), f)) {
        for (size_t i = 0; line[i] && line[i] != '\n'; i += 2) {
            char two[3] = { line[i], line[i + 1], 0 };

            assert_true(buf_append_u8(out, (uint8_t)strtoul(two, NULL, 16), &e));
        }
    }
    fclose(f);
}

static bool counts_up_from(ProtobufCBinaryData d, uint8_t first)
{
    for (size_t i = 0; i < d.len; i++)
        if (d.data[i] != first + i)
            return false;
    return d.len == 32;
}

static bool is_key(ProtobufCBinaryData d)
{
    return slice_equal(pb_slice(d), slice_of(key, sizeof(key)));
}

static void check_source(const Cvms__Source *s)
{
    assert_non_null(s);
    assert_string_equal(s->type, "oci-image");
    assert_string_equal(s->url, "docker://r/d:1");
    assert_string_equal(s->kbs_resource_path, "default/key/d");
    assert_true(s->encrypted);
}

static void check_kbs(const Cvms__KBSConfig *k)
{
    assert_non_null(k);
    assert_string_equal(k->url, "http://kbs:8080");
    assert_true(k->enabled);
}

/* generation 0, 1 or 2 */
static void check_run_request(const Cvms__ComputationRunReq *r, int generation)
{
    assert_string_equal(r->id, "1");
    assert_string_equal(r->name, "sample computation");
    assert_string_equal(r->description, "sample descrption");
    assert_int_equal(r->n_datasets, 1);
    assert_true(counts_up_from(r->datasets[0]->hash, 32));
    assert_true(is_key(r->datasets[0]->userkey));
    assert_string_equal(r->datasets[0]->filename, "iris.csv");
    assert_non_null(r->algorithm);
    assert_true(counts_up_from(r->algorithm->hash, 0));
    assert_true(is_key(r->algorithm->userkey));
    assert_int_equal(r->n_result_consumers, 1);
    assert_true(is_key(r->result_consumers[0]->userkey));
    assert_non_null(r->agent_config);
    assert_string_equal(r->agent_config->port, "7002");
    assert_string_equal(r->agent_config->cert_file, "/c.pem");
    assert_string_equal(r->agent_config->key_file, "/k.pem");
    assert_string_equal(r->agent_config->client_ca_file, "/client.pem");
    assert_string_equal(r->agent_config->server_ca_file, "/server.pem");
    assert_string_equal(r->agent_config->log_level, "debug");
    assert_true(r->agent_config->attested_tls);

    assert_int_equal(r->kbs != NULL, generation == 1);
    assert_int_equal(r->datasets[0]->kbs != NULL, generation == 2);
    assert_int_equal(r->algorithm->kbs != NULL, generation == 2);
    if (generation == 0) {
        assert_null(r->datasets[0]->source);
        assert_null(r->algorithm->source);
        assert_false(r->datasets[0]->decompress);
        return;
    }
    check_source(r->datasets[0]->source);
    assert_true(r->datasets[0]->decompress);
    check_source(r->algorithm->source);
    assert_string_equal(r->algorithm->algo_type, "python");
    assert_int_equal(r->algorithm->n_algo_args, 2);
    assert_string_equal(r->algorithm->algo_args[0], "--a");
    assert_string_equal(r->algorithm->algo_args[1], "b c");
    check_kbs(generation == 1 ? r->kbs : r->datasets[0]->kbs);
    check_kbs(generation == 1 ? r->kbs : r->algorithm->kbs);
}

static void check_g0(const void *m)
{
    check_run_request(m, 0);
}
static void check_g1(const void *m)
{
    check_run_request(m, 1);
}
static void check_g2(const void *m)
{
    check_run_request(m, 2);
}

static void check_chunk(const void *m)
{
    const Cvms__ServerStreamMessage *s = m;

    assert_int_equal(s->message_case, CVMS__SERVER_STREAM_MESSAGE__MESSAGE_RUN_REQ_CHUNKS);
    assert_true(slice_equal(pb_slice(s->runreqchunks->data), slice_of("\x00\xff\x80part", 7)));
    assert_string_equal(s->runreqchunks->id, "chunk-7");
    assert_true(s->runreqchunks->is_last);
}

static void check_run(const void *m)
{
    const Cvms__ServerStreamMessage *s = m;

    assert_int_equal(s->message_case, CVMS__SERVER_STREAM_MESSAGE__MESSAGE_RUN_REQ);
    check_run_request(s->runreq, 0);
}

static void check_stop(const void *m)
{
    const Cvms__ServerStreamMessage *s = m;

    assert_int_equal(s->message_case, CVMS__SERVER_STREAM_MESSAGE__MESSAGE_STOP_COMPUTATION);
    assert_string_equal(s->stopcomputation->computation_id, "c-1");
}

static void check_state(const void *m)
{
    const Cvms__ServerStreamMessage *s = m;

    assert_int_equal(s->message_case, CVMS__SERVER_STREAM_MESSAGE__MESSAGE_AGENT_STATE_REQ);
    assert_string_equal(s->agentstatereq->id, "q-1");
}

static void check_disconnect(const void *m)
{
    const Cvms__ServerStreamMessage *s = m;

    assert_int_equal(s->message_case, CVMS__SERVER_STREAM_MESSAGE__MESSAGE_DISCONNECT_REQ);
    assert_string_equal(s->disconnectreq->id, "d-1");
}

static void check_log(const void *m)
{
    const Cvms__ClientStreamMessage *c = m;

    assert_int_equal(c->message_case, CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_LOG);
    assert_string_equal(c->agent_log->message, "h\xc3\xa9llo");
    assert_string_equal(c->agent_log->computation_id, "c-1");
    assert_string_equal(c->agent_log->level, "INFO");
    assert_int_equal(c->agent_log->timestamp->seconds, 1700000000);
    assert_int_equal(c->agent_log->timestamp->nanos, 999999999);
}

static void check_event(const void *m)
{
    const Cvms__ClientStreamMessage *c = m;

    assert_int_equal(c->message_case, CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_EVENT);
    assert_string_equal(c->agent_event->event_type, "Running");
    assert_int_equal(c->agent_event->timestamp->seconds, 1700000000);
    assert_int_equal(c->agent_event->timestamp->nanos, 5);
    assert_string_equal(c->agent_event->computation_id, "c-1");
    assert_true(slice_equal_str(pb_slice(c->agent_event->details), "{}"));
    assert_string_equal(c->agent_event->originator, "agent");
    assert_string_equal(c->agent_event->status, "Starting");
}

static void check_run_res(const void *m)
{
    const Cvms__ClientStreamMessage *c = m;

    assert_int_equal(c->message_case, CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_RUN_RES);
    assert_string_equal(c->run_res->computation_id, "c-1");
    assert_string_equal(c->run_res->error, "no algorithm");
}

static void check_stop_res(const void *m)
{
    const Cvms__ClientStreamMessage *c = m;

    assert_int_equal(c->message_case, CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_STOP_COMPUTATION_RES);
    assert_string_equal(c->stopcomputationres->computation_id, "c-1");
    assert_string_equal(c->stopcomputationres->message, "stopped");
}

static void check_state_res(const void *m)
{
    const Cvms__ClientStreamMessage *c = m;

    assert_int_equal(c->message_case, CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_STATE_RES);
    assert_string_equal(c->agentstateres->id, "q-1");
    assert_string_equal(c->agentstateres->state, "ReceivingData");
}

static void check_vtpm(const void *m)
{
    const Cvms__ClientStreamMessage *c = m;

    assert_int_equal(c->message_case, CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_V_TPMATTESTATION_REPORT);
    assert_true(slice_equal(pb_slice(c->vtpmattestationreport->file), slice_of("\x01\x02", 2)));
    assert_string_equal(c->vtpmattestationreport->certserialnumber, "serial");
}

static void check_azure(const void *m)
{
    const Cvms__ClientStreamMessage *c = m;

    assert_int_equal(c->message_case, CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AZURE_ATTESTATION_TOKEN);
    assert_true(slice_equal(pb_slice(c->azureattestationtoken->file), slice_of("\x03", 1)));
    assert_string_equal(c->azureattestationtoken->certserialnumber, "serial");
}

static struct golden_case {
    const char *name;
    const ProtobufCMessageDescriptor *type;
    void (*check)(const void *m);
} cases[] = {
    { "g0_run_request", &cvms__computation_run_req__descriptor, check_g0 },
    { "g1_run_request", &cvms__computation_run_req__descriptor, check_g1 },
    { "g2_run_request", &cvms__computation_run_req__descriptor, check_g2 },
    { "server_chunk", &cvms__server_stream_message__descriptor, check_chunk },
    { "server_run", &cvms__server_stream_message__descriptor, check_run },
    { "server_stop", &cvms__server_stream_message__descriptor, check_stop },
    { "server_state", &cvms__server_stream_message__descriptor, check_state },
    { "server_disconnect", &cvms__server_stream_message__descriptor, check_disconnect },
    { "client_log", &cvms__client_stream_message__descriptor, check_log },
    { "client_event", &cvms__client_stream_message__descriptor, check_event },
    { "client_run_res", &cvms__client_stream_message__descriptor, check_run_res },
    { "client_stop_res", &cvms__client_stream_message__descriptor, check_stop_res },
    { "client_state_res", &cvms__client_stream_message__descriptor, check_state_res },
    { "client_vtpm", &cvms__client_stream_message__descriptor, check_vtpm },
    { "client_azure", &cvms__client_stream_message__descriptor, check_azure },
};

static void PB_8_golden_message_decodes_and_encodes_the_same(void **state)
{
    const struct golden_case *c = *state;
    CLEANUP(buf_done) struct buf wire = BUF_INIT(4096);
    CLEANUP(buf_done) struct buf again = BUF_INIT(4096);
    struct err e = ERR_INIT;

    read_hex(c->name, &wire);
    CLEANUP(pb_done) ProtobufCMessage *m = pb_decode(c->type, buf_slice(&wire), NULL, &e);

    if (!m)
        fail_msg("%s", err_text(&e));
    c->check(m);
    assert_true(pb_encode(m, &again, &e));
    assert_true(slice_equal(buf_slice(&wire), buf_slice(&again)));
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases)];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        tests[i] = (struct CMUnitTest){ cases[i].name, PB_8_golden_message_decodes_and_encodes_the_same, NULL,
                                        NULL, &cases[i] };
    return cmocka_run_group_tests_name("PB-8 golden messages", tests, NULL, NULL);
}
