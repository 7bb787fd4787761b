#include "unit/base/unit.h"

#include "base/mem.h"
#include "base/slice.h"
#include "manifest/manifest.h"
#include "proto/pb.h"

/* ------------------------------------------------------------------ a request to bend */

struct order {
    Cvms__ComputationRunReq req;
    Cvms__Algorithm algorithm;
    Cvms__Source sources[4];
    Cvms__KBSConfig kbs[5];
    Cvms__Dataset datasets[3];
    Cvms__Dataset *dataset_list[3];
    Cvms__ResultConsumer consumer;
    Cvms__ResultConsumer *consumer_list[1];
    Cvms__AgentConfig agent;
    uint8_t hashes[4][64];
    struct buf der;
};

/* Two datasets "a.csv" and "b.csv", an algorithm, a consumer: nothing wrong with it. */
static void order_init(struct order *o)
{
    CLEANUP(key_done) struct key *k = NULL;
    struct err e = ERR_INIT;
    ProtobufCBinaryData der;

    *o = (struct order){
        .req = CVMS__COMPUTATION_RUN_REQ__INIT,
        .algorithm = CVMS__ALGORITHM__INIT,
        .consumer = CVMS__RESULT_CONSUMER__INIT,
        .agent = CVMS__AGENT_CONFIG__INIT,
        .der = BUF_INIT(4096),
    };
    k = key_generate(KEY_ED25519, &e);
    assert_non_null(k);
    assert_true(key_public_der(k, &o->der, &e));
    der = pb_bytes(buf_slice(&o->der));
    for (size_t i = 0; i < ARRAY_LEN(o->hashes); i++)
        memset(o->hashes[i], (int)i + 1, sizeof(o->hashes[i]));
    for (size_t i = 0; i < ARRAY_LEN(o->sources); i++)
        o->sources[i] = (Cvms__Source)CVMS__SOURCE__INIT;
    for (size_t i = 0; i < ARRAY_LEN(o->kbs); i++)
        o->kbs[i] = (Cvms__KBSConfig)CVMS__KBSCONFIG__INIT;
    for (size_t i = 0; i < ARRAY_LEN(o->datasets); i++) {
        o->datasets[i] = (Cvms__Dataset)CVMS__DATASET__INIT;
        o->datasets[i].hash = (ProtobufCBinaryData){ 32, o->hashes[i + 1] };
        o->datasets[i].userkey = der;
        o->dataset_list[i] = &o->datasets[i];
    }
    o->datasets[0].filename = (char *)"a.csv";
    o->datasets[1].filename = (char *)"b.csv";
    o->datasets[2].filename = (char *)"c.csv";
    o->algorithm.hash = (ProtobufCBinaryData){ 32, o->hashes[0] };
    o->algorithm.userkey = der;
    o->consumer.userkey = der;
    o->consumer_list[0] = &o->consumer;
    o->req.id = (char *)"17";
    o->req.name = (char *)"n";
    o->req.algorithm = &o->algorithm;
    o->req.datasets = o->dataset_list;
    o->req.n_datasets = 2;
    o->req.result_consumers = o->consumer_list;
    o->req.n_result_consumers = 1;
}

/* ------------------------------------------------------------------ faults */

