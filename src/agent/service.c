#include <fcntl.h>
#include <unistd.h>

#include "agent/comp_int.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "proto/extensions.pb-c.h"
#include "proto/pb.h"
#include "rpc/answer.h"

#define DRAIN_MS 1000
#define QUESTION_MAX ((size_t)16 * 1024) /* of a message that is no upload: anyone may send some */
#define ADDRESS_FILE "agent.addr"

/* ------------------------------------------------------------------ methods */

static bool allow_algo(struct rpc_call *call, void *service, struct rpc_status *ret)
{
    return upload_allow(call, service, FSM_RPC_ALGO, ret);
}

static bool allow_data(struct rpc_call *call, void *service, struct rpc_status *ret)
{
    return upload_allow(call, service, FSM_RPC_DATA, ret);
}

static bool allow_result(struct rpc_call *call, void *service, struct rpc_status *ret)
{
    return upload_allow(call, service, FSM_RPC_RESULT, ret);
}

/* One message a bank; what they point to is the computation's. */
static size_t list_measured(struct ev_measured *m, CocosC__V1__Measurement *ret,
                            CocosC__V1__Measurement *ret_at[EV_BANKS_MAX])
{
    for (size_t i = 0; i < m->count; i++) {
        size_t len = ev_bank_len(m->bank[i]);

        cocos_c__v1__measurement__init(&ret[i]);
        ret[i].pcr = m->pcr;
        ret[i].bank = (char *)(uintptr_t)ev_bank_name(m->bank[i]);
        ret[i].digest = (ProtobufCBinaryData){ len, m->digest[i] };
        ret[i].value = (ProtobufCBinaryData){ len, m->value[i] };
        ret_at[i] = &ret[i];
    }
    return m->count;
}

/* What a client must know before it can sign in the bound form; none of it is secret. */
static void describe(struct rpc_call *call, struct slice request, void *service)
{
    struct comp *c = service;
    CocosC__V1__Measurement measurements[EV_BANKS_MAX];
    CocosC__V1__Measurement *measurements_at[EV_BANKS_MAX];
    CocosC__V1__DescribeResponse res = COCOS_C__V1__DESCRIBE_RESPONSE__INIT;

    (void)request;
    res.computation_id = c->mf ? c->mf->id : res.computation_id;
    res.state = (char *)(uintptr_t)comp_state_name(c);
    res.require_bound_signatures = c->d.cfg->require_bound_signatures;
    res.n_measurements = list_measured(&c->measured, measurements, measurements_at);
    res.measurements = measurements_at;
    rpc_answer(call, &res.base);
}

static const struct rpc_method computation_methods[] = {
    { .name = "Describe", .allow = RPC_ALLOW_ANYONE, .max_recv = QUESTION_MAX, .unary = describe },
};
static const struct rpc_service computation_service = { "cocos_c.v1.Computation", computation_methods,
                                                        ARRAY_LEN(computation_methods) };

static const struct rpc_method agent_methods[] = {
    { .name = "Algo", .allow = allow_algo, .open = upload_open_algo, .client_streams = true },
    { .name = "Data", .allow = allow_data, .open = upload_open_data, .client_streams = true },
    { .name = "Result",
      .allow = allow_result,
      .max_recv = QUESTION_MAX,
      .open = download_open_result,
      .server_streams = true },
    { .name = "Attestation",
      .allow = RPC_ALLOW_ANYONE,
      .max_recv = QUESTION_MAX,
      .open = attest_open_attestation,
      .server_streams = true },
    { .name = "IMAMeasurements",
      .allow = RPC_ALLOW_ANYONE,
      .max_recv = QUESTION_MAX,
      .open = attest_open_ima,
      .server_streams = true },
    { .name = "AzureAttestationToken",
      .allow = RPC_ALLOW_ANYONE,
      .max_recv = QUESTION_MAX,
      .unary = attest_azure },
};
static const struct rpc_service agent_service = { "agent.AgentService", agent_methods,
                                                  ARRAY_LEN(agent_methods) };

/* ------------------------------------------------------------------ listening */

