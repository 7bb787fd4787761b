#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "cvms/mend.h"
#include "cvms/server_int.h"
#include "proto/pb.h"

#define CONNECTIONS_MAX 1000
#define CA_BUNDLE_MAX ((size_t)1024 * 1024)

/* ------------------------------------------------------------------- ending */

static void freed_cb(void *ctx)
{
    struct cvms_server *s = ctx;

    uv_close((uv_handle_t *)&s->due, NULL);
    uv_close((uv_handle_t *)&s->within, NULL);
}

static void take_down(void *ctx)
{
    struct cvms_server *s = ctx;
    struct rpc_server *rpc = s->rpc;

    s->rpc = NULL;
    if (rpc)
        rpc_server_free(rpc, freed_cb, s);
    else
        freed_cb(s);
}

/* Goes down, once. */
static void stop(struct cvms_server *s, int status)
{
    struct cvms_stream *next;

    daemon_is_stopping(&s->daemon);
    s->daemon.code = status;
    uv_timer_stop(&s->due);
    uv_timer_stop(&s->within);
    /* An agent's stream has no end of its own, so draining would wait for nothing. */
    for (struct cvms_stream *st = s->streams; st; st = next) {
        next = st->next;
        rpc_call_finish(st->call, RPC_UNAVAILABLE, "the CVMS is going down", NULL);
    }
    rpc_server_drain(s->rpc, CVMS_DRAIN_MS, take_down, s);
}

static void report(struct cvms_server *s, const char *why)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(1024 * 1024);
    struct err e = ERR_INIT;
    const struct log_field fields[] = { LOG_STR("why", why), LOG_U64("messages", s->messages),
                                        LOG_U64("repeats", s->repeats), LOG_U64("faulty", s->faulty) };

    log_record(LOG_ERROR, "expectations not met", fields, ARRAY_LEN(fields));
    if (!buf_format(&text, &e, "cvms-test: expectations not met: %s\n", why) ||
        !cvms_expect_report(&s->expect, &text, &e) || !stage_write_all(STDERR_FILENO, buf_slice(&text), &e))
        log_error("report: %s", err_text(&e));
}

static void within_cb(uv_timer_t *t)
{
    struct cvms_server *s = t->data;

    switch (cvms_expect_verdict(&s->expect)) {
    case CVMS_OPEN:
    case CVMS_MET: return;
    case CVMS_WAITING: report(s, "the time (-within) is over"); break;
    case CVMS_HOPELESS: report(s, "the computation is over"); break;
    }
    stop(s, 1);
}

void cvms_server_judge(struct cvms_server *s)
{
    uint64_t left;

    if (s->daemon.stopping)
        return;
    switch (cvms_expect_verdict(&s->expect)) {
    case CVMS_OPEN:
    case CVMS_WAITING: return;
    case CVMS_HOPELESS:
        /* Logs and events come by different streams: what is under way shall be shown. */
        left = uv_is_active((uv_handle_t *)&s->within) ? uv_timer_get_due_in(&s->within) : CVMS_NEVER;
        if (left > CVMS_LAST_WORDS_MS)
            uv_timer_start(&s->within, within_cb, CVMS_LAST_WORDS_MS, 0);
        return;
    case CVMS_MET:
        if (s->met)
            return;
        s->met = true;
        uv_timer_stop(&s->within);
        log_record(LOG_INFO, "expectations met", NULL, 0);
        if (s->o->once)
            stop(s, 0);
        return;
    }
}

static void interrupted(void *ctx)
{
    struct cvms_server *s = ctx;
    enum cvms_verdict v = cvms_expect_verdict(&s->expect);
    bool unmet = v == CVMS_WAITING || v == CVMS_HOPELESS;

    if (unmet)
        report(s, "interrupted by a signal");
    stop(s, unmet ? 1 : 0);
}

/* ----------------------------------------------------------------- messages */

static bool print_of_event(const struct cvms_stream *st, const Cvms__AgentEvent *v, struct cvms_print *ret,
                           struct err *e)
{
    const struct slice parts[] = { SLICE_LIT("event"),
                                   slice_of_str(st->cvm->job_id),
                                   slice_of_str(v->computation_id),
                                   slice_of(&v->timestamp->seconds, sizeof(v->timestamp->seconds)),
                                   slice_of(&v->timestamp->nanos, sizeof(v->timestamp->nanos)),
                                   slice_of_str(v->event_type),
                                   slice_of_str(v->status),
                                   slice_of_str(v->originator) };

    return cvms_print_of(parts, ARRAY_LEN(parts), ret, e);
}

