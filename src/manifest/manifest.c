#include "manifest/manifest.h"

#include "base/cursor.h"
#include "base/mem.h"
#include "base/stage.h"
#include "base/text.h"
#include "base/faults.h"
#include "proto/pb.h"

/* A request of MF_DATASETS_MAX datasets, each with all its fields, and some more to be told of. */
#define MF_ELEMENTS_MAX ((size_t)500000)

static bool text_has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

/* ------------------------------------------------------------------ faults only */

static void check_id(const char *id, struct faults *f)
{
    if (!*id)
        faults_add(f, "id: empty");
    else if (strlen(id) > MF_ID_MAX)
        faults_add(f, "id: %zu bytes, at most %d are accepted", strlen(id), MF_ID_MAX);
    else if (text_has_control(id))
        faults_add(f, "id: it holds control characters");
}

static void check_hash(ProtobufCBinaryData hash, const char *where, uint8_t *ret, struct faults *f)
{
    if (hash.len != HASH_SHA3_256_LEN)
        faults_add(f, "%shash: %zu bytes, %d are wanted", where, hash.len, HASH_SHA3_256_LEN);
    else
        memcpy(ret, hash.data, hash.len);
}

static struct key *check_key(ProtobufCBinaryData der, const char *where, struct faults *f)
{
    struct err e = ERR_INIT;
    struct key *k;

    if (der.len == 0) {
        faults_add(f, "%suser_key: missing", where);
        return NULL;
    }
    k = key_public_from_der(pb_slice(der), &e);
    if (!k)
        faults_add(f, "%suser_key: %s", where, err_text(&e));
    return k;
}

static void check_ca_alone(const char *file, const char *field, struct faults *f)
{
    if (*file)
        faults_add(f,
                   "agent_config.%s: given without cert_file and key_file, so users would be served without "
                   "TLS; give both, or leave it out",
                   field);
}

static void check_agent(const Cvms__AgentConfig *a, struct faults *f)
{
    struct err e = ERR_INIT;
    uint64_t port;

    if (*a->port && !text_parse_u64(slice_of_str(a->port), 0, 65535, &port, &e))
        faults_add(f, "agent_config.port: %s", err_text(&e));
    if (a->attested_tls)
        return;
    /* The Go agent answers in plaintext in all these cases; whoever names a part of TLS wants TLS. */
    if (*a->cert_file && !*a->key_file)
        faults_add(f, "agent_config.key_file: missing, and cert_file is given");
    if (*a->key_file && !*a->cert_file)
        faults_add(f, "agent_config.cert_file: missing, and key_file is given");
    if (*a->cert_file || *a->key_file)
        return;
    check_ca_alone(a->client_ca_file, "client_ca_file", f);
    check_ca_alone(a->server_ca_file, "server_ca_file", f);
}

static int compare_names(const void *a, const void *b)
{
    const struct mf_dataset *const *x = a, *const *y = b;
    int order = strcmp((*x)->filename, (*y)->filename);

    return order ? order : memcmp((*x)->hash, (*y)->hash, HASH_SHA3_256_LEN);
}

/* Equal names would overwrite each other; unnamed ones of equal hash could not be told apart. */
static bool check_duplicates(const struct mf *m, struct faults *f, struct err *e)
{
    CLEANUP(mem_done) const struct mf_dataset **by_name = NULL;

    if (m->dataset_count < 2)
        return true;
    by_name = mem_new_array(m->dataset_count, sizeof(const struct mf_dataset *), e);
    if (!by_name)
        return false;
    for (size_t i = 0; i < m->dataset_count; i++)
        by_name[i] = &m->datasets[i];
    qsort(by_name, m->dataset_count, sizeof(const struct mf_dataset *), compare_names);
    for (size_t i = 1; i < m->dataset_count; i++) {
        const struct mf_dataset *a = by_name[i - 1], *b = by_name[i];
        size_t first = (size_t)((a < b ? a : b) - m->datasets);
        size_t second = (size_t)((a < b ? b : a) - m->datasets);

        if (strcmp(a->filename, b->filename) != 0)
            continue;
        if (*a->filename)
            faults_add(f, "datasets[%zu].filename: '%s' is the name of datasets[%zu] too", second,
                       b->filename, first);
        else if (slice_equal(slice_of(a->hash, HASH_SHA3_256_LEN), slice_of(b->hash, HASH_SHA3_256_LEN)))
            faults_add(f, "datasets[%zu]: same hash as datasets[%zu], and neither has a filename", second,
                       first);
    }
    return true;
}

/* ------------------------------------------------------------------ filling the struct */

static bool text_copy(const char *from, char **ret, struct err *e)
{
    *ret = mem_dup_str(from ? from : "", e);
    return *ret != NULL;
}

