#include "agent/greeting.h"

#include "agent/platform.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "proto/cvms.pb-c.h"
#include "proto/pb.h"
#include "rpc/client.h"
#include "tls/tls.h"

#define SERVICE_TIMEOUT_MS 10000
#define CERT_MAX ((size_t)1024 * 1024)

struct greeting {
    struct outbox *replies;
    struct rpc_client *service;
    char serial[TLS_SERIAL_MAX];
    struct buf report;
    void (*done)(void *ctx);
    void *ctx;
};

static bool append(const struct greeting *g, struct err *e)
{
    Cvms__AttestationResponse report = CVMS__ATTESTATION_RESPONSE__INIT;
    Cvms__ClientStreamMessage msg = CVMS__CLIENT_STREAM_MESSAGE__INIT;
    CLEANUP(buf_done) struct buf payload = BUF_INIT(OUTBOX_RECORD_MAX);

    report.file = pb_bytes(buf_slice(&g->report));
    report.certserialnumber = (char *)(uintptr_t)g->serial;
    msg.message_case = CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_V_TPMATTESTATION_REPORT;
    msg.vtpmattestationreport = &report;
    return pb_encode(&msg.base, &payload, e) &&
           outbox_append(g->replies, OUTBOX_REPLY, 0, buf_slice(&payload), NULL, e);
}

static void finish(struct greeting *g)
{
    struct err e = ERR_INIT;

    if (g->done && !append(g, &e))
        log_error("queue the start-up report: %s", err_text(&e));
    if (g->service)
        rpc_client_free(g->service, NULL, NULL);
    if (g->done)
        g->done(g->ctx);
    buf_done(&g->report);
    mem_free(g);
}

static void fetched(const struct rpc_status *status, struct buf *reply, void *ctx)
{
    CLEANUP(pb_done) Attestation__V1__AttestationResponse *res = NULL;
    struct greeting *g = ctx;
    struct err e = ERR_INIT;

    if (!g->done) {
        finish(g);
        return;
    }
    if (status->code != RPC_OK) {
        log_warn("the start-up report is empty: attestation service: %s", status->message);
    } else {
        res = (Attestation__V1__AttestationResponse *)pb_decode(
            &attestation__v1__attestation_response__descriptor, buf_slice(reply), NULL, &e);
        if (!res || !buf_append(&g->report, pb_slice(res->eat_token), &e))
            log_warn("the start-up report is empty: %s", err_text(&e));
    }
    finish(g);
}

static bool ask(struct greeting *g, uv_loop_t *loop, const struct agent_config *cfg, struct err *e)
{
    Attestation__V1__AttestationRequest req = ATTESTATION__V1__ATTESTATION_REQUEST__INIT;
    CLEANUP(mem_done) char *target = mem_format(e, "unix:%s", cfg->attestation_socket);
    struct rpc_client_config client = { .target = target };
    CLEANUP(buf_done) struct buf file = BUF_INIT(CERT_MAX);
    CLEANUP(buf_done) struct buf body = BUF_INIT(4096);
    uint8_t tee[64], vtpm[32];

    if (!target || !stage_read_file(cfg->cvms.peer.cert, &file, e) ||
        !tls_pem_serial(buf_slice(&file), g->serial, e) ||
        !hash_bytes(HASH_SHA512, buf_slice(&file), tee, e) ||
        !hash_bytes(HASH_SHA256, buf_slice(&file), vtpm, e))
        return err_wrap(e, "AGENT_CVM_GRPC_CLIENT_CERT");
    req.report_data = (ProtobufCBinaryData){ sizeof(tee), tee };
    req.nonce = (ProtobufCBinaryData){ sizeof(vtpm), vtpm };
    req.platform_type = platform_detect();
    return pb_encode(&req.base, &body, e) && rpc_client_new(loop, &client, &g->service, e) &&
           rpc_client_unary(g->service, "/attestation.v1.AttestationService/FetchAttestation", NULL, &body,
                            SERVICE_TIMEOUT_MS, fetched, g, e);
}

void greeting_send(uv_loop_t *loop, const struct agent_config *cfg, struct outbox *replies,
                   void (*done)(void *ctx), void *ctx, struct greeting **ret)
{
    struct err e = ERR_INIT;
    struct greeting *g = mem_new(sizeof(*g), &e);

    *ret = NULL;
    if (!g) {
        log_error("queue the start-up report: %s", err_text(&e));
        done(ctx);
        return;
    }
    *g = (struct greeting){
        .replies = replies, .report = BUF_INIT(RPC_MESSAGE_MAX_DEFAULT), .done = done, .ctx = ctx
    };
    if (cfg->cvms.peer.cert) {
        if (ask(g, loop, cfg, &e)) {
            *ret = g;
            return;
        }
        log_warn("the start-up report is empty: %s", err_text(&e));
    }
    finish(g);
}

void greeting_cancel(struct greeting *g)
{
    if (!g)
        return;
    g->done = NULL;
    rpc_client_disconnect(g->service);
}
