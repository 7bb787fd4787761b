#include "base/key.h"
#include "base/log.h"
#include "base/stage.h"
#include "base/text.h"
#include "cvms/order.h"
#include "cvms/resource.h"
#include "manifest/manifest.h"
#include "proto/pb.h"

#define PEM_FILE_MAX ((size_t)64 * 1024)
#define AGENT_PORT_DEFAULT "7002"
#define ID_DEFAULT "1"

/* One making of an order. */
struct making {
    const struct cvms_options *o;
    struct cvms_order *order;
    struct cvms_faults *f;
    ProtobufCBinaryData default_key;
};

static bool take_text(struct making *m, const char *text, char **ret, struct err *e)
{
    *ret = cvms_pool_text(&m->order->pool, slice_of_str(text), e);
    return *ret != NULL;
}

static bool take_bytes(struct making *m, struct slice bytes, ProtobufCBinaryData *ret, struct err *e)
{
    uint8_t *at = cvms_pool_new(&m->order->pool, bytes.len, e);

    if (!at)
        return false;
    if (bytes.len > 0)
        memcpy(at, bytes.at, bytes.len);
    *ret = pb_bytes(slice_of(at, bytes.len));
    return true;
}

static bool is_set(const char *text)
{
    return text && text[0] != '\0';
}

/* The DER of the public key in a PEM file; a file that is no good is a fault. */
static bool read_key(struct making *m, const char *path, ProtobufCBinaryData *ret, struct err *e)
{
    CLEANUP(buf_done) struct buf pem = BUF_INIT(PEM_FILE_MAX);
    CLEANUP(buf_done) struct buf der = BUF_INIT(PEM_FILE_MAX);
    struct err why = ERR_INIT;

    if (!stage_read_file(path, &pem, &why) || !key_public_pem_to_der(buf_slice(&pem), &der, &why)) {
        cvms_fault_err(m->f, &why, "failed to read public key file: '%s'", path);
        return true;
    }
    return take_bytes(m, buf_slice(&der), ret, e);
}

static bool key_of(struct making *m, const char *path, ProtobufCBinaryData *ret, struct err *e)
{
    *ret = m->default_key;
    return !is_set(path) || read_key(m, path, ret, e);
}

/* ------------------------------------------------------------------- hashes */

static bool given_hash(struct making *m, const char *what, const char *hex, ProtobufCBinaryData *ret,
                       struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = BUF_INIT(1024);
    struct err why = ERR_INIT;

    if (!hex_decode(slice_of_str(hex), &bytes, &why)) {
        cvms_fault_err(m->f, &why, "failed to decode %s hash: '%s'", what, hex);
        return true;
    }
    if (bytes.len != HASH_SHA3_256_LEN) {
        cvms_fault(m->f, "%s hash must be 32 bytes (SHA3-256 as 64 hex digits), got %zu", what, bytes.len);
        return true;
    }
    return take_bytes(m, buf_slice(&bytes), ret, e);
}

static bool computed_hash(struct making *m, const char *what, const char *path, ProtobufCBinaryData *ret,
                          struct err *e)
{
    bool algo = strcmp(what, "algo") == 0;
    uint8_t hash[HASH_SHA3_256_LEN];
    char hex[2 * HASH_SHA3_256_LEN + 1];
    struct err why = ERR_INIT;

    if (!cvms_path_hash(path, hash, &why)) {
        if (why.kind == ERR_KIND_MISSING)
            cvms_fault(m->f, "%s file does not exist: %s", what, path);
        else
            cvms_fault_err(m->f, &why, "failed to calculate checksum");
        return true;
    }
    hex_encode(slice_of(hash, sizeof(hash)), hex);
    const struct log_field fields[] = { LOG_STR("path", path), LOG_STR("hash", hex) };
    log_record(LOG_INFO, algo ? "local algorithm checksum" : "local dataset checksum", fields,
               ARRAY_LEN(fields));
    return take_bytes(m, slice_of(hash, sizeof(hash)), ret, e);
}