static bool source_copy(const Cvms__Source *from, struct mf_source *ret, struct err *e)
{
    ret->present = from != NULL;
    ret->encrypted = from && from->encrypted;
    ret->remote = from && *from->url;
    return text_copy(from ? from->type : NULL, &ret->type, e) &&
           text_copy(from ? from->url : NULL, &ret->url, e) &&
           text_copy(from ? from->kbs_resource_path : NULL, &ret->kbs_path, e);
}

/* Wire sheet, section 1.1: its own broker first, the request's global one for what has a source. */
static bool kbs_resolve(const Cvms__KBSConfig *own, const Cvms__KBSConfig *global, bool has_source,
                        struct mf_kbs *ret, struct err *e)
{
    const char *url = "";

    if (own) {
        ret->enabled = own->enabled;
        url = *own->url || !global ? own->url : global->url;
    } else if (global && has_source) {
        ret->enabled = global->enabled;
        url = global->url;
    }
    return text_copy(url, &ret->url, e);
}

static bool dataset_fill(const Cvms__ComputationRunReq *req, size_t i, struct mf_dataset *ret,
                         struct faults *f, struct err *e)
{
    const Cvms__Dataset *d = req->datasets[i];
    char where[40];

    snprintf(where, sizeof(where), "datasets[%zu].", i);
    check_hash(d->hash, where, ret->hash, f);
    ret->user_key = check_key(d->userkey, where, f);
    ret->decompress = d->decompress;
    if (*d->filename) {
        struct err why = ERR_INIT;

        if (!stage_name_check(slice_of_str(d->filename), &why))
            faults_add(f, "%sfilename: %s", where, err_text(&why));
    }
    return text_copy(d->filename, &ret->filename, e) && source_copy(d->source, &ret->source, e) &&
           kbs_resolve(d->kbs, req->kbs, d->source != NULL, &ret->kbs, e);
}

static bool datasets_fill(const Cvms__ComputationRunReq *req, struct mf *m, struct faults *f, struct err *e)
{
    if (req->n_datasets > MF_DATASETS_MAX) {
        faults_add(f, "datasets: %zu of them, at most %d are accepted", req->n_datasets, MF_DATASETS_MAX);
        return true;
    }
    m->datasets = mem_new_array(req->n_datasets, sizeof(*m->datasets), e);
    if (!m->datasets)
        return false;
    m->dataset_count = req->n_datasets;
    for (size_t i = 0; i < m->dataset_count; i++)
        if (!dataset_fill(req, i, &m->datasets[i], f, e))
            return false;
    return check_duplicates(m, f, e);
}

static bool algorithm_fill(const Cvms__ComputationRunReq *req, struct mf *m, struct faults *f, struct err *e)
{
    const Cvms__Algorithm *a = req->algorithm;

    if (!a) {
        faults_add(f, "algorithm: missing");
        return true;
    }
    check_hash(a->hash, "algorithm.", m->algo_hash, f);
    m->algo_key = check_key(a->userkey, "algorithm.", f);
    m->algo_args = mem_new_array(a->n_algo_args, sizeof(*m->algo_args), e);
    if (!m->algo_args)
        return false;
    m->algo_arg_count = a->n_algo_args;
    for (size_t i = 0; i < m->algo_arg_count; i++)
        if (!text_copy(a->algo_args[i], &m->algo_args[i], e))
            return false;
    return text_copy(a->algo_type, &m->algo_type, e) && source_copy(a->source, &m->algo_source, e) &&
           kbs_resolve(a->kbs, req->kbs, a->source != NULL, &m->algo_kbs, e);
}

static bool consumers_fill(const Cvms__ComputationRunReq *req, struct mf *m, struct faults *f, struct err *e)
{
    if (req->n_result_consumers > MF_CONSUMERS_MAX) {
        faults_add(f, "result_consumers: %zu of them, at most %d are accepted", req->n_result_consumers,
                   MF_CONSUMERS_MAX);
        return true;
    }
    m->consumer_keys = mem_new_array(req->n_result_consumers, sizeof(*m->consumer_keys), e);
    if (!m->consumer_keys)
        return false;
    m->consumer_count = req->n_result_consumers;
    for (size_t i = 0; i < m->consumer_count; i++) {
        char where[40];

        snprintf(where, sizeof(where), "result_consumers[%zu].", i);
        m->consumer_keys[i] = check_key(req->result_consumers[i]->userkey, where, f);
    }
    return true;
}

static bool agent_fill(const Cvms__AgentConfig *a, struct mf *m, struct faults *f, struct err *e)
{
    const Cvms__AgentConfig none = CVMS__AGENT_CONFIG__INIT;

    if (!a)
        a = &none;
    check_agent(a, f);
    m->agent.attested_tls = a->attested_tls;
    return text_copy(a->port, &m->agent.port, e) && text_copy(a->cert_file, &m->agent.cert_file, e) &&
           text_copy(a->key_file, &m->agent.key_file, e) &&
           text_copy(a->client_ca_file, &m->agent.client_ca_file, e) &&
           text_copy(a->server_ca_file, &m->agent.server_ca_file, e) &&
           text_copy(a->log_level, &m->agent.log_level, e);
}

