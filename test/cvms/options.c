#include <regex.h>

#include "base/text.h"
#include "cvms/options.h"

#define AT(field) offsetof(struct cvms_options, field)

/* clang-format off: a table, a setting a line. */
#define STR(flag, env, arg, field, help)                                  \
    {                                                                     \
        flag, 0, env, CONFIG_STR, NULL, 0, 0, false, arg, help, AT(field) \
    }
#define BOOL(flag, field, help)                                              \
    {                                                                        \
        flag, 0, NULL, CONFIG_BOOL, NULL, 0, 0, false, NULL, help, AT(field) \
    }
#define TIME(flag, field, help)                                                           \
    {                                                                                     \
        flag, 0, NULL, CONFIG_DURATION_MS, NULL, 0, 0, false, "duration", help, AT(field) \
    }
#define LIST(flag, arg, field, help)                                        \
    {                                                                       \
        flag, 0, NULL, CONFIG_LIST, NULL, 0, 0, false, arg, help, AT(field) \
    }

static const struct config_opt opts[] = {
    STR("public-key-path", NULL, "file", public_key_path,
        "public key (PEM) of every role that has no key of its own"),
    STR("attested-tls-bool", NULL, "bool", attested_tls,
        "whether the agent must serve attested TLS; required"),

    STR("algo-path", NULL, "path", algo_path,
        "algorithm that will be uploaded; its hash goes into the manifest"),
    STR("data-paths", NULL, "path,...", data_paths, "datasets that will be uploaded: files or directories"),
    STR("algo-type", NULL, "type", algo_type, "kind of the algorithm: bin, python, ..."),
    STR("algo-args", NULL, "arg,...", algo_args, "arguments of the algorithm"),
    STR("algo-key", NULL, "file", algo_key, "public key of the algorithm provider"),
    LIST("consumer-key", "file", consumer_key, "public key of a result consumer"),
    LIST("dataset", "key=value,...", dataset,
         "one dataset: name, path, hash, url, type, kbs-path, kbs-url, decompress, key"),

    STR("algo-source-url", NULL, "url", algo_source_url, "where the agent fetches the algorithm"),
    STR("algo-kbs-path", NULL, "path", algo_kbs_path, "key broker resource that decrypts the algorithm"),
    STR("algo-kbs-url", NULL, "url", algo_kbs_url, "key broker of the algorithm"),
    STR("algo-source-type", NULL, "type", algo_source_type,
        "oci-image, s3, gcs, http or https; default: from the URL, else oci-image"),
    STR("algo-hash", NULL, "hex", algo_hash,
        "SHA3-256 of the remote algorithm; default: of -algo-path, else zeros"),
    BOOL("algo-unencrypted", algo_unencrypted, "the remote algorithm is not encrypted: no -algo-kbs-path"),
    STR("dataset-source-urls", NULL, "url,...", dataset_source_urls, "where the agent fetches datasets"),
    STR("dataset-kbs-paths", NULL, "path,...", dataset_kbs_paths,
        "their key broker resources, one each; empty: not encrypted"),
    STR("dataset-kbs-urls", NULL, "url,...", dataset_kbs_urls, "their key brokers; an empty one is none"),
    STR("dataset-source-type", NULL, "type", dataset_source_type, "as -algo-source-type, for all of them"),
    STR("dataset-hash", NULL, "hex,...", dataset_hash,
        "SHA3-256 of each of them, or one for all; default: zeros"),
    STR("dataset-decompress", NULL, "bool,...", dataset_decompress, "whether each of them is unpacked"),
    STR("dataset-type", NULL, "type", dataset_type, "accepted and ignored"),
    STR("kbs-url", NULL, "url", kbs_url,
        "key broker of every resource with a source that has none of its own"),

    STR("client-ca-file", NULL, "file", client_ca_file,
        "for the agent: CA of its clients, as a path there or PEM"),
    STR("agent-port", NULL, "port", agent_port, "for the agent: port of its service; default 7002"),
    STR("agent-cert-file", NULL, "file", agent_cert_file,
        "for the agent: its certificate, as a path there or PEM"),
    STR("agent-key-file", NULL, "file", agent_key_file, "for the agent: its key, as a path there or PEM"),

    STR("id", NULL, "id", id, "id of the computation; default 1"),
    STR("manifest", NULL, "file", manifest, "send this manifest (JSON, see -print-manifest) instead"),
    BOOL("print-manifest", print_manifest, "print the manifest as JSON, a summary on stderr, and exit"),
    BOOL("unchunked", unchunked, "send the manifest in one message"),
    TIME("stop-after", stop_after_ms, "send StopComputation that long after the manifest"),
    TIME("state-every", state_every_ms, "ask for the agent's state that often"),
    TIME("disconnect-after", disconnect_after_ms,
         "ask each agent once to disconnect that long after the manifest"),
    LIST("expect-state", "state", expect_state, "wait until an agent reports the state; in order"),
    LIST("expect-event", "type[/status]", expect_event, "wait for the event; in order"),
    LIST("expect-log", "regex", expect_log, "wait for a log line (POSIX extended); in any order"),
    { "within", 0, NULL, CONFIG_DURATION_MS, CVMS_WITHIN_DEFAULT, 0, 0, false, "duration",
      "time for -once and the expectations, from the ready line; then exit 1", AT(within_ms) },
    BOOL("once", once, "exit 0 once all expectations are met; without any, when a computation is Complete"),
    STR("output", NULL, "text|jsonl", output,
        "how messages are shown; default: text on a terminal, else jsonl"),

    STR("host", "HOST", "host", host, "address to listen on; default: all IPv4 interfaces"),
    { "port", 0, "PORT", CONFIG_U64, "7001", 0, 65535, false, "port",
      "port to listen on; 0: a free one, told by the ready line", AT(port) },
    STR(NULL, "SERVER_CERT", "file", server_cert, "serve TLS with this certificate (PEM)"),
    STR(NULL, "SERVER_KEY", "file", server_key, "and its key"),
    STR(NULL, "SERVER_CA_CERTS", "file", server_ca_certs,
        "with either CA a client certificate is demanded ..."),
    STR(NULL, "CLIENT_CA_CERTS", "file", client_ca_certs, "... and verified by both"),
    { "log-level", 0, "CVMS_TEST_LOG_LEVEL", CONFIG_LEVEL, "info", 0, 0, false, "level",
      "debug, info, warn or error", AT(log_level) },
};
/* clang-format on */

