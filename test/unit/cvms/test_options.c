#include "base/text.h"
#include "cvms_unit.h"

#define KEY "-public-key-path", "pub.pem"
#define TLS_OFF "-attested-tls-bool", "false"
#define ALGO "-algo-path", "algo"
#define GOOD KEY, TLS_OFF, ALGO

#define NEED_ALGO "Either algo-path OR (algo-source-url AND algo-kbs-path) is required"
#define NEED_KEY "Public key path is required"
#define NEED_TLS "Attested TLS flag is required and it must be a boolean value"

/* A command line and all its faults, in order, each by a part of its text. */
static struct fault_case {
    const char *name;
    const char *args[UNIT_ARGS_MAX], *env[6];
    const char *want[6];
} cases[] = {
    { "good_line_has_no_fault", { GOOD }, { NULL }, { NULL } },
    { "nothing_given_has_three_faults", { NULL }, { NULL }, { NEED_ALGO, NEED_KEY, NEED_TLS } },
    { "attested_tls_must_be_a_boolean", { KEY, ALGO, "-attested-tls-bool", "yes" }, { NULL }, { NEED_TLS } },
    { "url_without_kbs_path", { KEY, TLS_OFF, "-algo-source-url", "s3://b/k" }, { NULL }, { NEED_ALGO } },
    { "kbs_path_without_url", { KEY, TLS_OFF, "-algo-kbs-path", "k" }, { NULL }, { NEED_ALGO } },
    { "unencrypted_with_kbs_path",
      { KEY, TLS_OFF, "-algo-source-url", "s3://b/k", "-algo-kbs-path", "k", "-algo-unencrypted" },
      { NULL },
      { "contradict each other" } },
    { "keys_of_their_own_make_the_common_one_needless",
      { TLS_OFF, ALGO, "-algo-key", "b.pem", "-consumer-key", "c.pem", "-dataset", "path=one.csv,key=b.pem" },
      { NULL },
      { NULL } },
    { "one_dataset_without_key_needs_the_common_one",
      { TLS_OFF, ALGO, "-algo-key", "b.pem", "-consumer-key", "c.pem", "-dataset", "path=one.csv" },
      { NULL },
      { NEED_KEY } },
    { "manifest_excludes_what_makes_one",
      { "-manifest", "m.json", KEY, ALGO, "-kbs-url", "u" },
      { NULL },
      { "-public-key-path has no place", "-algo-path has no place", "-kbs-url has no place" } },
    { "dataset_lists_without_urls",
      { GOOD, "-dataset-kbs-paths", "k", "-dataset-hash", "00" },
      { NULL },
      { "-dataset-kbs-paths is of use only with", "-dataset-hash is of use only with" } },
    { "agent_port_out_of_range", { GOOD, "-agent-port", "65536" }, { NULL }, { "-agent-port" } },
    { "agent_port_not_a_number", { GOOD, "-agent-port", "http" }, { NULL }, { "-agent-port" } },
    { "agent_certificate_without_key",
      { GOOD, "-agent-cert-file", "c" },
      { NULL },
      { "only of use together" } },
    { "server_certificate_without_key",
      { GOOD },
      { "SERVER_CERT=c.pem" },
      { "SERVER_CERT and SERVER_KEY are only of use together: SERVER_KEY is not set" } },
    { "server_key_without_certificate",
      { GOOD },
      { "SERVER_KEY=k.pem" },
      { "SERVER_CERT and SERVER_KEY are only of use together: SERVER_CERT is not set" } },
    { "client_ca_without_certificate",
      { GOOD },
      { "CLIENT_CA_CERTS=ca.pem" },
      { "CLIENT_CA_CERTS demands client certificates" } },
    { "server_ca_without_certificate",
      { GOOD },
      { "SERVER_CA_CERTS=ca.pem" },
      { "SERVER_CA_CERTS demands client certificates" } },
    { "tls_of_the_server_in_full",
      { GOOD },
      { "SERVER_CERT=c.pem", "SERVER_KEY=k.pem", "CLIENT_CA_CERTS=ca.pem", "SERVER_CA_CERTS=ca.pem" },
      { NULL } },
    { "output_unknown", { GOOD, "-output", "xml" }, { NULL }, { "-output 'xml': text or jsonl" } },
    { "log_pattern_broken",
      { GOOD, "-expect-log", "a(", "-expect-log", "ok" },
      { NULL },
      { "-expect-log 'a('" } },
    { "event_without_type", { GOOD, "-expect-event", "/Ready" }, { NULL }, { "-expect-event '/Ready'" } },
    { "event_without_status",
      { GOOD, "-expect-event", "Running/" },
      { NULL },
      { "-expect-event 'Running/'" } },
    { "within_without_expectation",
      { GOOD, "-within", "5s" },
      { NULL },
      { "-within is a time for expectations" } },
    { "within_of_no_time", { GOOD, "-within", "0", "-once" }, { NULL }, { "-within '0'" } },
    { "state_that_no_agent_has_names_the_nearest",
      { GOOD, "-expect-state", "RecevingData", "-expect-state", "running", "-expect-state", "Complete" },
      { NULL },
      { "-expect-state 'RecevingData': no agent has such a state; did you mean ReceivingData?",
        "-expect-state 'running': no agent has such a state; did you mean Running?" } },
    { "state_like_none_lists_them_all",
      { GOOD, "-expect-state", "Foo", "-expect-state", "" },
      { NULL },
      { "-expect-state 'Foo': no agent has such a state; Idle, ReceivingManifest", "-expect-state ''" } },
    { "within_with_once", { GOOD, "-within", "5s", "-once" }, { NULL }, { NULL } },

    /* found while the computation is made */
    { "key_file_missing",
      { "-public-key-path", "no.pem", TLS_OFF, ALGO },
      { NULL },
      { "failed to read public key file: 'no.pem'" } },
    { "key_file_without_key",
      { "-public-key-path", "bad.pem", TLS_OFF, ALGO },
      { NULL },
      { "failed to read public key file: 'bad.pem'" } },
    { "algorithm_missing",
      { KEY, TLS_OFF, "-algo-path", "no" },
      { NULL },
      { "algo file does not exist: no" } },
    { "algorithm_is_a_fifo",
      { KEY, TLS_OFF, "-algo-path", "fifo" },
      { NULL },
      { "failed to calculate checksum: 'fifo' is neither a file nor a directory" } },
    { "dataset_missing",
      { GOOD, "-data-paths", "one.csv,no.csv" },
      { NULL },
      { "dataset file does not exist: no.csv" } },
    { "dataset_item_empty",
      { GOOD, "-data-paths", "one.csv,,two.csv" },
      { NULL },
      { "-data-paths: item 2 is empty" } },
    { "urls_and_kbs_paths_of_different_count",
      { GOOD, "-dataset-source-urls", "s3://a/b,s3://a/c", "-dataset-kbs-paths", "k" },
      { NULL },
      { "dataset source URLs and KBS paths must have the same count: got 2 and 1" } },
    { "urls_without_kbs_paths",
      { GOOD, "-dataset-source-urls", "s3://a/b" },
      { NULL },
      { "dataset source URLs and KBS paths must have the same count: got 1 and 0" } },
    { "more_kbs_urls_than_datasets",
      { GOOD, "-dataset-source-urls", "s3://a/b", "-dataset-kbs-paths", "k", "-dataset-kbs-urls", "u,v" },
      { NULL },
      { "-dataset-kbs-urls has 2 items, and there are 1 dataset source URLs" } },
    { "dataset_hash_not_hex",
      { GOOD, "-dataset-source-urls", "s3://a/b", "-dataset-kbs-paths", "k", "-dataset-hash", "xyz0" },
      { NULL },
      { "failed to decode dataset hash" } },
    { "PB_1_dataset_hash_of_31_bytes",
      { GOOD, "-dataset-source-urls", "s3://a/b", "-dataset-kbs-paths", "k", "-dataset-hash",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
      { NULL },
      { "dataset hash must be 32 bytes (SHA3-256 as 64 hex digits), got 31" } },
    { "PB_1_algo_hash_of_1_byte",
      { KEY, TLS_OFF, "-algo-source-url", "s3://a/b", "-algo-kbs-path", "k", "-algo-hash", "00" },
      { NULL },
      { "algo hash must be 32 bytes (SHA3-256 as 64 hex digits), got 1" } },
    { "hash_other_than_the_files",
      { GOOD, "-dataset",
        "path=one.csv,hash=0000000000000000000000000000000000000000000000000000000000000000" },
      { NULL },
      { "was given, and 'one.csv' has another one" } },
    { "decompress_not_a_boolean",
      { GOOD, "-dataset-source-urls", "s3://a/b", "-dataset-kbs-paths", "k", "-dataset-decompress", "yes" },
      { NULL },
      { "dataset decompress 'yes'" } },
    { "dataset_with_unknown_key",
      { GOOD, "-dataset", "path=one.csv,colour=red" },
      { NULL },
      { "'colour' is unknown" } },
    { "dataset_with_key_twice",
      { GOOD, "-dataset", "path=one.csv,path=two.csv" },
      { NULL },
      { "'path' is there twice" } },
    { "dataset_without_equals",
      { GOOD, "-dataset", "path=one.csv,x" },
      { NULL },
      { "'x' is not key=value" } },
    { "dataset_of_nothing", { GOOD, "-dataset", "name=x" }, { NULL }, { "path, url or hash is wanted" } },
    { "manifest_missing", { "-manifest", "no.json" }, { NULL }, { "-manifest" } },
    { "manifest_not_json", { "-manifest", "bad.pem" }, { NULL }, { "-manifest 'bad.pem'" } },
    { "all_faults_at_once",
      { "-public-key-path", "no.pem", "-algo-path", "no", "-data-paths", "gone.csv", "-agent-port", "x" },
      { NULL },
      { NEED_TLS, "-agent-port", "failed to read public key file", "algo file does not exist",
        "dataset file does not exist" } },
};

static void check_case(void **state)
{
    const struct fault_case *c = *state;
    struct cvms_faults f = CVMS_FAULTS_INIT;
    struct cvms_order order = CVMS_ORDER_INIT;
    struct config_values values;
    struct cvms_options o;
    struct err e = ERR_INIT;
    const char *at;
    size_t want = 0;

    unit_read(c->args, c->env, &o, &values);
    cvms_options_check(&o, &f);
    assert_true(cvms_order_make(&o, &order, &f, &e));
    at = buf_str(&f.text, &e);
    for (; want < ARRAY_LEN(c->want) && c->want[want]; want++) {
        const char *end = strchr(at, '\n'), *found = strstr(at, c->want[want]);

        if (!end || !found || found > end)
            fail_msg("fault %zu: '%s' is wanted in\n%s", want + 1, c->want[want], at);
        at = end + 1;
    }
    assert_string_equal(at, "");
    assert_int_equal(f.count, want);
    cvms_order_done(&order);
    cvms_faults_done(&f);
    config_values_done(&values);
}

static void environment_and_flags_say_where_to_serve(void **state)
{
    static const char *const args[] = { GOOD, "-port", "9", NULL };
    static const char *const env[] = { "HOST=::1", "PORT=7", "SERVER_CERT=", NULL };
    struct config_values values;
    struct cvms_options o;

    (void)state;
    unit_read(args, env, &o, &values);
    assert_string_equal(o.host, "::1");
    assert_int_equal(o.port, 9);
    assert_null(o.server_cert);
    config_values_done(&values);
}

static void defaults_are_those_of_the_sheet(void **state)
{
    static const char *const args[] = { GOOD, NULL };
    struct config_values values;
    struct cvms_options o;

    (void)state;
    unit_read(args, NULL, &o, &values);
    assert_null(o.host);
    assert_int_equal(o.port, 7001);
    assert_false(o.once);
    assert_int_equal(o.within_ms, CVMS_WITHIN_DEFAULT_MS);
    config_values_done(&values);
}

static void faults_beyond_the_room_are_counted(void **state)
{
    struct cvms_faults f = CVMS_FAULTS_INIT;

    (void)state;
    for (int i = 0; i < 5000; i++)
        cvms_fault(&f, "fault number %d, and some words to fill the line", i);
    assert_int_equal(f.count, 5000);
    assert_true(f.text.len <= CVMS_FAULTS_TEXT_MAX);
    cvms_faults_done(&f);
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(environment_and_flags_say_where_to_serve),
        cmocka_unit_test(defaults_are_those_of_the_sheet),
        cmocka_unit_test(faults_beyond_the_room_are_counted),
    };
    struct CMUnitTest tests[ARRAY_LEN(cases) + ARRAY_LEN(single)];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        tests[i] = (struct CMUnitTest){ cases[i].name, check_case, NULL, NULL, &cases[i] };
    memcpy(tests + ARRAY_LEN(cases), single, sizeof(single));
    return cmocka_run_group_tests_name("options", tests, unit_dir_setup, unit_dir_teardown);
}
