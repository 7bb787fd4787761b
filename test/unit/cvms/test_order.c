#include "base/text.h"
#include "cvms/resource.h"
#include "cvms_unit.h"
#include "manifest/manifest.h"
#include "proto/pb.h"

#define ALGO_HASH "dfb18977"
#define ONE_HASH "bc4bb29c"
#define TWO_HASH "191fb5fc"
#define DIR_HASH "eff18ed8"
#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

#define OPENING "-public-key-path", "pub.pem", "-attested-tls-bool", "false"
#define REMOTE_ALGO "-algo-source-url", "docker://r/a:1", "-algo-kbs-path", "k/a"

/*
 * A request as text: id|global kbs|algorithm|dataset...|consumers|agent. A
 * resource is hash,key,name[,source type;url;kbs path;encrypted][,kbs url];
 * parts that are absent leave no trace.
 */
static struct order_case {
    const char *name;
    const char *args[UNIT_ARGS_MAX];
    const char *want;
} cases[] = {
    { "direct_algorithm_alone",
      { OPENING, "-algo-path", "algo" },
      "1|algo " ALGO_HASH " K|consumer K|agent 7002" },
    { "D_29_direct_datasets_have_their_base_names",
      { OPENING, "-algo-path", "algo", "-data-paths", "one.csv,./two.csv,dir/" },
      "1|algo " ALGO_HASH " K|data " ONE_HASH " K one.csv|data " TWO_HASH " K two.csv|data " DIR_HASH
      " K dir|consumer K|agent 7002" },
    { "double_dash_and_equals_mean_the_same",
      { "--public-key-path=pub.pem", "--attested-tls-bool=F", "--algo-path=algo", "--data-paths=one.csv" },
      "1|algo " ALGO_HASH " K|data " ONE_HASH " K one.csv|consumer K|agent 7002" },
    { "empty_texts_are_not_given",
      { OPENING, "-algo-path", "algo", "-data-paths", "", "-kbs-url", "", "-algo-type", "" },
      "1|algo " ALGO_HASH " K|consumer K|agent 7002" },
    { "type_and_arguments_of_the_algorithm",
      { OPENING, "-algo-path", "algo", "-algo-type", "python", "-algo-args", "-x,,y z" },
      "1|algo " ALGO_HASH " K type=python arg=-x arg= arg=y z|consumer K|agent 7002" },
    { "attested_tls_and_files_of_the_agent",
      { "-public-key-path", "pub.pem", "-attested-tls-bool", "1", "-algo-path", "algo", "-client-ca-file",
        "/ca", "-agent-port", "0", "-agent-cert-file", "/c", "-agent-key-file", "/k" },
      "1|algo " ALGO_HASH " K|consumer K|agent 0 attested ca=/ca cert=/c key=/k" },
    { "id_of_the_computation",
      { OPENING, "-algo-path", "algo", "-id", "c 7" },
      "c 7|algo " ALGO_HASH " K|consumer K|agent 7002" },

    /* remote, without and with either generation of key broker flags */
    { "remote_algorithm_without_hash_has_zeros",
      { OPENING, REMOTE_ALGO },
      "1|algo 00000000 K src=oci-image;docker://r/a:1;k/a;encrypted|consumer K|agent 7002" },
    { "remote_algorithm_with_hash_and_type",
      { OPENING, REMOTE_ALGO, "-algo-hash", HEX_A, "-algo-source-type", "s3" },
      "1|algo aaaaaaaa K src=s3;docker://r/a:1;k/a;encrypted|consumer K|agent 7002" },
    { "remote_algorithm_with_local_copy_has_its_hash",
      { OPENING, REMOTE_ALGO, "-algo-path", "algo" },
      "1|algo " ALGO_HASH " K src=oci-image;docker://r/a:1;k/a;encrypted|consumer K|agent 7002" },
    { "D_31_remote_algorithm_unencrypted",
      { OPENING, "-algo-source-url", "https://h/a", "-algo-unencrypted" },
      "1|algo 00000000 K src=https;https://h/a;;|consumer K|agent 7002" },
    { "G1_kbs_url_is_global_and_in_each_remote_resource",
      { OPENING, REMOTE_ALGO, "-data-paths", "one.csv", "-dataset-source-urls", "s3://b/d",
        "-dataset-kbs-paths", "k/d", "-kbs-url", "http://kbs" },
      "1|kbs http://kbs|algo 00000000 K src=oci-image;docker://r/a:1;k/a;encrypted "
      "kbs=http://kbs|data " ONE_HASH " K one.csv|data 00000000 K dataset_0.csv "
      "src=s3;s3://b/d;k/d;encrypted kbs=http://kbs|consumer K|agent 7002" },
    { "G2_kbs_urls_stay_with_their_resources",
      { OPENING, REMOTE_ALGO, "-algo-kbs-url", "http://ka", "-dataset-source-urls",
        "gs://b/0,http://h/1,r/i:2", "-dataset-kbs-paths", "k/0,,k/2", "-dataset-kbs-urls",
        "http://k0,,http://k2" },
      "1|algo 00000000 K src=oci-image;docker://r/a:1;k/a;encrypted kbs=http://ka"
      "|data 00000000 K dataset_0.csv src=gcs;gs://b/0;k/0;encrypted kbs=http://k0"
      "|data 00000000 K dataset_1.csv src=http;http://h/1;;"
      "|data 00000000 K dataset_2.csv src=oci-image;r/i:2;k/2;encrypted kbs=http://k2|consumer K|agent "
      "7002" },
    { "own_kbs_url_goes_before_the_global_one",
      { OPENING, REMOTE_ALGO, "-algo-kbs-url", "http://ka", "-kbs-url", "http://kbs" },
      "1|kbs http://kbs|algo 00000000 K src=oci-image;docker://r/a:1;k/a;encrypted kbs=http://ka|consumer "
      "K|agent "
      "7002" },
    { "encrypted_upload_has_a_source_without_url",
      { OPENING, "-algo-path", "algo", "-algo-kbs-path", "k/a", "-kbs-url", "http://kbs" },
      "1|kbs http://kbs|algo " ALGO_HASH " K src=;;k/a;encrypted kbs=http://kbs|consumer K|agent 7002" },
    { "one_dataset_hash_serves_all",
      { OPENING, "-algo-path", "algo", "-dataset-source-urls", "s3://b/0,s3://b/1", "-dataset-kbs-paths", ",",
        "-dataset-hash", HEX_A, "-dataset-decompress", "true", "-dataset-source-type", "gcs" },
      "1|algo " ALGO_HASH " K|data aaaaaaaa K dataset_0.csv src=gcs;s3://b/0;; decompress"
      "|data aaaaaaaa K dataset_1.csv src=gcs;s3://b/1;;|consumer K|agent 7002" },
    { "dataset_hashes_one_each",
      { OPENING, "-algo-path", "algo", "-dataset-source-urls", "s3://b/0,s3://b/1", "-dataset-kbs-paths", ",",
        "-dataset-hash", HEX_A "," HEX_B },
      "1|algo " ALGO_HASH " K|data aaaaaaaa K dataset_0.csv src=s3;s3://b/0;;"
      "|data bbbbbbbb K dataset_1.csv src=s3;s3://b/1;;|consumer K|agent 7002" },

    /* -dataset and keys of their own */
    { "datasets_one_by_one_with_keys",
      { "-attested-tls-bool", "false", "-algo-path", "algo", "-algo-key", "b.pem", "-dataset",
        "path=one.csv,key=b.pem", "-dataset", "name=x.csv,path=two.csv,key=c.pem", "-consumer-key", "pub.pem",
        "-consumer-key", "c.pem" },
      "1|algo " ALGO_HASH " B|data " ONE_HASH " B one.csv|data " TWO_HASH
      " C x.csv|consumer K|consumer C|agent 7002" },
    { "dataset_by_hash_alone",
      { OPENING, "-algo-path", "algo", "-dataset", "hash=" HEX_A },
      "1|algo " ALGO_HASH " K|data aaaaaaaa K|consumer K|agent 7002" },
    { "dataset_remote_with_all_its_parts",
      { OPENING, "-algo-path", "algo", "-dataset",
        "name=d.csv,hash=" HEX_B
        ",url=s3://b/a\\,b,type=s3,kbs-path=k/d,kbs-url=http://kd,decompress=true,key=c.pem" },
      "1|algo " ALGO_HASH " K|data bbbbbbbb C d.csv src=s3;s3://b/a,b;k/d;encrypted decompress kbs=http://kd"
      "|consumer K|agent 7002" },
    { "dataset_remote_and_public",
      { OPENING, "-algo-path", "algo", "-dataset", "url=https://h/d.csv,path=one.csv" },
      "1|algo " ALGO_HASH " K|data " ONE_HASH
      " K one.csv src=https;https://h/d.csv;;|consumer K|agent 7002" },
    { "hash_equal_to_the_file_is_fine",
      { OPENING, "-algo-path", "algo", "-dataset",
        "path=dir,hash="
        "EFF18ED8957A21D4423787BF0E1E5BFD8BA512C975BC0485B371164836A4B32A" },
      "1|algo " ALGO_HASH " K|data " DIR_HASH " K dir|consumer K|agent 7002" },

    /* -manifest */
    { "manifest_from_a_file",
      { "-manifest", "m.json" },
      "m|algo 00000000|data 00000000 d.csv|consumer K|agent 7002" },
    { "manifest_from_a_file_with_agent_and_id",
      { "-manifest", "m.json", "-id", "n", "-agent-port", "8", "-attested-tls-bool", "t" },
      "n|algo 00000000|data 00000000 d.csv|consumer K|agent 8 attested" },
};