static void bend_nothing(struct order *o)
{
    (void)o;
}
static void bend_hash_0(struct order *o)
{
    o->datasets[0].hash.len = 0;
}
static void bend_hash_31(struct order *o)
{
    o->datasets[1].hash.len = 31;
}
static void bend_hash_33(struct order *o)
{
    o->algorithm.hash.len = 33;
}
static void bend_hash_64(struct order *o)
{
    o->algorithm.hash.len = 64;
}
static void bend_no_algorithm(struct order *o)
{
    o->req.algorithm = NULL;
}
static void bend_no_id(struct order *o)
{
    o->req.id = (char *)"";
}
static void bend_id_newline(struct order *o)
{
    o->req.id = (char *)"1\n2";
}
static void bend_key_missing(struct order *o)
{
    o->algorithm.userkey.len = 0;
}
static void bend_key_garbage(struct order *o)
{
    o->consumer.userkey.len = 7;
}
static void bend_name_twice(struct order *o)
{
    o->datasets[1].filename = (char *)"a.csv";
}
static void bend_unnamed_twice(struct order *o)
{
    o->datasets[0].filename = (char *)"";
    o->datasets[1].filename = (char *)"";
    o->datasets[1].hash = o->datasets[0].hash;
}
static void bend_unnamed_of_two_hashes(struct order *o)
{
    o->datasets[0].filename = (char *)"";
    o->datasets[1].filename = (char *)"";
}
static void bend_slash(struct order *o)
{
    o->datasets[0].filename = (char *)"a/b";
}
static void bend_dotdot(struct order *o)
{
    o->datasets[0].filename = (char *)"..";
}
static void bend_dot(struct order *o)
{
    o->datasets[0].filename = (char *)".";
}
static void bend_reserved(struct order *o)
{
    o->datasets[0].filename = (char *)".cocos-staged.0";
}
static void bend_control(struct order *o)
{
    o->datasets[0].filename = (char *)"a\033b";
}
static void bend_port(struct order *o)
{
    o->req.agent_config = &o->agent;
    o->agent.port = (char *)"70020";
}
static void bend_half_tls(struct order *o)
{
    o->req.agent_config = &o->agent;
    o->agent.cert_file = (char *)"/etc/certs/cert.pem";
}
static void bend_half_attested(struct order *o)
{
    bend_half_tls(o);
    o->agent.attested_tls = true;
}
static void bend_many(struct order *o)
{
    o->req.id = (char *)"";
    o->req.algorithm = NULL;
    o->datasets[0].hash.len = 31;
    o->datasets[1].filename = (char *)"/";
    o->consumer.userkey.len = 0;
}

static struct fault_case {
    const char *name;
    void (*bend)(struct order *o);
    const char *want[6]; /* parts of the error; none: it is accepted */
} fault_cases[] = {
    { "nothing_wrong_is_accepted", bend_nothing, { NULL } },
    { "PB-1_hash_of_0_bytes", bend_hash_0, { "datasets[0].hash: 0 bytes, 32 are wanted" } },
    { "PB-1_hash_of_31_bytes", bend_hash_31, { "datasets[1].hash: 31 bytes, 32 are wanted" } },
    { "PB-1_D-8_hash_of_33_bytes", bend_hash_33, { "algorithm.hash: 33 bytes, 32 are wanted" } },
    { "PB-1_hash_of_64_bytes", bend_hash_64, { "algorithm.hash: 64 bytes, 32 are wanted" } },
    { "PB-2_D-8_no_algorithm", bend_no_algorithm, { "algorithm: missing" } },
    { "PB-2_empty_id", bend_no_id, { "id: empty" } },
    { "id_with_newline", bend_id_newline, { "id: it holds control characters" } },
    { "key_missing", bend_key_missing, { "algorithm.user_key: missing" } },
    { "key_unreadable", bend_key_garbage, { "result_consumers[0].user_key: " } },
    { "PB-2_filename_twice",
      bend_name_twice,
      { "datasets[1].filename: 'a.csv' is the name of datasets[0] too" } },
    { "PB-2_hash_twice_without_names", bend_unnamed_twice, { "datasets[1]: same hash as datasets[0]" } },
    { "two_unnamed_of_two_hashes_are_accepted", bend_unnamed_of_two_hashes, { NULL } },
    { "AG-7_filename_with_slash", bend_slash, { "datasets[0].filename: " } },
    { "AG-7_filename_dotdot", bend_dotdot, { "datasets[0].filename: " } },
    { "AG-7_filename_dot", bend_dot, { "datasets[0].filename: " } },
    { "AG-7_filename_reserved", bend_reserved, { "datasets[0].filename: " } },
    { "AG-7_filename_with_escape", bend_control, { "datasets[0].filename: " } },
    { "port_out_of_range", bend_port, { "agent_config.port: " } },
    { "half_a_certificate", bend_half_tls, { "agent_config.key_file: missing" } },
    { "attested_tls_needs_no_key_file", bend_half_attested, { NULL } },
    { "PB-2_all_faults_at_once",
      bend_many,
      { "id: empty", "algorithm: missing", "datasets[0].hash: 31 bytes",
        "datasets[1].filename: ", "result_consumers[0].user_key: missing" } },
};