static bool hash_of(struct making *m, const char *what, const struct cvms_resource *r,
                    ProtobufCBinaryData *ret, struct err *e)
{
    static const uint8_t zeros[HASH_SHA3_256_LEN];
    ProtobufCBinaryData given = { 0, NULL }, computed = { 0, NULL };

    if (is_set(r->hash) && !given_hash(m, what, r->hash, &given, e))
        return false;
    if (is_set(r->path) && !computed_hash(m, what, r->path, &computed, e))
        return false;
    if (given.data && computed.data && !slice_equal(pb_slice(given), pb_slice(computed)))
        cvms_fault(m->f, "%s hash %s was given, and '%s' has another one", what, r->hash, r->path);
    if (!is_set(r->hash) && !is_set(r->path))
        return take_bytes(m, slice_of(zeros, sizeof(zeros)), ret, e);
    *ret = given.data ? given : computed;
    return true;
}

/* ------------------------------------------------------------------ sources */

static bool fill_source(struct making *m, const struct cvms_resource *r, Cvms__Source **ret, struct err *e)
{
    Cvms__Source *s;

    if (!is_set(r->url) && !is_set(r->kbs_path))
        return true;
    s = cvms_pool_new(&m->order->pool, sizeof(*s), e);
    if (!s)
        return false;
    cvms__source__init(s);
    s->encrypted = is_set(r->kbs_path);
    *ret = s;
    if (is_set(r->url) && !take_text(m, is_set(r->type) ? r->type : cvms_url_type(r->url), &s->type, e))
        return false;
    return take_text(m, r->url, &s->url, e) && take_text(m, r->kbs_path, &s->kbs_resource_path, e);
}

static bool fill_kbs(struct making *m, const char *url, Cvms__KBSConfig **ret, struct err *e)
{
    if (!is_set(url))
        return true;
    *ret = cvms_pool_new(&m->order->pool, sizeof(**ret), e);
    if (!*ret)
        return false;
    cvms__kbsconfig__init(*ret);
    (*ret)->enabled = true;
    return take_text(m, url, &(*ret)->url, e);
}

/*
 * The key broker of a resource goes into field 6 as well as, when it is the
 * one for all, into field 8: agents of either generation find it.
 */
static bool fill_origin(struct making *m, const struct cvms_resource *r, Cvms__Source **source,
                        Cvms__KBSConfig **kbs, struct err *e)
{
    if (!fill_source(m, r, source, e))
        return false;
    return fill_kbs(m, is_set(r->kbs_url) ? r->kbs_url : *source ? m->o->kbs_url : NULL, kbs, e);
}

/* ---------------------------------------------------------------- algorithm */

static bool fill_algorithm(struct making *m, struct err *e)
{
    const struct cvms_options *o = m->o;
    const struct cvms_resource r = {
        .path = o->algo_path,
        .hash = o->algo_hash,
        .url = o->algo_source_url,
        .type = o->algo_source_type,
        .kbs_path = o->algo_kbs_path,
        .kbs_url = o->algo_kbs_url,
    };
    Cvms__Algorithm *a = cvms_pool_new(&m->order->pool, sizeof(*a), e);

    if (!a)
        return false;
    cvms__algorithm__init(a);
    m->order->req->algorithm = a;
    return key_of(m, o->algo_key, &a->userkey, e) && hash_of(m, "algo", &r, &a->hash, e) &&
           fill_origin(m, &r, &a->source, &a->kbs, e) && take_text(m, o->algo_type, &a->algo_type, e) &&
           cvms_pool_split(&m->order->pool, o->algo_args, false, &a->algo_args, &a->n_algo_args, e);
}

/* ----------------------------------------------------------------- datasets */

static bool decompress_of(struct making *m, const char *text)
{
    struct err why = ERR_INIT;
    bool yes = false;

    if (is_set(text) && !text_parse_bool(slice_of_str(text), &yes, &why))
        cvms_fault_err(m->f, &why, "dataset decompress '%s'", text);
    return yes;
}