static const struct config_spec spec = {
    .program = "cvms-test",
    .usage = "[flags]",
    .summary = "A CVM management server for tests: sends agents a computation made from flags, shows\n"
               "what they report and checks it against expectations. Flags take one dash or two.\n\n"
               "Exit status: 0 success, 1 expectations not met or serving failed, 2 bad flags, settings or\n"
               "input files. (Other servers of this kind exit 1 for bad flags as well; here a script can\n"
               "tell a test that failed from one that was never started.)",
    .examples =
        "  An algorithm and a dataset that cocos-cli will upload:\n"
        "    cvms-test -public-key-path public.pem -attested-tls-bool false \\\n"
        "        -algo-path linreg -data-paths iris.csv\n"
        "  Two data providers and a consumer, each with a key of their own:\n"
        "    cvms-test -attested-tls-bool false -algo-path linreg -algo-key a.pem \\\n"
        "        -dataset path=one.csv,key=b.pem -dataset path=two.csv,key=c.pem -consumer-key d.pem\n"
        "  In CI, on a free port, for a computation that has to end within a minute:\n"
        "    PORT=0 cvms-test ... -once -within 60s -expect-event Running/Completed -expect-log 'slope'\n"
        "  Remote resources behind a key broker:\n"
        "    cvms-test ... -algo-source-url docker://registry/algo:1 -algo-kbs-path default/key/algo \\\n"
        "        -dataset-source-urls s3://bucket/d.csv -dataset-kbs-paths default/key/d -kbs-url "
        "http://kbs:8080\n",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
};