/* For scripts that asked for any free port. */
static bool address_write(const struct comp *c, const char *address, struct err *e)
{
    CLEANUP(stage_file_done) struct stage_file file = STAGE_FILE_INIT;
    CLEANUP(fd_done) int dir = -1;

    return stage_dir_open(c->d.cfg->dirs.run, 0755, &dir, e) && stage_file_begin(dir, &file, e) &&
           stage_file_write(&file, slice_of_str(address), e) &&
           stage_file_write(&file, slice_of_str("\n"), e) &&
           stage_file_commit(&file, ADDRESS_FILE, 0644, true, e);
}

void comp_forget_address(const struct comp *c)
{
    CLEANUP(fd_done) int dir = -1;
    struct err e = ERR_INIT;

    if (!stage_dir_open(c->d.cfg->dirs.run, 0755, &dir, &e) || !stage_remove_tree(dir, ADDRESS_FILE, &e))
        log_warn("%s", err_text(&e));
}

static bool tls_make(struct comp *c, struct err *e)
{
    const struct mf *m = c->mf;
    struct tls_server_config cfg = {
        .cert = m->agent.cert_file,
        .key = m->agent.key_file,
        .client_ca = *m->agent.client_ca_file ? m->agent.client_ca_file : NULL,
    };

    /* A part of TLS alone was refused with the manifest; here it would fail again, never serve plaintext. */
    if (!*m->agent.cert_file && !*m->agent.key_file && !cfg.client_ca)
        return true;
    return tls_server_new(&cfg, &c->tls, e) || err_wrap(e, "agent_config");
}

static bool serve(struct comp *c, const char *listen, struct err *e)
{
    static const char *const names[] = { "agent" };
    struct rpc_server_config cfg = { .listen = listen, .tls = c->tls };

    return rpc_server_new(c->d.loop, &cfg, &c->server, e) &&
           rpc_server_add(c->server, &agent_service, c, e) &&
           rpc_server_add(c->server, &computation_service, c, e) &&
           rpc_server_add_health(c->server, names, ARRAY_LEN(names), e) &&
           (!c->d.cfg->grpc_reflection || rpc_server_add_reflection(c->server, pb_descriptor_set(), e)) &&
           address_write(c, rpc_server_address(c->server), e);
}

static void tls_unused(void *ctx)
{
    tls_server_free(ctx);
}

static void unlisten_failed(struct comp *c)
{
    struct tls_server *tls = c->tls;

    c->tls = NULL;
    if (c->server)
        rpc_server_free(c->server, tls_unused, tls);
    else
        tls_server_free(tls);
    c->server = NULL;
}

bool comp_listen(struct comp *c, struct err *e)
{
    const char *security;
    char listen[AGENT_LISTEN_MAX];

    if (!agent_config_listen(c->d.cfg, c->mf->agent.port, listen, e) || !tls_make(c, e))
        return false;
    if (!serve(c, listen, e)) {
        unlisten_failed(c);
        return err_wrap(e, "agent service gRPC server");
    }
    security = !c->tls ? "without TLS" : tls_server_is_mutual(c->tls) ? "with mTLS" : "with TLS";
    log_info("agent service gRPC server listening at %s %s", rpc_server_address(c->server), security);
    log_record(LOG_INFO, "ready",
               (const struct log_field[]){ LOG_STR("addr", rpc_server_address(c->server)) }, 1);
    return true;
}

static void drained(void *ctx)
{
    comp_task_end(ctx);
}

void comp_drain(struct comp *c)
{
    comp_task_begin(c);
    comp_forget_address(c);
    rpc_server_drain(c->server, DRAIN_MS, drained, c);
}

static void server_freed(void *ctx)
{
    struct comp *c = ctx;

    tls_server_free(c->tls);
    c->tls = NULL;
    c->unlistened(c->unlistened_ctx);
}

void comp_unlisten(struct comp *c, void (*done)(void *ctx), void *ctx)
{
    struct rpc_server *server = c->server;

    c->unlistened = done;
    c->unlistened_ctx = ctx;
    c->server = NULL;
    rpc_server_free(server, server_freed, c);
}