static bool fill(const Cvms__ComputationRunReq *req, struct mf *m, struct faults *f, struct err *e)
{
    check_id(req->id, f);
    return text_copy(req->id, &m->id, e) && text_copy(req->name, &m->name, e) &&
           text_copy(req->description, &m->description, e) && algorithm_fill(req, m, f, e) &&
           datasets_fill(req, m, f, e) && consumers_fill(req, m, f, e) &&
           agent_fill(req->agent_config, m, f, e);
}

struct mf *mf_from_request(const Cvms__ComputationRunReq *req, struct err *e)
{
    struct faults f = FAULTS_INIT;
    struct mf *m = mem_new(sizeof(*m), e);

    if (!m)
        return NULL;
    if (fill(req, m, &f, e) && faults_none(&f, e))
        return m;
    mf_free(m);
    return NULL;
}

/* ------------------------------------------------------------------ decoding */

/* One field's number and its bytes, empty for a number. False at the end and where it makes no sense. */
static bool field_next(struct cursor *at, uint64_t *ret_number, struct slice *ret_value)
{
    uint64_t tag, n;
    size_t len;

    if (!cursor_varint(at, &tag))
        return false;
    *ret_number = tag >> 3;
    *ret_value = SLICE_EMPTY;
    switch (tag & 7) {
    case 0: return cursor_varint(at, &n);
    case 1: len = 8; break;
    case 5: len = 4; break;
    case 2:
        if (!cursor_varint(at, &n) || n > at->left.len)
            return false;
        len = (size_t)n;
        break;
    default: return false;
    }
    return cursor_bytes(at, len, ret_value);
}

/* The last field 1 of the outermost message, for as long as the bytes make sense. */
static void find_id(struct slice request, char *ret_id)
{
    struct cursor at = cursor_of(request);
    struct slice id = SLICE_EMPTY, value;
    uint64_t number;

    while (field_next(&at, &number, &value))
        if (number == 1)
            id = value;
    if (id.len > 0 && id.len <= MF_ID_MAX && slice_is_utf8(id) && slice_find(id, 0) == id.len) {
        memcpy(ret_id, id.at, id.len);
        ret_id[id.len] = '\0';
    }
}

struct mf *mf_decode(struct slice request, char *ret_id, struct err *e)
{
    const struct pb_limits limits = { .elements = MF_ELEMENTS_MAX };
    CLEANUP(pb_done) Cvms__ComputationRunReq *req = NULL;

    if (ret_id) {
        ret_id[0] = '\0';
        find_id(request, ret_id);
    }
    if (request.len > MF_REQUEST_MAX) {
        err_fail(e, ERR_KIND_LIMIT, "run request of %zu bytes, at most %zu are accepted", request.len,
                 MF_REQUEST_MAX);
        return NULL;
    }
    req = (Cvms__ComputationRunReq *)pb_decode(&cvms__computation_run_req__descriptor, request, &limits, e);
    if (!req)
        return NULL;
    return mf_from_request(req, e);
}

bool mf_json_of(struct slice request, struct buf *out, struct err *e)
{
    const struct pb_limits limits = { .elements = MF_ELEMENTS_MAX };
    CLEANUP(pb_done)
    Cvms__ComputationRunReq *req = (Cvms__ComputationRunReq *)pb_decode(
        &cvms__computation_run_req__descriptor, request, &limits, e);

    return req && mf_json(req, out, e);
}

static void source_done(struct mf_source *s)
{
    mem_free(s->type);
    mem_free(s->url);
    mem_free(s->kbs_path);
}

void mf_free(struct mf *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->dataset_count; i++) {
        key_free(m->datasets[i].user_key);
        mem_free(m->datasets[i].filename);
        mem_free(m->datasets[i].kbs.url);
        source_done(&m->datasets[i].source);
    }
    for (size_t i = 0; i < m->consumer_count; i++)
        key_free(m->consumer_keys[i]);
    for (size_t i = 0; i < m->algo_arg_count; i++)
        mem_free(m->algo_args[i]);
    key_free(m->algo_key);
    source_done(&m->algo_source);
    mem_free(m->algo_kbs.url);
    mem_free(m->algo_type);
    mem_free(m->algo_args);
    mem_free(m->datasets);
    mem_free(m->consumer_keys);
    mem_free(m->id);
    mem_free(m->name);
    mem_free(m->description);
    mem_free(m->agent.port);
    mem_free(m->agent.cert_file);
    mem_free(m->agent.key_file);
    mem_free(m->agent.client_ca_file);
    mem_free(m->agent.server_ca_file);
    mem_free(m->agent.log_level);
    mem_free(m);
}