static bool print_of_log(const struct cvms_stream *st, const Cvms__AgentLog *l, struct cvms_print *ret,
                         struct err *e)
{
    const struct slice parts[] = { SLICE_LIT("log"),
                                   slice_of_str(st->cvm->job_id),
                                   slice_of(&l->timestamp->seconds, sizeof(l->timestamp->seconds)),
                                   slice_of(&l->timestamp->nanos, sizeof(l->timestamp->nanos)),
                                   slice_of_str(l->message),
                                   slice_of_str(l->level) };

    return cvms_print_of(parts, ARRAY_LEN(parts), ret, e);
}

/* Whether the message came before. Without a timestamp nobody can tell. */
static enum cvms_seen_answer came_before(struct cvms_stream *st, const Cvms__ClientStreamMessage *m,
                                         struct err *e)
{
    struct cvms_print print;

    if (m->message_case == CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_EVENT && m->agent_event->timestamp) {
        if (!print_of_event(st, m->agent_event, &print, e))
            return CVMS_SEEN_FAILED;
    } else if (m->message_case == CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_LOG && m->agent_log->timestamp) {
        if (!print_of_log(st, m->agent_log, &print, e))
            return CVMS_SEEN_FAILED;
    } else {
        return CVMS_SEEN_NEW;
    }
    return cvms_seen_add(&st->server->seen, &print, e);
}

/* A state asked for only to check expectations is news when it differs. */
static bool is_news(struct cvms_stream *st, const Cvms__ClientStreamMessage *m)
{
    if (m->message_case != CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_STATE_RES ||
        st->server->o->state_every_ms > 0)
        return true;
    if (strncmp(st->state, m->agentstateres->state, sizeof(st->state) - 1) == 0)
        return false;
    snprintf(st->state, sizeof(st->state), "%s", m->agentstateres->state);
    return true;
}

static void tell(struct cvms_expect *x, const Cvms__ClientStreamMessage *m)
{
    if (m->message_case == CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_EVENT)
        cvms_expect_see_event(x, m->agent_event->event_type, m->agent_event->status);
    else if (m->message_case == CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_LOG)
        cvms_expect_see_log(x, m->agent_log->message);
    else if (m->message_case == CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_STATE_RES)
        cvms_expect_see_state(x, m->agentstateres->state);
    else if (m->message_case == CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_RUN_RES)
        cvms_expect_see_run_res(x, m->run_res->error);
}

static bool take(struct cvms_stream *st, const Cvms__ClientStreamMessage *m, struct err *e)
{
    struct cvms_server *s = st->server;
    const struct cvms_sender from = { st->peer, st->cvm->job_id, st->forwarder };
    enum cvms_seen_answer seen = came_before(st, m, e);

    if (seen == CVMS_SEEN_FAILED)
        return false;
    if (seen == CVMS_SEEN_AGAIN) {
        s->repeats++;
        return true;
    }
    if (is_news(st, m)) {
        buf_truncate(&s->line, 0);
        if (!cvms_show(s->form, clock_wall_ns(clock_system()), &from, m, &s->line, e))
            return false;
        if (!stage_write_all(STDOUT_FILENO, buf_slice(&s->line), e)) {
            /* Nobody reads any more: to take messages and show none would be to lose them. */
            dprintf(STDERR_FILENO, "cvms-test: write to stdout: %s\n", err_text(e));
            stop(s, 1);
            return false;
        }
    }
    s->messages++;
    tell(&s->expect, m);
    cvms_server_judge(s);
    return true;
}

static Cvms__ClientStreamMessage *decode(struct buf *message, struct err *e)
{
    const ProtobufCMessageDescriptor *type = &cvms__client_stream_message__descriptor;
    ProtobufCMessage *m = pb_decode(type, buf_slice(message), NULL, e);

    if (!m && cvms_mend_log(message))
        m = pb_decode(type, buf_slice(message), NULL, e);
    return (Cvms__ClientStreamMessage *)m;
}

void cvms_server_take(struct cvms_stream *st, struct buf *message)
{
    struct cvms_server *s = st->server;
    struct err e = ERR_INIT;
    CLEANUP(pb_done) Cvms__ClientStreamMessage *m = decode(message, &e);

    if (!m) {
        s->faulty++;
        log_error("message from %s: %s", st->peer, err_text(&e));
        rpc_call_finish(st->call, rpc_code_of_err(e.kind), err_text(&e), NULL);
    } else if (m->message_case == CVMS__CLIENT_STREAM_MESSAGE__MESSAGE__NOT_SET) {
        s->faulty++; /* from a newer agent perhaps: the stream goes on (case PB-5) */
        log_warn("message from %s: holds nothing that is known to this server", st->peer);
    } else if (!take(st, m, &e)) {
        log_error("message from %s: %s", st->peer, err_text(&e));
    }
}