static void add(struct buf *out, const char *before, const char *text)
{
    struct err e = ERR_INIT;

    if (text[0] != '\0')
        assert_true(buf_append_str(out, before, &e) && buf_append_str(out, text, &e));
}

static void add_hash(struct buf *out, ProtobufCBinaryData hash)
{
    char hex[2 * HASH_LEN_MAX + 1];
    struct err e = ERR_INIT;

    assert_int_equal(hash.len, HASH_SHA3_256_LEN);
    hex_encode(slice_of(hash.data, 4), hex);
    assert_true(buf_format(out, &e, " %s", hex));
}

/* The keys of unit_dir_setup by their last byte. */
static void add_key(struct buf *out, ProtobufCBinaryData der)
{
    if (der.len == 0)
        return;
    assert_int_equal(der.len, 44);
    add(out, " ", der.data[43] == 0x63 ? "K" : der.data[43] == 0x0b ? "B" : der.data[43] == 0xa0 ? "C" : "?");
}

static void add_origin(struct buf *out, const Cvms__Source *s, const Cvms__KBSConfig *kbs, bool decompress)
{
    struct err e = ERR_INIT;

    if (s)
        assert_true(buf_format(out, &e, " src=%s;%s;%s;%s", s->type, s->url, s->kbs_resource_path,
                               s->encrypted ? "encrypted" : ""));
    add(out, " ", decompress ? "decompress" : "");
    if (kbs) {
        assert_true(kbs->enabled);
        add(out, " kbs=", kbs->url);
    }
}

