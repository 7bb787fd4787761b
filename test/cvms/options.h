/*
 * The settings of cvms-test as a user gives them: flags and environment,
 * still text. order.h makes a computation of them.
 */
#ifndef CVMS_OPTIONS_H
#define CVMS_OPTIONS_H

#include "base/config.h"
#include "cvms/faults.h"

#define CVMS_WITHIN_DEFAULT "10m" /* so that a script whose computation hangs ends */
#define CVMS_WITHIN_DEFAULT_MS 600000

struct cvms_options {
    /* where it serves */
    const char *host;
    uint64_t port;
    const char *server_cert;
    const char *server_key;
    const char *server_ca_certs;
    const char *client_ca_certs;

    /* what is computed */
    const char *id;
    const char *public_key_path;
    const char *attested_tls;
    const char *client_ca_file;
    const char *algo_path;
    const char *algo_source_url;
    const char *algo_kbs_path;
    const char *algo_kbs_url;
    const char *algo_source_type;
    const char *algo_type;
    const char *algo_args;
    const char *algo_hash;
    const char *algo_key;
    bool algo_unencrypted;
    const char *data_paths;
    const char *dataset_source_urls;
    const char *dataset_kbs_paths;
    const char *dataset_kbs_urls;
    const char *dataset_source_type;
    const char *dataset_hash;
    const char *dataset_decompress;
    const char *dataset_type;
    struct config_list dataset;
    struct config_list consumer_key;
    const char *kbs_url;
    const char *agent_port;
    const char *agent_cert_file;
    const char *agent_key_file;
    const char *manifest;

    /* what is done with it */
    bool print_manifest;
    bool unchunked;
    uint64_t stop_after_ms;       /* 0: never */
    uint64_t state_every_ms;      /* 0: never */
    uint64_t disconnect_after_ms; /* 0: never */
    struct config_list expect_state;
    struct config_list expect_event;
    struct config_list expect_log;
    uint64_t within_ms; /* counts only when something is expected */
    bool once;
    const char *output;
    int log_level;
};

/* The table for config_read, with help and examples. */
const struct config_spec *cvms_options_spec(void);

/* Makes texts that are empty not given: scripts write -kbs-url "" for none. */
void cvms_options_drop_empty(struct cvms_options *o);

/*
 * What can be told from the words alone: what is missing, what excludes each
 * other, what has the wrong form. Files are not touched.
 */
void cvms_options_check(const struct cvms_options *o, struct cvms_faults *f);

/* *ret is -attested-tls-bool; false when it is not given. INVALID when it is not a boolean. */
bool cvms_options_attested(const struct cvms_options *o, bool *ret, struct err *e) MUST_CHECK;

#endif