/* ------------------------------------------------------------------ serving */

/* Either file demands a client certificate; one signed by any CA in the two is good. */
static bool client_ca_bundle(const struct cvms_options *o, struct buf *out, struct err *e)
{
    const char *paths[] = { o->server_ca_certs, o->client_ca_certs };

    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        CLEANUP(buf_done) struct buf pem = BUF_INIT(CA_BUNDLE_MAX);

        if (paths[i] && (!stage_read_file(paths[i], &pem, e) || !buf_append(out, buf_slice(&pem), e) ||
                         !buf_append_str(out, "\n", e)))
            return err_wrap(e, "%s", i == 0 ? "SERVER_CA_CERTS" : "CLIENT_CA_CERTS");
    }
    return true;
}

static bool open_tls(struct cvms_server *s, struct err *e)
{
    CLEANUP(buf_done) struct buf ca = BUF_INIT(2 * CA_BUNDLE_MAX + 2);
    struct tls_server_config cfg = { .cert = s->o->server_cert, .key = s->o->server_key };

    if (!cfg.cert)
        return true;
    if (!client_ca_bundle(s->o, &ca, e))
        return false;
    if (ca.len > 0) {
        cfg.client_ca = buf_str(&ca, e);
        if (!cfg.client_ca)
            return false;
    }
    return tls_server_new(&cfg, &s->tls, e);
}

static bool listen_and_say_so(struct cvms_server *s, struct err *e)
{
    static const char *const names[] = { "cvms_test_server" };
    const char *host = s->o->host ? s->o->host : "0.0.0.0";
    CLEANUP(mem_done)
    char *address = mem_format(e, strchr(host, ':') && host[0] != '[' ? "[%s]:%u" : "%s:%u", host,
                               (unsigned)s->o->port);
    /* Many CVMs behind one address are the usual case here, not an attack. */
    const struct rpc_server_config cfg = { .listen = address,
                                           .tls = s->tls,
                                           .connections_max = CONNECTIONS_MAX,
                                           .connections_per_peer_max = CONNECTIONS_MAX };

    if (!address || !rpc_server_new(&s->daemon.loop, &cfg, &s->rpc, e))
        return false;
    if (!rpc_server_add(s->rpc, &cvms_service, s, e) ||
        !rpc_server_add_health(s->rpc, names, ARRAY_LEN(names), e) ||
        !rpc_server_add_reflection(s->rpc, pb_descriptor_set(), e))
        return false;
    log_info("cvms_test_server service gRPC server listening at %s %s", rpc_server_address(s->rpc),
             !s->tls                        ? "without TLS"
             : tls_server_is_mutual(s->tls) ? "with TLS/mTLS"
                                            : "with TLS cert");
    const struct log_field ready[] = { LOG_STR("addr", rpc_server_address(s->rpc)) };
    log_record(LOG_INFO, "ready", ready, ARRAY_LEN(ready));
    return true;
}

static void start_timers(struct cvms_server *s)
{
    uv_timer_init(&s->daemon.loop, &s->due);
    uv_timer_init(&s->daemon.loop, &s->within);
    s->due.data = s->within.data = s;
}

static void server_done(struct cvms_server *s)
{
    while (s->cvms) {
        struct cvms_cvm *cvm = s->cvms;

        s->cvms = cvm->next;
        mem_free(cvm->job_id);
        mem_free(cvm);
    }
    tls_server_free(s->tls);
    cvms_expect_done(&s->expect);
    cvms_seen_done(&s->seen);
    cvms_wire_done(&s->wire);
    buf_done(&s->line);
}

static bool start(void *ctx, struct err *e)
{
    struct cvms_server *s = ctx;

    start_timers(s);
    if (!cvms_wire_init(&s->wire, s->order->req, s->o->unchunked, e) ||
        !cvms_expect_init(&s->expect, s->o, e) || !open_tls(s, e) || !listen_and_say_so(s, e))
        return false;
    if (cvms_expect_verdict(&s->expect) != CVMS_OPEN)
        uv_timer_start(&s->within, within_cb, s->o->within_ms, 0);
    return true;
}

int cvms_serve(const struct cvms_options *o, const struct cvms_order *order, enum cvms_form form)
{
    static const struct daemon_turns turns = { start, interrupted, take_down };
    struct cvms_server s = {
        .o = o, .order = order, .form = form, .seen = CVMS_SEEN_INIT, .line = BUF_INIT(CVMS_LINE_MAX)
    };
    int status = daemon_serve(&s.daemon, &turns, &s);

    server_done(&s);
    return status;
}
