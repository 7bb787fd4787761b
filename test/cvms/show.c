#include "base/hash.h"
#include "base/text.h"
#include "cvms/show.h"
#include "proto/pb.h"

#define NS_PER_S 1000000000

/* Nanoseconds since 1970; false when there is no timestamp or it is out of range. */
static bool timestamp_ns(const Google__Protobuf__Timestamp *t, int64_t *ret)
{
    if (!t || t->nanos < 0 || t->nanos >= NS_PER_S || t->seconds < 0 || t->seconds >= INT64_MAX / NS_PER_S)
        return false;
    *ret = t->seconds * NS_PER_S + t->nanos;
    return true;
}

/* --------------------------------------------------------------------- text */

static bool safe(struct buf *out, const char *before, const char *text, struct err *e)
{
    return text[0] == '\0' || (buf_append_str(out, before, e) && text_safe(slice_of_str(text), out, e));
}

static bool text_attestation(struct buf *out, const char *source, ProtobufCBinaryData file,
                             const char *serial, struct err *e)
{
    return buf_format(out, e, "attestation %s, %zu bytes", source, file.len) &&
           safe(out, ", certificate ", serial, e);
}

static bool text_event(struct buf *out, const Cvms__AgentEvent *v, struct err *e)
{
    return safe(out, "event ", v->event_type, e) && safe(out, "/", v->status, e) &&
           safe(out, " computation ", v->computation_id, e) && safe(out, " by ", v->originator, e) &&
           (v->details.len == 0 ||
            (buf_append_str(out, " details ", e) && text_safe(pb_slice(v->details), out, e)));
}

static bool text_message(struct buf *out, const Cvms__ClientStreamMessage *m, struct err *e)
{
    switch (m->message_case) {
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_LOG:
        return safe(out, "log ", m->agent_log->level, e) && safe(out, " ", m->agent_log->message, e);
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_EVENT: return text_event(out, m->agent_event, e);
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_RUN_RES:
        return buf_append_str(out, m->run_res->error[0] == '\0' ? "run accepted" : "run refused", e) &&
               safe(out, " computation ", m->run_res->computation_id, e) &&
               safe(out, ": ", m->run_res->error, e);
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_STOP_COMPUTATION_RES:
        return buf_append_str(out, m->stopcomputationres->message[0] == '\0' ? "stop done" : "stop failed",
                              e) &&
               safe(out, " computation ", m->stopcomputationres->computation_id, e) &&
               safe(out, ": ", m->stopcomputationres->message, e);
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_STATE_RES:
        return safe(out, "state ", m->agentstateres->state, e);
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_V_TPMATTESTATION_REPORT:
        return text_attestation(out, "vtpm", m->vtpmattestationreport->file,
                                m->vtpmattestationreport->certserialnumber, e);
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AZURE_ATTESTATION_TOKEN:
        return text_attestation(out, "azure", m->azureattestationtoken->file,
                                m->azureattestationtoken->certserialnumber, e);
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE__NOT_SET:
    case _CVMS__CLIENT_STREAM_MESSAGE__MESSAGE__CASE_IS_INT_SIZE: break;
    }
    return err_fail(e, ERR_KIND_INVALID, "cvms.ClientStreamMessage holds no message that is known");
}

static bool text_line(struct buf *out, int64_t now_ns, const struct cvms_sender *from,
                      const Cvms__ClientStreamMessage *m, struct err *e)
{
    char now[40];

    text_format_time(now_ns, now); /* 2026-01-02T03:04:05.678...: the time of day is enough on a screen */
    return buf_format(out, e, "%.12s", now + 11) &&
           safe(out, " ", from->job_id[0] == '\0' ? from->peer : from->job_id, e) &&
           buf_append_str(out, " ", e) && text_message(out, m, e) && buf_append_str(out, "\n", e);
}

/* -------------------------------------------------------------------- jsonl */

/* ,"key":"text" */
static bool json_text(struct buf *out, const char *key, const char *text, struct err *e)
{
    return buf_format(out, e, ",\"%s\":", key) && text_json_string(slice_of_str(text), out, e);
}

static bool json_base64(struct buf *out, const char *key, ProtobufCBinaryData bytes, struct err *e)
{
    return buf_format(out, e, ",\"%s\":\"", key) && base64_encode(pb_slice(bytes), out, e) &&
           buf_append_str(out, "\"", e);
}

