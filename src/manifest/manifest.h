/*
 * A computation as it was ordered: who brings what, and who gets the result.
 *
 * Made from a ComputationRunReq by mf_decode, which reports every fault at
 * once, or from JSON by mf_request_from_json (for people and tests). What is
 * in a struct mf has been validated and never changes.
 */
#ifndef MANIFEST_MANIFEST_H
#define MANIFEST_MANIFEST_H

#include "base/buf.h"
#include "base/hash.h"
#include "base/key.h"
#include "proto/cvms.pb-c.h"

#define MF_REQUEST_MAX ((size_t)64 * 1024 * 1024) /* serialized request, bytes */
#define MF_DATASETS_MAX 10000
#define MF_CONSUMERS_MAX 10000
#define MF_ID_MAX 256 /* bytes */

struct mf_source {
    bool present;
    bool remote; /* url is not empty: fetched, not uploaded */
    bool encrypted;
    char *type; /* as given, may be empty */
    char *url;
    char *kbs_path;
};

struct mf_kbs { /* the effective one: of the resource, else the global one */
    bool enabled;
    char *url;
};

struct mf_dataset {
    uint8_t hash[HASH_SHA3_256_LEN];
    struct key *user_key;
    char *filename; /* "" when the manifest names none */
    bool decompress;
    struct mf_source source;
    struct mf_kbs kbs;
};

struct mf {
    char *id;
    char *name;
    char *description;
    uint8_t algo_hash[HASH_SHA3_256_LEN];
    struct key *algo_key;
    char *algo_type; /* "" when not given */
    char **algo_args;
    size_t algo_arg_count;
    struct mf_source algo_source;
    struct mf_kbs algo_kbs;
    struct mf_dataset *datasets;
    size_t dataset_count;
    struct key **consumer_keys;
    size_t consumer_count;
    struct {
        char *port;
        char *cert_file;
        char *key_file;
        char *client_ca_file;
        char *server_ca_file;
        char *log_level;
        bool attested_tls;
    } agent;
};

/*
 * Decodes and validates. *e lists all faults, each with field, seen and
 * wanted: "datasets[1].hash: 31 bytes, 32 are wanted; algorithm: missing".
 * ret_id, if not NULL, gets the request's id as far as it could be read, for
 * the answer ("" otherwise); MF_ID_MAX + 1 bytes.
 * Cases PB-1, PB-2, AG-7, D-8.
 */
struct mf *mf_decode(struct slice request, char *ret_id, struct err *e) MUST_CHECK;
struct mf *mf_from_request(const Cvms__ComputationRunReq *req, struct err *e) MUST_CHECK;
void mf_free(struct mf *m);

/*
 * Appends the manifest JSON "J" that the Go peers measure and hash: no
 * spaces, keys in the order of section 2.4, "hash" an array of 32 numbers.
 */
bool mf_json(const Cvms__ComputationRunReq *req, struct buf *out, struct err *e) MUST_CHECK;

/* The same of a serialized request, which mf_decode has taken. */
#define MF_JSON_MAX (2 * MF_REQUEST_MAX)
bool mf_json_of(struct slice request, struct buf *out, struct err *e) MUST_CHECK;

/* J, or the same members with spaces, hash also as 64 hex digits, read strictly. Free with pb_free. */
Cvms__ComputationRunReq *mf_request_from_json(struct slice text, struct err *e) MUST_CHECK;

#endif
