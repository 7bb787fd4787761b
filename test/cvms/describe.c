#include "base/hash.h"
#include "base/text.h"
#include "cvms/order.h"
#include "proto/pb.h"

/* One line of the summary: a label in a column of its own, then text from outside made safe. */
static bool line(struct buf *out, const char *label, struct slice value, struct err *e)
{
    return buf_format(out, e, "  %-14s", label) && text_safe(value, out, e) && buf_append_str(out, "\n", e);
}

static bool text_line(struct buf *out, const char *label, const char *value, struct err *e)
{
    return value[0] == '\0' || line(out, label, slice_of_str(value), e);
}

static bool hex_line(struct buf *out, const char *label, struct slice bytes, struct err *e)
{
    char hex[2 * HASH_LEN_MAX + 1];

    hex_encode(slice_first(bytes, HASH_LEN_MAX), hex);
    return line(out, label, bytes.len > 0 ? slice_of_str(hex) : slice_of_str("none"), e);
}

/* A key is known by the SHA-256 of its DER, as elsewhere. */
static bool key_line(struct buf *out, ProtobufCBinaryData der, struct err *e)
{
    uint8_t hash[HASH_SHA256_LEN];

    if (der.len == 0)
        return line(out, "key", slice_of_str("none"), e);
    return hash_bytes(HASH_SHA256, pb_slice(der), hash, e) &&
           hex_line(out, "key sha-256", slice_of(hash, sizeof(hash)), e);
}

static bool origin_lines(struct buf *out, const Cvms__Source *s, const Cvms__KBSConfig *kbs, struct err *e)
{
    if (!s || s->url[0] == '\0') {
        if (!text_line(out, "source", s && s->encrypted ? "upload, encrypted" : "upload", e))
            return false;
    } else if (!text_line(out, "source", s->url, e) || !text_line(out, "type", s->type, e)) {
        return false;
    }
    if (s && !text_line(out, "kbs path", s->kbs_resource_path, e))
        return false;
    return !kbs || text_line(out, "kbs", kbs->enabled ? kbs->url : "disabled", e);
}

static bool algorithm_lines(struct buf *out, const Cvms__Algorithm *a, struct err *e)
{
    if (!a)
        return buf_append_str(out, "no algorithm\n", e);
    if (!buf_append_str(out, "algorithm\n", e) || !hex_line(out, "sha3-256", pb_slice(a->hash), e) ||
        !key_line(out, a->userkey, e) || !origin_lines(out, a->source, a->kbs, e) ||
        !text_line(out, "kind", a->algo_type, e))
        return false;
    for (size_t i = 0; i < a->n_algo_args; i++) {
        if (!line(out, "argument", slice_of_str(a->algo_args[i]), e))
            return false;
    }
    return true;
}

static bool dataset_lines(struct buf *out, size_t number, const Cvms__Dataset *d, struct err *e)
{
    return buf_format(out, e, "dataset %zu\n", number) && text_line(out, "name", d->filename, e) &&
           hex_line(out, "sha3-256", pb_slice(d->hash), e) && key_line(out, d->userkey, e) &&
           origin_lines(out, d->source, d->kbs, e) &&
           text_line(out, "decompress", d->decompress ? "yes" : "", e);
}

/* PEM text is not worth a screen: what counts is that it is there. */
static bool file_line(struct buf *out, const char *label, const char *value, struct err *e)
{
    return text_line(out, label, strchr(value, '\n') ? "(PEM)" : value, e);
}

static bool agent_lines(struct buf *out, const Cvms__AgentConfig *a, struct err *e)
{
    return !a || (buf_append_str(out, "agent\n", e) && text_line(out, "port", a->port, e) &&
                  text_line(out, "attested tls", a->attested_tls ? "yes" : "no", e) &&
                  file_line(out, "certificate", a->cert_file, e) && file_line(out, "key", a->key_file, e) &&
                  file_line(out, "client ca", a->client_ca_file, e));
}

bool cvms_order_describe(const struct cvms_order *order, struct buf *out, struct err *e)
{
    const Cvms__ComputationRunReq *req = order->req;

    if (!buf_append_str(out, "computation\n", e) || !text_line(out, "id", req->id, e) ||
        !text_line(out, "name", req->name, e) ||
        (req->kbs && !text_line(out, "kbs of all", req->kbs->url, e)) ||
        !algorithm_lines(out, req->algorithm, e))
        return false;
    for (size_t i = 0; i < req->n_datasets; i++) {
        if (!dataset_lines(out, i + 1, req->datasets[i], e))
            return false;
    }
    for (size_t i = 0; i < req->n_result_consumers; i++) {
        if (!buf_format(out, e, "consumer %zu\n", i + 1) ||
            !key_line(out, req->result_consumers[i]->userkey, e))
            return false;
    }
    return agent_lines(out, req->agent_config, e);
}
