#include "agent/comp_int.h"
#include "agent/download.h"
#include "agent/platform.h"
#include "base/mem.h"
#include "base/stage.h"
#include "base/text.h"
#include "proto/agent.pb-c.h"
#include "proto/attestation.pb-c.h"
#include "proto/pb.h"

#define TEE_NONCE_LEN 64
#define VTPM_NONCE_LEN 32
#define SERVICE_TIMEOUT_MS 10000
#define IMA_MAX ((size_t)16 * 1024 * 1024)
#define CALLS_MAX 16 /* at a time: anyone may ask, and each may hold an IMA log */
#define PCR10_LEN 20

/* One call of these methods. It outlives its rpc_call while something slow answers it. */
struct attest {
    struct comp *c;
    struct rpc_call *call; /* NULL once it has closed or has been handed on */
    const char *method;
    uint64_t started_ms;
    bool waiting; /* for the service or the pool */
    char outcome[RPC_STATUS_TEXT_MAX + 64];
    struct job job;
    struct buf log; /* IMA */
    struct buf pcr10;
};

static void attest_end(struct attest *a)
{
    struct comp *c = a->c;

    comp_log_method(c, a->method, a->started_ms, a->outcome);
    buf_done(&a->log);
    buf_done(&a->pcr10);
    mem_free(a);
    c->attest_count--;
    comp_task_end(c);
}

static void on_closed(struct rpc_call *call, const struct rpc_status *status, const struct rpc_md *trailers,
                      void *ctx)
{
    struct attest *a = ctx;

    (void)call;
    (void)trailers;
    a->call = NULL;
    if (status->code != RPC_OK)
        snprintf(a->outcome, sizeof(a->outcome), "%s", status->message);
    if (!a->waiting)
        attest_end(a);
}

static struct attest *attest_new(struct rpc_call *call, struct comp *c, const char *method)
{
    struct err e = ERR_INIT;
    struct attest *a;

    if (c->attest_count >= CALLS_MAX) {
        rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "16 such calls are under way already; try again later",
                        NULL);
        return NULL;
    }
    a = mem_new(sizeof(*a), &e);
    if (!a) {
        rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, err_text(&e), NULL);
        return NULL;
    }
    *a = (struct attest){ .c = c,
                          .call = call,
                          .method = method,
                          .started_ms = comp_now_ms(c),
                          .log = BUF_INIT(IMA_MAX),
                          .pcr10 = BUF_INIT(PCR10_LEN) };
    c->attest_count++;
    comp_task_begin(c);
    return a;
}

/* The call's end is the download's from now on. */
static void sent(const struct rpc_status *status, void *ctx)
{
    struct attest *a = ctx;

    snprintf(a->outcome, sizeof(a->outcome), "%s", status->code == RPC_OK ? "" : status->message);
    attest_end(a);
}

static void send_stream(struct attest *a, struct download_source *take)
{
    struct rpc_call *call = a->call;
    struct err e = ERR_INIT;

    if (!download_start(a->c->d.loop, call, take, sent, a, &e))
        rpc_call_finish(call, RPC_UNKNOWN, err_text(&e), NULL);
}

/* ------------------------------------------------------------------ Attestation */

static bool ask_service(struct attest *a, const Attestation__V1__AttestationRequest *req,
                        rpc_unary_done_fn done, struct err *e)
{
    CLEANUP(buf_done) struct buf body = BUF_INIT(RPC_MESSAGE_MAX_DEFAULT);

    if (!pb_encode(&req->base, &body, e) ||
        !rpc_client_unary(a->c->attester, "/attestation.v1.AttestationService/FetchAttestation", NULL, &body,
                          SERVICE_TIMEOUT_MS, done, a, e))
        return false;
    a->waiting = true;
    return true;
}

