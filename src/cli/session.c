#include "cli/session.h"

#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "proto/extensions.pb-c.h"
#include "proto/health.pb-c.h"
#include "proto/pb.h"
#include "tls/tls.h"

#define TICK_MS 100u
#define CONNECT_MAX_MS 20000u
#define REQUEST_MAX ((size_t)64 * 1024)

/* ---------------------------------------------------------------- the loop */

static void on_signal(uv_signal_t *handle, int signum)
{
    struct cli_session *s = handle->data;

    if (s->signum != 0)
        _exit(128 + s->signum);
    s->signum = signum;
    if (s->work && s->work->stop)
        s->work->stop(s->work->ctx);
}

static void on_tick(uv_timer_t *handle)
{
    struct cli_session *s = handle->data;

    if (s->work && s->work->tick)
        s->work->tick(s->work->ctx);
}

static bool uv_ok(int status, const char *what, struct err *e)
{
    return status == 0 || err_fail(e, ERR_KIND_INTERNAL, "%s: %s", what, uv_strerror(status));
}

static bool open_loop(struct cli_session *s, struct err *e)
{
    static const int signums[] = { SIGINT, SIGTERM };

    if (!uv_ok(uv_loop_init(&s->loop), "event loop", e))
        return false;
    s->loop_open = true;
    s->timer.data = s;
    if (!uv_ok(uv_timer_init(&s->loop, &s->timer), "timer", e) ||
        !uv_ok(uv_timer_start(&s->timer, on_tick, TICK_MS, TICK_MS), "timer", e))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(signums); i++) {
        s->signals[i].data = s;
        if (!uv_ok(uv_signal_init(&s->loop, &s->signals[i]), "signals", e) ||
            !uv_ok(uv_signal_start(&s->signals[i], on_signal, signums[i]), "signals", e))
            return false;
    }
    return true;
}

void cli_session_wait(struct cli_session *s, const bool *done, const struct cli_work *work)
{
    s->work = work;
    if (s->signum != 0 && work && work->stop)
        work->stop(work->ctx);
    while (!*done)
        uv_run(&s->loop, UV_RUN_ONCE);
    s->work = NULL;
}

uint64_t cli_session_now_ms(const struct cli_session *s)
{
    return uv_now(&s->loop);
}

/* ------------------------------------------------------------ what is said */

static bool is_agent(const struct cli_session *s)
{
    return strcmp(s->out->peer, "agent") == 0;
}

static const char *connect_failed(const struct cli_session *s)
{
    return is_agent(s) ? "Failed to connect to agent" : "Failed to connect to manager";
}

int cli_session_aborted(struct cli_session *s)
{
    struct err e = ERR_INIT;

    if (s->out->bars && !stage_write_all(STDOUT_FILENO, slice_of_str("\n"), &e))
        cli_out_say(s->out, CLI_PLAIN, "stdout: %s", err_text(&e));
    cli_out_str(s->out, "error", "Operation aborted by user!");
    cli_out_say(s->out, CLI_RED, "Operation aborted by user!");
    return 128 + s->signum;
}

int cli_session_fail(struct cli_session *s, const char *what, const struct rpc_status *status)
{
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf text = BUF_INIT(4 * RPC_STATUS_TEXT_MAX);
    const char *why;

    if (s->signum != 0)
        return cli_session_aborted(s);
    why = cli_out_status(s->out, status, &text, &e) ? buf_str(&text, &e) : NULL;
    cli_out_str(s->out, "code", rpc_code_name(status->code));
    cli_out_str(s->out, "detail", status->message);
    cli_out_fail(s->out, what, why ? why : status->message);
    if (!s->out->verbose && status->code == RPC_UNAVAILABLE)
        cli_out_hint(s->out, "%s_GRPC_URL is '%s': %s", is_agent(s) ? "AGENT" : "MANAGER", s->peer->url,
                     status->message);
    else if (strcmp(status->message, "signature verification failed") == 0) /* and no word more */
        cli_out_hint(s->out, "The manifest names other public keys for this role than the one that fits "
                             "the private key given, or other content: compare 'cocos-cli checksum'.");
    return CLI_FAILED;
}

/* --------------------------------------------------------------- connection */

struct unary {
    struct cli_session *session;
    bool done;
    struct rpc_status status;
    struct buf reply;
};

static void on_unary_done(const struct rpc_status *status, struct buf *reply, void *ctx)
{
    struct unary *u = ctx;

    u->status = *status;
    buf_move(&u->reply, reply);
    u->done = true;
}

static void stop_unary(void *ctx)
{
    struct unary *u = ctx;

    rpc_client_disconnect(u->session->client);
}