static void add_request(struct buf *out, const Cvms__ComputationRunReq *req)
{
    const Cvms__AgentConfig *agent = req->agent_config;

    add(out, "", req->id);
    if (req->kbs) {
        assert_true(req->kbs->enabled);
        add(out, "|kbs ", req->kbs->url);
    }
    add(out, "|", "algo");
    add_hash(out, req->algorithm->hash);
    add_key(out, req->algorithm->userkey);
    add_origin(out, req->algorithm->source, req->algorithm->kbs, false);
    add(out, " type=", req->algorithm->algo_type);
    for (size_t i = 0; i < req->algorithm->n_algo_args; i++) {
        add(out, "", " arg=");
        add(out, "", req->algorithm->algo_args[i]);
    }
    for (size_t i = 0; i < req->n_datasets; i++) {
        add(out, "|", "data");
        add_hash(out, req->datasets[i]->hash);
        add_key(out, req->datasets[i]->userkey);
        add(out, " ", req->datasets[i]->filename);
        add_origin(out, req->datasets[i]->source, req->datasets[i]->kbs, req->datasets[i]->decompress);
    }
    for (size_t i = 0; i < req->n_result_consumers; i++) {
        add(out, "|", "consumer");
        add_key(out, req->result_consumers[i]->userkey);
    }
    add(out, "|agent ", agent->port);
    add(out, " ", agent->attested_tls ? "attested" : "");
    add(out, " ca=", agent->client_ca_file);
    add(out, " cert=", agent->cert_file);
    add(out, " key=", agent->key_file);
}

static void check_order(void **state)
{
    const struct order_case *c = *state;
    CLEANUP(buf_done) struct buf got = BUF_INIT(65536);
    struct cvms_faults f = CVMS_FAULTS_INIT;
    struct cvms_order order = CVMS_ORDER_INIT;
    struct config_values values;
    struct cvms_options o;
    struct err e = ERR_INIT;

    unit_read(c->args, NULL, &o, &values);
    cvms_options_check(&o, &f);
    assert_true(cvms_order_make(&o, &order, &f, &e));
    if (f.count > 0)
        fail_msg("%s", buf_str(&f.text, &e));
    add_request(&got, order.req);
    assert_string_equal(buf_str(&got, &e), c->want);
    cvms_order_done(&order);
    cvms_faults_done(&f);
    config_values_done(&values);
}