static bool json_timestamp(struct buf *out, const Google__Protobuf__Timestamp *t, struct err *e)
{
    char text[40];
    int64_t ns;

    if (!timestamp_ns(t, &ns))
        return buf_append_str(out, ",\"timestamp\":null", e);
    text_format_time(ns, text);
    return json_text(out, "timestamp", text, e);
}

static bool json_event(struct buf *out, const Cvms__AgentEvent *v, struct err *e)
{
    return json_text(out, "kind", "event", e) && json_text(out, "computation_id", v->computation_id, e) &&
           json_text(out, "event_type", v->event_type, e) && json_text(out, "status", v->status, e) &&
           json_text(out, "originator", v->originator, e) && json_timestamp(out, v->timestamp, e) &&
           (v->details.len == 0 || json_base64(out, "details", v->details, e));
}

static bool json_log(struct buf *out, const Cvms__AgentLog *l, struct err *e)
{
    return json_text(out, "kind", "log", e) && json_text(out, "computation_id", l->computation_id, e) &&
           json_text(out, "level", l->level, e) && json_text(out, "message", l->message, e) &&
           json_timestamp(out, l->timestamp, e);
}

static bool json_attestation(struct buf *out, const char *source, ProtobufCBinaryData file,
                             const char *serial, struct err *e)
{
    uint8_t hash[HASH_SHA3_256_LEN];
    char hex[2 * HASH_SHA3_256_LEN + 1];

    if (!hash_bytes(HASH_SHA3_256, pb_slice(file), hash, e))
        return false;
    hex_encode(slice_of(hash, sizeof(hash)), hex);
    return json_text(out, "kind", "attestation", e) && json_text(out, "source", source, e) &&
           json_text(out, "cert_serial_number", serial, e) && json_text(out, "sha3_256", hex, e) &&
           json_base64(out, "file", file, e);
}

static bool json_message(struct buf *out, const Cvms__ClientStreamMessage *m, struct err *e)
{
    switch (m->message_case) {
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_LOG: return json_log(out, m->agent_log, e);
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_EVENT: return json_event(out, m->agent_event, e);
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_RUN_RES:
        return json_text(out, "kind", "run_res", e) &&
               json_text(out, "computation_id", m->run_res->computation_id, e) &&
               json_text(out, "error", m->run_res->error, e);
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_STOP_COMPUTATION_RES:
        return json_text(out, "kind", "stop_res", e) &&
               json_text(out, "computation_id", m->stopcomputationres->computation_id, e) &&
               json_text(out, "message", m->stopcomputationres->message, e);
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_STATE_RES:
        return json_text(out, "kind", "state", e) && json_text(out, "id", m->agentstateres->id, e) &&
               json_text(out, "state", m->agentstateres->state, e);
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_V_TPMATTESTATION_REPORT:
        return json_attestation(out, "vtpm", m->vtpmattestationreport->file,
                                m->vtpmattestationreport->certserialnumber, e);
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AZURE_ATTESTATION_TOKEN:
        return json_attestation(out, "azure", m->azureattestationtoken->file,
                                m->azureattestationtoken->certserialnumber, e);
    case CVMS__CLIENT_STREAM_MESSAGE__MESSAGE__NOT_SET:
    case _CVMS__CLIENT_STREAM_MESSAGE__MESSAGE__CASE_IS_INT_SIZE: break;
    }
    return err_fail(e, ERR_KIND_INVALID, "cvms.ClientStreamMessage holds no message that is known");
}

static bool json_line(struct buf *out, int64_t now_ns, const struct cvms_sender *from,
                      const Cvms__ClientStreamMessage *m, struct err *e)
{
    char now[40];

    text_format_time(now_ns, now);
    return buf_format(out, e, "{\"time\":\"%s\"", now) && json_text(out, "peer", from->peer, e) &&
           json_text(out, "job_id", from->job_id, e) &&
           json_text(out, "stream", from->forwarder ? "log-forwarder" : "agent", e) &&
           json_message(out, m, e) && buf_append_str(out, "}\n", e);
}

bool cvms_show(enum cvms_form form, int64_t now_ns, const struct cvms_sender *from,
               const Cvms__ClientStreamMessage *m, struct buf *out, struct err *e)
{
    size_t len = out->len;
    bool ok = form == CVMS_FORM_JSONL ? json_line(out, now_ns, from, m, e)
                                      : text_line(out, now_ns, from, m, e);

    if (!ok)
        buf_truncate(out, len);
    return ok;
}