/* One call, waited for. False when it could not even be started. */
static bool call(struct cli_session *s, const char *method, const ProtobufCMessage *request, struct unary *u,
                 struct err *e)
{
    struct buf bytes = BUF_INIT(REQUEST_MAX);
    struct cli_work work = { .stop = stop_unary, .ctx = u };

    bool started;

    u->session = s;
    started = pb_encode(request, &bytes, e) &&
              rpc_client_unary(s->client, method, NULL, &bytes, s->peer->timeout_ms, on_unary_done, u, e);
    buf_wipe(&bytes); /* there may be keys in it */
    if (started)
        cli_session_wait(s, &u->done, &work);
    return started;
}

static int fail_here(struct cli_session *s, const struct err *e, int status)
{
    cli_out_fail(s->out, connect_failed(s), err_text(e));
    return status;
}

bool cli_session_call(struct cli_session *s, const char *method, const ProtobufCMessage *request,
                      const char *what, struct buf *ret_reply, enum rpc_code *ret_code, int *ret_status)
{
    struct err e = ERR_INIT;
    struct unary u = { .reply = BUF_INIT(ret_reply->max) };

    *ret_code = RPC_OK;
    if (!call(s, method, request, &u, &e)) {
        *ret_status = cli_out_fail(s->out, what, err_text(&e));
    } else if (s->signum != 0) {
        *ret_status = cli_session_aborted(s);
    } else if (u.status.code != RPC_OK) {
        *ret_code = u.status.code;
        *ret_status = cli_session_fail(s, what, &u.status);
    } else {
        buf_move(ret_reply, &u.reply);
        return true;
    }
    buf_done(&u.reply);
    return false;
}

/*
 * A server that has no health service may still be a peer of ours. An agent
 * that does not know "agent" is none; managers never promised to know a name.
 */
static bool check_health(struct cli_session *s, int *ret_status)
{
    struct err e = ERR_INIT;
    CLEANUP(pb_done) Grpc__Health__V1__HealthCheckResponse *reply = NULL;
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    struct unary u = { .reply = BUF_INIT(REQUEST_MAX) };
    char service[16];

    snprintf(service, sizeof(service), "%s", s->out->peer);
    request.service = service;
    if (!call(s, "/grpc.health.v1.Health/Check", &request.base, &u, &e)) {
        *ret_status = fail_here(s, &e, CLI_FAILED);
        return false;
    }
    if (u.status.code == RPC_OK) {
        reply = (Grpc__Health__V1__HealthCheckResponse *)pb_decode(
            &grpc__health__v1__health_check_response__descriptor, buf_slice(&u.reply), NULL, &e);
        if (reply && reply->status != GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING)
            err_fail(&e, ERR_KIND_UNAVAILABLE, "the %s at '%s' says that it is not serving now", s->out->peer,
                     s->peer->url);
    }
    buf_done(&u.reply);
    if (s->signum != 0) {
        *ret_status = cli_session_aborted(s);
        return false;
    }
    if (e.kind != ERR_KIND_NONE) {
        *ret_status = fail_here(s, &e, CLI_FAILED);
        return false;
    }
    if (u.status.code == RPC_OK || u.status.code == RPC_UNIMPLEMENTED ||
        (u.status.code == RPC_NOT_FOUND && !is_agent(s)))
        return true;
    *ret_status = cli_session_fail(s, connect_failed(s), &u.status);
    if (u.status.code == RPC_NOT_FOUND)
        cli_out_hint(s->out, "What listens at '%s' is no agent.", s->peer->url);
    return false;
}

/* The id the agent gives, or NULL when it knows of no such question. */
static bool ask_computation(struct cli_session *s, char **ret_id, int *ret_status)
{
    struct err e = ERR_INIT;
    CLEANUP(pb_done) CocosC__V1__DescribeResponse *reply = NULL;
    CocosC__V1__DescribeRequest request = COCOS_C__V1__DESCRIBE_REQUEST__INIT;
    struct unary u = { .reply = BUF_INIT(REQUEST_MAX) };

    *ret_id = NULL;
    if (!call(s, "/cocos_c.v1.Computation/Describe", &request.base, &u, &e)) {
        *ret_status = fail_here(s, &e, CLI_FAILED);
        return false;
    }
    if (u.status.code == RPC_OK) {
        reply = (CocosC__V1__DescribeResponse *)pb_decode(&cocos_c__v1__describe_response__descriptor,
                                                          buf_slice(&u.reply), NULL, &e);
        if (reply && reply->computation_id[0] != '\0')
            *ret_id = mem_dup_str(reply->computation_id, &e);
    }
    buf_done(&u.reply);
    if (e.kind != ERR_KIND_NONE) {
        *ret_status = fail_here(s, &e, CLI_FAILED);
        return false;
    }
    if (u.status.code == RPC_OK || u.status.code == RPC_UNIMPLEMENTED)
        return true;
    *ret_status = cli_session_fail(s, connect_failed(s), &u.status);
    return false;
}