static void fetched(const struct rpc_status *status, struct buf *reply, void *ctx)
{
    CLEANUP(pb_done) Attestation__V1__AttestationResponse *res = NULL;
    struct download_source src = { .fd = -1, .bytes = BUF_INIT(RPC_MESSAGE_MAX_DEFAULT) };
    struct attest *a = ctx;
    struct err e = ERR_INIT;

    a->waiting = false;
    if (!a->call) {
        attest_end(a);
        return;
    }
    if (status->code != RPC_OK) {
        rpc_call_finishf(
            a->call, RPC_UNKNOWN,
            "failed to get raw quote : rpc error: code = %s desc = attestation service at %s: %s",
            rpc_code_name(status->code), a->c->d.cfg->attestation_socket, status->message);
        return;
    }
    res = (Attestation__V1__AttestationResponse *)pb_decode(
        &attestation__v1__attestation_response__descriptor, buf_slice(reply), NULL, &e);
    if (!res || !buf_append(&src.bytes, pb_slice(res->eat_token), &e)) {
        rpc_call_finishf(a->call, RPC_UNKNOWN, "failed to get raw quote : %s", err_text(&e));
        return;
    }
    send_stream(a, &src);
}

/* Shorter nonces are filled with zeros on the right. */
static bool nonce_take(ProtobufCBinaryData from, uint8_t *ret, size_t len)
{
    if (from.len > len)
        return false;
    memset(ret, 0, len);
    if (from.len > 0)
        memcpy(ret, from.data, from.len);
    return true;
}

static bool attestation_ask(struct attest *a, struct slice body, struct err *e)
{
    CLEANUP(pb_done) Agent__AttestationRequest *req = NULL;
    Attestation__V1__AttestationRequest ask = ATTESTATION__V1__ATTESTATION_REQUEST__INIT;
    uint8_t tee[TEE_NONCE_LEN], vtpm[VTPM_NONCE_LEN];

    req = (Agent__AttestationRequest *)pb_decode(&agent__attestation_request__descriptor, body, NULL, e);
    if (!req)
        return false;
    if (!nonce_take(req->teenonce, tee, sizeof(tee)))
        return err_fail(e, ERR_KIND_INVALID, "malformed report data, expect less or equal to 64 bytes");
    if (!nonce_take(req->vtpmnonce, vtpm, sizeof(vtpm)))
        return err_fail(e, ERR_KIND_INVALID, "malformed vTPM nonce, expect less or equal to 32 bytes");
    if (!platform_of_agent_type(req->type, &ask.platform_type))
        return err_fail(e, ERR_KIND_INVALID, "invalid attestation type");
    ask.report_data = (ProtobufCBinaryData){ sizeof(tee), tee };
    ask.nonce = (ProtobufCBinaryData){ sizeof(vtpm), vtpm };
    return ask_service(a, &ask, fetched, e);
}

static void attestation_asked(struct rpc_call *call, struct buf *body, void *ctx)
{
    struct err e = ERR_INIT;

    if (!attestation_ask(ctx, buf_slice(body), &e))
        rpc_call_finish(call, RPC_UNKNOWN, err_text(&e), NULL);
}

void attest_open_attestation(struct rpc_call *call, void *service)
{
    static const struct rpc_call_events events = { .message = attestation_asked, .closed = on_closed };
    struct attest *a = attest_new(call, service, "Attestation");

    if (!a)
        return;
    rpc_call_on(call, &events, a);
    rpc_call_want(call);
}

/* ------------------------------------------------------------------ AzureAttestationToken */

static void token_fetched(const struct rpc_status *status, struct buf *reply, void *ctx)
{
    struct attest *a = ctx;

    a->waiting = false;
    if (!a->call) {
        attest_end(a);
        return;
    }
    if (status->code != RPC_OK)
        rpc_call_finishf(a->call, status->code, "attestation service at %s: %s",
                         a->c->d.cfg->attestation_socket, status->message);
    else
        rpc_call_reply(a->call, reply); /* {token = 1} is {file = 1} */
}