static void name_and_description_are_those_of_every_cvms_test(void **state)
{
    static const char *const args[] = { OPENING, "-algo-path", "algo", NULL };
    struct cvms_faults f = CVMS_FAULTS_INIT;
    struct cvms_order order = CVMS_ORDER_INIT;
    struct config_values values;
    struct cvms_options o;
    struct err e = ERR_INIT;

    (void)state;
    unit_read(args, NULL, &o, &values);
    assert_true(cvms_order_make(&o, &order, &f, &e));
    assert_string_equal(order.req->name, "sample computation");
    assert_string_equal(order.req->description, "sample descrption");
    assert_null(order.req->kbs);
    cvms_order_done(&order);
    config_values_done(&values);
}

/* What is printed by -print-manifest is what -manifest takes. */
static void printed_manifest_reads_back(void **state)
{
    static const char *const args[] = { OPENING,    REMOTE_ALGO, "-algo-args", "a,<b>",
                                        "-dataset", "path=dir",  "-dataset",   "path=one.csv,key=b.pem",
                                        NULL };
    static const char *const again[] = { "-manifest", "printed.json", NULL };
    CLEANUP(buf_done) struct buf json = BUF_INIT(65536);
    CLEANUP(buf_done) struct buf json_again = BUF_INIT(65536);
    struct cvms_faults f = CVMS_FAULTS_INIT;
    struct cvms_order first = CVMS_ORDER_INIT, second = CVMS_ORDER_INIT;
    struct config_values values;
    struct cvms_options o;
    struct err e = ERR_INIT;

    (void)state;
    unit_read(args, NULL, &o, &values);
    assert_true(cvms_order_make(&o, &first, &f, &e));
    assert_true(mf_json(first.req, &json, &e));
    config_values_done(&values);
    unit_write("printed.json", buf_str(&json, &e));

    unit_read(again, NULL, &o, &values);
    assert_true(cvms_order_make(&o, &second, &f, &e));
    assert_int_equal(f.count, 0);
    assert_true(mf_json(second.req, &json_again, &e));
    assert_string_equal(buf_str(&json, &e), buf_str(&json_again, &e));
    cvms_order_done(&first);
    cvms_order_done(&second);
    cvms_faults_done(&f);
    config_values_done(&values);
}

static void description_tells_a_person_everything(void **state)
{
    static const char *const args[] = { OPENING,   REMOTE_ALGO, "-algo-args", "x\x1b[1m", "-data-paths",
                                        "one.csv", "-kbs-url",  "http://kbs", NULL };
    CLEANUP(buf_done) struct buf out = BUF_INIT(65536);
    struct cvms_faults f = CVMS_FAULTS_INIT;
    struct cvms_order order = CVMS_ORDER_INIT;
    struct config_values values;
    struct cvms_options o;
    struct err e = ERR_INIT;
    const char *text;

    (void)state;
    unit_read(args, NULL, &o, &values);
    assert_true(cvms_order_make(&o, &order, &f, &e));
    assert_true(cvms_order_describe(&order, &out, &e));
    text = buf_str(&out, &e);
    assert_non_null(strstr(text, "  kbs of all    http://kbs\n"));
    assert_non_null(strstr(text, "  source        docker://r/a:1\n"));
    assert_non_null(strstr(text, "  argument      x\\x1b[1m\n"));
    assert_non_null(strstr(text, "dataset 1\n  name          one.csv\n"));
    assert_non_null(strstr(text, "  port          7002\n"));
    cvms_order_done(&order);
    config_values_done(&values);
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(name_and_description_are_those_of_every_cvms_test),
        cmocka_unit_test(printed_manifest_reads_back),
        cmocka_unit_test(description_tells_a_person_everything),
    };
    struct CMUnitTest tests[ARRAY_LEN(cases) + ARRAY_LEN(single)];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        tests[i] = (struct CMUnitTest){ cases[i].name, check_order, NULL, NULL, &cases[i] };
    memcpy(tests + ARRAY_LEN(cases), single, sizeof(single));
    return cmocka_run_group_tests_name("order", tests, unit_dir_setup, unit_dir_teardown);
}