static bool choose_computation(struct cli_session *s, const struct cli_agent_opts *o, int *ret_status)
{
    CLEANUP(mem_done) char *told = NULL;
    struct err e = ERR_INIT;
    const char *wanted = o->computation_id;

    if (strcmp(o->bound, "off") == 0)
        return true;
    if (!ask_computation(s, &told, ret_status))
        return false;
    if (wanted && told && strcmp(wanted, told) != 0)
        err_fail(&e, ERR_KIND_DENIED, "the agent runs computation '%s', not '%s'", told, wanted);
    else if (!wanted && !told && strcmp(o->bound, "required") == 0)
        err_fail(&e, ERR_KIND_UNSUPPORTED,
                 "--bound=required, but the agent does not say which computation it runs; "
                 "--computation-id tells it, if you know that the agent takes bound signatures");
    else if (wanted || told)
        s->computation_id = mem_dup_str(wanted ? wanted : told, &e);
    s->bound_only = told || strcmp(o->bound, "required") == 0;
    if (e.kind == ERR_KIND_NONE)
        return true;
    *ret_status = fail_here(s, &e, CLI_FAILED);
    return false;
}

static bool open_client(struct cli_session *s, int *ret_status)
{
    struct err e = ERR_INIT;
    uint64_t timeout_ms = s->peer->timeout_ms;
    struct rpc_client_config cfg = { .target = s->peer->url };

    *ret_status = CLI_USAGE;
    if (rpc_peer_tls(s->peer, is_agent(s) ? "AGENT_GRPC" : "MANAGER_GRPC", &s->tls, &e) && open_loop(s, &e)) {
        cfg.tls = s->tls;
        cfg.connect_timeout_ms = timeout_ms && timeout_ms < CONNECT_MAX_MS ? timeout_ms : CONNECT_MAX_MS;
        if (rpc_client_new(&s->loop, &cfg, &s->client, &e))
            return true;
    }
    fail_here(s, &e, *ret_status);
    return false;
}

static bool check_agent_opts(struct cli_session *s, const struct cli_agent_opts *o, int *ret_status)
{
    struct err e = ERR_INIT;

    *ret_status = CLI_USAGE;
    if (o->attested_tls) {
        /* Fail closed: never plain or ordinary TLS to who asked for more. */
        err_fail(&e, ERR_KIND_UNSUPPORTED, "AGENT_GRPC_ATTESTED_TLS: attested TLS is not built yet");
        *ret_status = CLI_FAILED;
    } else if (strcmp(o->bound, "auto") != 0 && strcmp(o->bound, "required") != 0 &&
               strcmp(o->bound, "off") != 0) {
        err_fail(&e, ERR_KIND_INVALID, "flag --bound: '%s': auto, required or off is wanted", o->bound);
    } else {
        return true;
    }
    fail_here(s, &e, *ret_status);
    return false;
}

bool cli_session_open(struct cli_session *s, struct cli_out *out, const struct cli_agent_opts *opts,
                      int *ret_status)
{
    *s = (struct cli_session){ .out = out, .peer = &opts->peer };
    log_set_level(opts->log_level);
    if (!check_agent_opts(s, opts, ret_status) || !open_client(s, ret_status) || !check_health(s, ret_status))
        return false;
    cli_out_say(out, CLI_PLAIN, "🔗 Connected to agent  %s", rpc_client_security(s->client));
    return choose_computation(s, opts, ret_status);
}

bool cli_session_open_manager(struct cli_session *s, struct cli_out *out, const struct cli_manager_opts *opts,
                              int *ret_status)
{
    *s = (struct cli_session){ .out = out, .peer = &opts->peer };
    out->peer = "manager";
    log_set_level(opts->log_level);
    if (!open_client(s, ret_status) || !check_health(s, ret_status))
        return false;
    cli_out_say(out, CLI_PLAIN, "🔗 Connected to manager using  %s", rpc_client_security(s->client));
    return true;
}

static void on_freed(void *ctx)
{
    bool *freed = ctx;

    *freed = true;
}

static void close_handle(uv_handle_t *handle, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void cli_session_done(struct cli_session *s)
{
    bool freed = false;

    if (s->client) {
        rpc_client_free(s->client, on_freed, &freed);
        cli_session_wait(s, &freed, NULL);
        s->client = NULL;
    }
    if (s->loop_open) {
        uv_walk(&s->loop, close_handle, NULL);
        uv_run(&s->loop, UV_RUN_DEFAULT);
        uv_loop_close(&s->loop);
        s->loop_open = false;
    }
    tls_client_free(s->tls);
    s->tls = NULL;
    mem_free(s->computation_id);
    s->computation_id = NULL;
}