static void check_fault(void **state)
{
    const struct fault_case *t = *state;
    CLEANUP(buf_done) struct buf wire = BUF_INIT(MF_REQUEST_MAX);
    struct err e = ERR_INIT;
    struct order o;
    struct mf *m;

    order_init(&o);
    t->bend(&o);
    assert_true(pb_encode(&o.req.base, &wire, &e));
    m = mf_decode(buf_slice(&wire), NULL, &e);
    assert_int_equal(m != NULL, t->want[0] == NULL);
    assert_int_equal(e.kind, m ? ERR_KIND_NONE : ERR_KIND_INVALID);
    for (size_t i = 0; i < ARRAY_LEN(t->want) && t->want[i]; i++)
        if (!strstr(err_text(&e), t->want[i]))
            fail_msg("'%s' is not in '%s'", t->want[i], err_text(&e));
    mf_free(m);
    buf_done(&o.der);
}

/* What a manifest says of TLS either makes the agent serve TLS, or is refused: never plaintext by surprise. */
static struct tls_case {
    const char *name;
    const char *cert, *key, *client_ca, *server_ca;
    bool attested;
    const char *want[2]; /* parts of the error; none: it is accepted */
} tls_cases[] = {
    /* clang-format off: a combination a line */
    { "tls_nothing_is_plaintext", "", "", "", "", false, { NULL } },
    { "tls_certificate", "c", "k", "", "", false, { NULL } },
    { "tls_certificate_and_client_ca", "c", "k", "a", "", false, { NULL } },
    { "tls_certificate_and_server_ca", "c", "k", "", "s", false, { NULL } },
    { "tls_certificate_and_both_cas", "c", "k", "a", "s", false, { NULL } },
    { "tls_client_ca_alone_is_refused", "", "", "a", "", false, { "agent_config.client_ca_file: " } },
    { "tls_server_ca_alone_is_refused", "", "", "", "s", false, { "agent_config.server_ca_file: " } },
    { "tls_both_cas_alone_are_refused",
      "",
      "",
      "a",
      "s",
      false,
      { "agent_config.client_ca_file: ", "agent_config.server_ca_file: " } },
    { "tls_certificate_without_key_is_refused", "c", "", "", "", false, { "agent_config.key_file: " } },
    { "tls_certificate_and_client_ca_without_key", "c", "", "a", "", false, { "agent_config.key_file: " } },
    { "tls_certificate_and_server_ca_without_key", "c", "", "", "s", false, { "agent_config.key_file: " } },
    { "tls_certificate_and_both_cas_without_key", "c", "", "a", "s", false, { "agent_config.key_file: " } },
    { "tls_key_without_certificate_is_refused", "", "k", "", "", false, { "agent_config.cert_file: " } },
    { "tls_key_and_client_ca_without_certificate", "", "k", "a", "", false, { "agent_config.cert_file: " } },
    { "tls_key_and_server_ca_without_certificate", "", "k", "", "s", false, { "agent_config.cert_file: " } },
    { "tls_key_and_both_cas_without_certificate", "", "k", "a", "s", false, { "agent_config.cert_file: " } },
    { "tls_attested_with_nothing", "", "", "", "", true, { NULL } },
    { "tls_attested_with_client_ca", "", "", "a", "", true, { NULL } },
    { "tls_attested_with_all", "c", "k", "a", "s", true, { NULL } },
    /* clang-format on */
};

static void check_tls(void **state)
{
    const struct tls_case *t = *state;
    CLEANUP(buf_done) struct buf wire = BUF_INIT(MF_REQUEST_MAX);
    struct err e = ERR_INIT;
    struct order o;
    struct mf *m;

    order_init(&o);
    o.req.agent_config = &o.agent;
    o.agent.cert_file = (char *)(uintptr_t)t->cert;
    o.agent.key_file = (char *)(uintptr_t)t->key;
    o.agent.client_ca_file = (char *)(uintptr_t)t->client_ca;
    o.agent.server_ca_file = (char *)(uintptr_t)t->server_ca;
    o.agent.attested_tls = t->attested;
    assert_true(pb_encode(&o.req.base, &wire, &e));
    m = mf_decode(buf_slice(&wire), NULL, &e);
    assert_int_equal(m != NULL, t->want[0] == NULL);
    assert_int_equal(e.kind, m ? ERR_KIND_NONE : ERR_KIND_INVALID);
    for (size_t i = 0; i < ARRAY_LEN(t->want) && t->want[i]; i++)
        if (!strstr(err_text(&e), t->want[i]))
            fail_msg("'%s' is not in '%s'", t->want[i], err_text(&e));
    mf_free(m);
    buf_done(&o.der);
}