static bool add_dataset(struct making *m, const struct cvms_resource *r, struct err *e)
{
    Cvms__ComputationRunReq *req = m->order->req;
    Cvms__Dataset *d = cvms_pool_new(&m->order->pool, sizeof(*d), e);

    if (!d)
        return false;
    cvms__dataset__init(d);
    req->datasets[req->n_datasets++] = d;
    d->decompress = decompress_of(m, r->decompress);
    if (!key_of(m, r->key, &d->userkey, e) || !hash_of(m, "dataset", r, &d->hash, e) ||
        !fill_origin(m, r, &d->source, &d->kbs, e))
        return false;
    if (is_set(r->name))
        return take_text(m, r->name, &d->filename, e);
    if (!is_set(r->path))
        return true;
    /* Agents match uploads by name, so the name is the one an upload of this path has (D-29). */
    d->filename = cvms_path_name(r->path, &m->order->pool, e);
    return d->filename != NULL;
}

struct list {
    char **at;
    size_t count;
};

static bool split(struct making *m, const char *text, struct list *ret, struct err *e)
{
    return cvms_pool_split(&m->order->pool, text, false, &ret->at, &ret->count, e);
}

static const char *item(const struct list *l, size_t i)
{
    return i < l->count ? l->at[i] : NULL;
}

static void check_count(struct making *m, const char *flag, const struct list *l, size_t urls)
{
    if (l->count > urls)
        cvms_fault(m->f, "%s has %zu items, and there are %zu dataset source URLs", flag, l->count, urls);
}

static bool add_remote_datasets(struct making *m, const struct list *urls, struct err *e)
{
    struct list kbs_paths, kbs_urls, hashes, decompress;

    if (!split(m, m->o->dataset_kbs_paths, &kbs_paths, e) ||
        !split(m, m->o->dataset_kbs_urls, &kbs_urls, e) || !split(m, m->o->dataset_hash, &hashes, e) ||
        !split(m, m->o->dataset_decompress, &decompress, e))
        return false;
    if (urls->count != kbs_paths.count)
        cvms_fault(m->f, "dataset source URLs and KBS paths must have the same count: got %zu and %zu",
                   urls->count, kbs_paths.count);
    if (hashes.count > 1 && hashes.count != urls->count)
        cvms_fault(m->f, "-dataset-hash: one for all or one for each of %zu datasets is wanted, got %zu",
                   urls->count, hashes.count);
    check_count(m, "-dataset-kbs-urls", &kbs_urls, urls->count);
    check_count(m, "-dataset-decompress", &decompress, urls->count);

    for (size_t i = 0; i < urls->count; i++) {
        char name[48];
        const struct cvms_resource r = {
            .name = name,
            .hash = item(&hashes, hashes.count == 1 ? 0 : i),
            .url = urls->at[i],
            .type = m->o->dataset_source_type,
            .kbs_path = item(&kbs_paths, i),
            .kbs_url = item(&kbs_urls, i),
            .decompress = item(&decompress, i),
        };

        snprintf(name, sizeof(name), "dataset_%zu.csv", i);
        if (!is_set(r.url))
            cvms_fault(m->f, "-dataset-source-urls: item %zu is empty", i + 1);
        if (!add_dataset(m, &r, e))
            return false;
    }
    return true;
}

static bool fill_datasets(struct making *m, struct err *e)
{
    struct list paths, urls;
    size_t most;

    if (!split(m, m->o->data_paths, &paths, e) || !split(m, m->o->dataset_source_urls, &urls, e))
        return false;
    most = paths.count + urls.count + m->o->dataset.count;
    m->order->req->datasets = cvms_pool_new(&m->order->pool, most * sizeof(Cvms__Dataset *), e);
    if (!m->order->req->datasets)
        return false;

    for (size_t i = 0; i < paths.count; i++) {
        const struct cvms_resource r = { .path = paths.at[i] };

        if (!is_set(r.path))
            cvms_fault(m->f, "-data-paths: item %zu is empty", i + 1);
        else if (!add_dataset(m, &r, e))
            return false;
    }
    if (urls.count > 0 && !add_remote_datasets(m, &urls, e))
        return false;
    for (size_t i = 0; i < m->o->dataset.count; i++) {
        struct cvms_resource r;

        if (!cvms_resource_parse(m->o->dataset.at[i], &m->order->pool, &r, m->f, e) || !add_dataset(m, &r, e))
            return false;
    }
    return true;
}