static bool token_ask(struct attest *a, struct slice request, struct err *e)
{
    CLEANUP(pb_done) Agent__AttestationTokenRequest *req = NULL;
    Attestation__V1__AzureTokenRequest ask = ATTESTATION__V1__AZURE_TOKEN_REQUEST__INIT;
    CLEANUP(buf_done) struct buf body = BUF_INIT(RPC_MESSAGE_MAX_DEFAULT);
    uint8_t nonce[VTPM_NONCE_LEN];

    req = (Agent__AttestationTokenRequest *)pb_decode(&agent__attestation_token_request__descriptor, request,
                                                      NULL, e);
    if (!req)
        return false;
    if (!nonce_take(req->tokennonce, nonce, sizeof(nonce)))
        return err_fail(e, ERR_KIND_INVALID, "malformed vTPM nonce, expect less or equal to 32 bytes");
    ask.nonce = (ProtobufCBinaryData){ sizeof(nonce), nonce };
    if (!pb_encode(&ask.base, &body, e) ||
        !rpc_client_unary(a->c->attester, "/attestation.v1.AttestationService/FetchAzureToken", NULL, &body,
                          SERVICE_TIMEOUT_MS, token_fetched, a, e))
        return false;
    a->waiting = true;
    return true;
}

void attest_azure(struct rpc_call *call, struct slice request, void *service)
{
    static const struct rpc_call_events events = { .closed = on_closed };
    struct attest *a = attest_new(call, service, "AzureAttestationToken");
    struct err e = ERR_INIT;

    if (!a)
        return;
    rpc_call_on(call, &events, a);
    if (!token_ask(a, request, &e))
        rpc_call_finish(call, RPC_UNKNOWN, err_text(&e), NULL);
}

/* ------------------------------------------------------------------ IMAMeasurements */

static bool ima_read(void *ctx, struct err *e)
{
    CLEANUP(buf_done) struct buf hex = BUF_INIT(256);
    struct attest *a = ctx;
    struct slice digits;

    if (!stage_read_file(a->c->d.cfg->ima_file, &a->log, e))
        return err_wrap(e, "error reading Linux IMA measurements file");
    if (!stage_read_file(a->c->d.cfg->pcr10_file, &hex, e))
        return err_wrap(e, "error reading TPM PCR #10");
    digits = buf_slice(&hex);
    while (digits.len > 0 && (digits.at[digits.len - 1] == '\n' || digits.at[digits.len - 1] == ' '))
        digits.len--;
    if (digits.len != (size_t)2 * PCR10_LEN || !hex_decode(digits, &a->pcr10, e))
        return err_fail(e, ERR_KIND_INVALID, "error reading TPM PCR #10: '%s' does not hold 40 hex digits",
                        a->c->d.cfg->pcr10_file);
    return true;
}

static void ima_done(void *ctx, bool ok, struct err *e)
{
    struct download_source src = { .fd = -1, .bytes = BUF_INIT(IMA_MAX), .first_extra = BUF_INIT(PCR10_LEN) };
    struct attest *a = ctx;

    a->waiting = false;
    if (!a->call) {
        attest_end(a);
        return;
    }
    if (!ok) {
        rpc_call_finish(a->call, RPC_UNKNOWN, err_text(e), NULL);
        return;
    }
    buf_move(&src.bytes, &a->log);
    buf_move(&src.first_extra, &a->pcr10);
    send_stream(a, &src);
}

static void ima_asked(struct rpc_call *call, struct buf *body, void *ctx)
{
    struct attest *a = ctx;

    (void)call;
    (void)body;
    a->waiting = true;
    job_start(a->c->d.loop, &a->job, ima_read, ima_done, a);
}

void attest_open_ima(struct rpc_call *call, void *service)
{
    static const struct rpc_call_events events = { .message = ima_asked, .closed = on_closed };
    struct attest *a = attest_new(call, service, "IMAMeasurements");

    if (!a)
        return;
    rpc_call_on(call, &events, a);
    rpc_call_want(call);
}