static void PB_2_10001_datasets_are_refused(void **state)
{
    CLEANUP(buf_done) struct buf wire = BUF_INIT(MF_REQUEST_MAX);
    CLEANUP(mem_done) Cvms__Dataset **list = NULL;
    struct err e = ERR_INIT;
    struct order o;

    (void)state;
    order_init(&o);
    list = mem_new_array(MF_DATASETS_MAX + 1, sizeof(*list), &e);
    assert_non_null(list);
    for (size_t i = 0; i <= MF_DATASETS_MAX; i++)
        list[i] = &o.datasets[0];
    o.req.datasets = list;
    o.req.n_datasets = MF_DATASETS_MAX + 1;
    assert_true(pb_encode(&o.req.base, &wire, &e));
    assert_null(mf_decode(buf_slice(&wire), NULL, &e));
    assert_non_null(strstr(err_text(&e), "datasets: 10001 of them, at most 10000 are accepted"));
    buf_done(&o.der);
}

static void everything_arrives_in_the_struct(void **state)
{
    CLEANUP(buf_done) struct buf wire = BUF_INIT(MF_REQUEST_MAX);
    char *args[] = { (char *)"-v", (char *)"" };
    struct err e = ERR_INIT;
    char id[MF_ID_MAX + 1];
    struct order o;
    struct mf *m;

    (void)state;
    order_init(&o);
    o.req.agent_config = &o.agent;
    o.agent.port = (char *)"7002";
    o.agent.log_level = (char *)"info";
    o.algorithm.algo_type = (char *)"python";
    o.algorithm.algo_args = args;
    o.algorithm.n_algo_args = 2;
    o.datasets[1].decompress = true;
    assert_true(pb_encode(&o.req.base, &wire, &e));
    m = mf_decode(buf_slice(&wire), id, &e);
    assert_non_null(m);
    assert_string_equal(id, "17");
    assert_string_equal(m->id, "17");
    assert_string_equal(m->name, "n");
    assert_string_equal(m->description, "");
    assert_string_equal(m->algo_type, "python");
    assert_int_equal(m->algo_arg_count, 2);
    assert_string_equal(m->algo_args[0], "-v");
    assert_string_equal(m->algo_args[1], "");
    assert_int_equal(m->algo_hash[31], 1);
    assert_int_equal(m->dataset_count, 2);
    assert_string_equal(m->datasets[1].filename, "b.csv");
    assert_int_equal(m->datasets[1].hash[0], 3);
    assert_true(m->datasets[1].decompress);
    assert_false(m->datasets[0].source.present);
    assert_int_equal(m->consumer_count, 1);
    assert_int_equal(key_type_of(m->consumer_keys[0]), KEY_ED25519);
    assert_string_equal(m->agent.port, "7002");
    assert_string_equal(m->agent.log_level, "info");
    assert_string_equal(m->agent.cert_file, "");
    mf_free(m);
    buf_done(&o.der);
}

/* ------------------------------------------------------------------ remote, kbs (section 1.1) */

static struct kbs_case {
    const char *name;
    const char *source_url; /* NULL: no source */
    const char *own_url;    /* NULL: no kbs of its own */
    bool own_enabled;
    const char *global_url; /* NULL: no global kbs */
    bool want_remote;
    bool want_enabled;
    const char *want_url;
} kbs_cases[] = {
    { "nothing_is_no_kbs", NULL, NULL, false, NULL, false, false, "" },
    { "own_wins", "s3://b/k", "http://own", true, "http://all", true, true, "http://own" },
    { "own_disabled_wins_too", "s3://b/k", "http://own", false, "http://all", true, false, "http://own" },
    { "own_without_url_takes_global_url", "s3://b/k", "", true, "http://all", true, true, "http://all" },
    { "own_without_url_and_no_global", "s3://b/k", "", true, NULL, true, true, "" },
    { "global_for_what_has_a_source", "s3://b/k", NULL, false, "http://all", true, true, "http://all" },
    { "global_for_source_without_url", "", NULL, false, "http://all", false, true, "http://all" },
    { "no_global_without_a_source", NULL, NULL, false, "http://all", false, false, "" },
    { "D-31_url_alone_is_remote", "https://h/x", NULL, false, NULL, true, false, "" },
};