/* ---------------------------------------------------------------- the rest */

static bool fill_consumers(struct making *m, struct err *e)
{
    Cvms__ComputationRunReq *req = m->order->req;
    size_t given = m->o->consumer_key.count, count = given > 0 ? given : 1;

    req->result_consumers = cvms_pool_new(&m->order->pool, count * sizeof(Cvms__ResultConsumer *), e);
    if (!req->result_consumers)
        return false;
    for (size_t i = 0; i < count; i++) {
        Cvms__ResultConsumer *c = cvms_pool_new(&m->order->pool, sizeof(*c), e);

        if (!c)
            return false;
        cvms__result_consumer__init(c);
        req->result_consumers[req->n_result_consumers++] = c;
        if (!key_of(m, given > 0 ? m->o->consumer_key.at[i] : NULL, &c->userkey, e))
            return false;
    }
    return true;
}

static bool fill_agent_config(struct making *m, struct err *e)
{
    const struct cvms_options *o = m->o;
    Cvms__AgentConfig *a = cvms_pool_new(&m->order->pool, sizeof(*a), e);
    struct err why = ERR_INIT; /* which cvms_options_check has reported */
    bool attested = false;

    if (!a)
        return false;
    cvms__agent_config__init(a);
    m->order->req->agent_config = a;
    a->attested_tls = cvms_options_attested(o, &attested, &why) && attested;
    return take_text(m, o->agent_port ? o->agent_port : AGENT_PORT_DEFAULT, &a->port, e) &&
           take_text(m, o->client_ca_file, &a->client_ca_file, e) &&
           take_text(m, o->agent_cert_file, &a->cert_file, e) &&
           take_text(m, o->agent_key_file, &a->key_file, e);
}

static bool from_flags(struct making *m, struct err *e)
{
    Cvms__ComputationRunReq *req = m->order->req;

    if (is_set(m->o->public_key_path) && !read_key(m, m->o->public_key_path, &m->default_key, e))
        return false;
    return take_text(m, is_set(m->o->id) ? m->o->id : ID_DEFAULT, &req->id, e) &&
           take_text(m, "sample computation", &req->name, e) &&
           take_text(m, "sample descrption", &req->description, e) && fill_consumers(m, e) &&
           fill_algorithm(m, e) && fill_datasets(m, e) && fill_kbs(m, m->o->kbs_url, &req->kbs, e);
}

static bool from_json(struct making *m, struct err *e)
{
    CLEANUP(buf_done) struct buf json = BUF_INIT(MF_REQUEST_MAX);
    struct err why = ERR_INIT;

    if (!stage_read_file(m->o->manifest, &json, &why)) {
        cvms_fault_err(m->f, &why, "-manifest");
        return true;
    }
    m->order->from_json = mf_request_from_json(buf_slice(&json), &why);
    if (!m->order->from_json) {
        cvms_fault_err(m->f, &why, "-manifest '%s'", m->o->manifest);
        return true;
    }
    *m->order->req = *m->order->from_json; /* whose parts it borrows */
    return !is_set(m->o->id) || take_text(m, m->o->id, &m->order->req->id, e);
}

bool cvms_order_make(const struct cvms_options *o, struct cvms_order *ret, struct cvms_faults *f,
                     struct err *e)
{
    struct making m = { .o = o, .order = ret, .f = f, .default_key = { 0, NULL } };

    ret->req = cvms_pool_new(&ret->pool, sizeof(*ret->req), e);
    if (!ret->req)
        return false;
    cvms__computation_run_req__init(ret->req);
    return (o->manifest ? from_json(&m, e) : from_flags(&m, e)) && fill_agent_config(&m, e);
}

void cvms_order_done(struct cvms_order *order)
{
    pb_free(order->from_json ? &order->from_json->base : NULL);
    cvms_pool_done(&order->pool);
    order->from_json = NULL;
    order->req = NULL;
}