const struct config_spec *cvms_options_spec(void)
{
    return &spec;
}

void cvms_options_drop_empty(struct cvms_options *o)
{
    for (size_t i = 0; i < ARRAY_LEN(opts); i++) {
        const char **field = (const char **)(void *)((char *)o + opts[i].offset);

        if (opts[i].type == CONFIG_STR && *field && (*field)[0] == '\0')
            *field = NULL;
    }
}

bool cvms_options_attested(const struct cvms_options *o, bool *ret, struct err *e)
{
    if (!o->attested_tls) {
        *ret = false;
        return true;
    }
    return text_parse_bool(slice_of_str(o->attested_tls), ret, e);
}

/* A manifest from a file leaves no room for flags that make one. */
static void check_excluded_by_manifest(const struct cvms_options *o, struct cvms_faults *f)
{
    const struct {
        const char *flag;
        bool given;
    } makers[] = {
        { "public-key-path", o->public_key_path != NULL },
        { "algo-path", o->algo_path != NULL },
        { "algo-source-url", o->algo_source_url != NULL },
        { "algo-kbs-path", o->algo_kbs_path != NULL },
        { "algo-kbs-url", o->algo_kbs_url != NULL },
        { "algo-source-type", o->algo_source_type != NULL },
        { "algo-type", o->algo_type != NULL },
        { "algo-args", o->algo_args != NULL },
        { "algo-hash", o->algo_hash != NULL },
        { "algo-key", o->algo_key != NULL },
        { "algo-unencrypted", o->algo_unencrypted },
        { "data-paths", o->data_paths != NULL },
        { "dataset-source-urls", o->dataset_source_urls != NULL },
        { "dataset-kbs-paths", o->dataset_kbs_paths != NULL },
        { "dataset-kbs-urls", o->dataset_kbs_urls != NULL },
        { "dataset-source-type", o->dataset_source_type != NULL },
        { "dataset-hash", o->dataset_hash != NULL },
        { "dataset-decompress", o->dataset_decompress != NULL },
        { "dataset", o->dataset.count > 0 },
        { "consumer-key", o->consumer_key.count > 0 },
        { "kbs-url", o->kbs_url != NULL },
    };

    for (size_t i = 0; i < ARRAY_LEN(makers); i++) {
        if (makers[i].given)
            cvms_fault(f, "-%s has no place beside -manifest, which says it all", makers[i].flag);
    }
}

static bool every_dataset_has_key(const struct cvms_options *o)
{
    if (o->data_paths || o->dataset_source_urls)
        return false;
    for (size_t i = 0; i < o->dataset.count; i++) {
        const char *at = o->dataset.at[i];

        if (strncmp(at, "key=", 4) != 0 && !strstr(at, ",key="))
            return false;
    }
    return true;
}

static void check_manifest_flags(const struct cvms_options *o, struct cvms_faults *f)
{
    bool remote = o->algo_source_url && (o->algo_kbs_path || o->algo_unencrypted);
    bool attested;
    struct err e = ERR_INIT;

    if (o->algo_source_url ? !remote : !o->algo_path)
        cvms_fault(f, "Either algo-path OR (algo-source-url AND algo-kbs-path) is required");
    if (o->algo_unencrypted && o->algo_kbs_path)
        cvms_fault(f, "-algo-unencrypted and -algo-kbs-path contradict each other");
    if (!o->public_key_path && !(o->algo_key && o->consumer_key.count > 0 && every_dataset_has_key(o)))
        cvms_fault(f, "Public key path is required");
    if (!o->attested_tls || !cvms_options_attested(o, &attested, &e))
        cvms_fault(f, "Attested TLS flag is required and it must be a boolean value");
    if (o->dataset_kbs_paths && !o->dataset_source_urls)
        cvms_fault(f, "-dataset-kbs-paths is of use only with -dataset-source-urls");
    if (o->dataset_hash && !o->dataset_source_urls)
        cvms_fault(
            f, "-dataset-hash is of use only with -dataset-source-urls; datasets at -data-paths are hashed");
}