static void check_kbs(void **state)
{
    const struct kbs_case *t = *state;
    struct err e = ERR_INIT;
    struct order o;
    struct mf *m;

    order_init(&o);
    if (t->source_url) {
        o.datasets[1].source = &o.sources[0];
        o.sources[0].url = (char *)(uintptr_t)t->source_url;
        o.algorithm.source = &o.sources[0];
    }
    if (t->own_url) {
        o.datasets[1].kbs = &o.kbs[0];
        o.algorithm.kbs = &o.kbs[0];
        o.kbs[0].url = (char *)(uintptr_t)t->own_url;
        o.kbs[0].enabled = t->own_enabled;
    }
    if (t->global_url) {
        o.req.kbs = &o.kbs[1];
        o.kbs[1].url = (char *)(uintptr_t)t->global_url;
        o.kbs[1].enabled = true;
    }
    m = mf_from_request(&o.req, &e);
    assert_non_null(m);
    assert_int_equal(m->datasets[1].source.remote, t->want_remote);
    assert_int_equal(m->datasets[1].kbs.enabled, t->want_enabled);
    assert_string_equal(m->datasets[1].kbs.url, t->want_url);
    assert_int_equal(m->algo_source.remote, t->want_remote);
    assert_int_equal(m->algo_kbs.enabled, t->want_enabled);
    assert_string_equal(m->algo_kbs.url, t->want_url);
    assert_false(m->datasets[0].kbs.enabled);
    mf_free(m);
    buf_done(&o.der);
}

/* ------------------------------------------------------------------ broken wires */

static struct wire_case {
    const char *name;
    struct slice wire;
    const char *want_id;
} wire_cases[] = {
    { "id_of_a_request_cut_later", SLICE_LIT("\x0a\x02id\x12\x05x"), "id" },
    { "id_cut_itself", SLICE_LIT("\x0a\x05id"), "" },
    { "last_id_counts",
      SLICE_LIT("\x0a\x01"
                "a\x0a\x01"
                "b\x12\x7f"),
      "b" },
    { "id_that_is_not_utf8", SLICE_LIT("\x0a\x02\xff\xfe\x12\x7f"), "" },
    { "id_with_nul",
      SLICE_LIT("\x0a\x02"
                "a\0\x12\x7f"),
      "" },
    { "PB-3_group_refused",
      SLICE_LIT("\x0a\x01"
                "a\x0b\x0c"),
      "a" },
    { "PB-4_name_that_is_not_utf8",
      SLICE_LIT("\x0a\x01"
                "a\x12\x01\xff"),
      "a" },
};

static void check_wire(void **state)
{
    const struct wire_case *t = *state;
    char id[MF_ID_MAX + 1] = "unset";
    struct err e = ERR_INIT;

    assert_null(mf_decode(t->wire, id, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    assert_string_equal(id, t->want_id);
}

static void every_cut_of_a_request_is_an_error_or_a_manifest(void **state)
{
    CLEANUP(buf_done) struct buf wire = BUF_INIT(MF_REQUEST_MAX);
    struct err e = ERR_INIT;
    struct order o;

    (void)state;
    order_init(&o);
    assert_true(pb_encode(&o.req.base, &wire, &e));
    for (size_t len = 0; len < wire.len; len++) {
        struct err why = ERR_INIT;
        struct mf *m = mf_decode(slice_first(buf_slice(&wire), len), NULL, &why);

        assert_int_equal(m == NULL, why.kind != ERR_KIND_NONE);
        mf_free(m);
    }
    buf_done(&o.der);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(fault_cases) + ARRAY_LEN(kbs_cases) + ARRAY_LEN(wire_cases) +
                            ARRAY_LEN(tls_cases) + 3];
    size_t count = 0;

    UNIT_ROWS(tests, count, fault_cases, check_fault);
    UNIT_ROWS(tests, count, tls_cases, check_tls);
    UNIT_ROWS(tests, count, kbs_cases, check_kbs);
    UNIT_ROWS(tests, count, wire_cases, check_wire);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(PB_2_10001_datasets_are_refused);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(everything_arrives_in_the_struct);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(every_cut_of_a_request_is_an_error_or_a_manifest);
    return _cmocka_run_group_tests("manifest/manifest", tests, count, NULL, NULL);
}