static void check_serving(const struct cvms_options *o, struct cvms_faults *f)
{
    if (!o->server_cert != !o->server_key)
        cvms_fault(f, "SERVER_CERT and SERVER_KEY are only of use together: %s is not set",
                   o->server_cert ? "SERVER_KEY" : "SERVER_CERT");
    if ((o->server_ca_certs || o->client_ca_certs) && !o->server_cert && !o->server_key)
        cvms_fault(f, "%s demands client certificates, which needs SERVER_CERT and SERVER_KEY",
                   o->server_ca_certs ? "SERVER_CA_CERTS" : "CLIENT_CA_CERTS");
    if (o->output && strcmp(o->output, "text") != 0 && strcmp(o->output, "jsonl") != 0)
        cvms_fault(f, "-output '%s': text or jsonl is wanted", o->output);
}

/* The names that agents answer with, of ours and of the one in Go. */
static const char *const state_names[] = {
    "Idle",    "ReceivingManifest", "ReceivingAlgorithm", "ReceivingData",
    "Running", "ConsumingResults",  "Complete",           "Failed"
};

static void check_state(const char *state, struct cvms_faults *f)
{
    const char *near = text_nearest(slice_of_str(state), state_names, ARRAY_LEN(state_names));
    char shown[TEXT_SHORT_SIZE];

    for (size_t i = 0; i < ARRAY_LEN(state_names); i++)
        if (strcmp(state, state_names[i]) == 0)
            return;
    text_short(slice_of_str(state), shown);
    if (near)
        cvms_fault(f, "-expect-state '%s': no agent has such a state; did you mean %s?", shown, near);
    else
        cvms_fault(
            f,
            "-expect-state '%s': no agent has such a state; Idle, ReceivingManifest, "
            "ReceivingAlgorithm, ReceivingData, Running, ConsumingResults, Complete or Failed is wanted",
            shown);
}

static void check_expectations(const struct cvms_options *o, struct cvms_faults *f)
{
    for (size_t i = 0; i < o->expect_log.count; i++) {
        regex_t re;
        char why[256];
        int rc = regcomp(&re, o->expect_log.at[i], REG_EXTENDED | REG_NOSUB);

        if (rc == 0) {
            regfree(&re);
            continue;
        }
        regerror(rc, &re, why, sizeof(why));
        cvms_fault(f, "-expect-log '%s': %s", o->expect_log.at[i], why);
    }
    for (size_t i = 0; i < o->expect_event.count; i++) {
        const char *at = o->expect_event.at[i];

        if (at[0] == '\0' || at[0] == '/' || at[strlen(at) - 1] == '/')
            cvms_fault(f, "-expect-event '%s': type or type/status is wanted, as in Running/Completed", at);
    }
    for (size_t i = 0; i < o->expect_state.count; i++)
        check_state(o->expect_state.at[i], f);
    if (o->within_ms == 0)
        cvms_fault(f, "-within '0': more than 0 is wanted");
    else if (o->within_ms != CVMS_WITHIN_DEFAULT_MS && !o->once &&
             o->expect_log.count + o->expect_event.count + o->expect_state.count == 0)
        cvms_fault(f, "-within is a time for expectations: give -once or an -expect-... flag");
}

void cvms_options_check(const struct cvms_options *o, struct cvms_faults *f)
{
    struct err e = ERR_INIT;
    uint64_t port;

    if (o->manifest) {
        bool attested;

        check_excluded_by_manifest(o, f);
        if (!cvms_options_attested(o, &attested, &e))
            cvms_fault(f, "Attested TLS flag is required and it must be a boolean value");
    } else {
        check_manifest_flags(o, f);
    }
    if (o->agent_port && !text_parse_u64(slice_of_str(o->agent_port), 0, 65535, &port, &e))
        cvms_fault_err(f, &e, "-agent-port");
    if (!o->agent_cert_file != !o->agent_key_file)
        cvms_fault(f, "-agent-cert-file and -agent-key-file are only of use together");
    check_serving(o, f);
    check_expectations(o, f);
}
