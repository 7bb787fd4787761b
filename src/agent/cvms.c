#include "agent/cvms.h"

#include "agent/greeting.h"
#include "agent/proxy.h"
#include "base/log.h"
#include "base/mem.h"
#include "journal/stream_sender.h"
#include "manifest/chunks.h"
#include "proto/pb.h"

#include <sys/random.h>

#define ELEMENTS_MAX ((size_t)500000) /* of a message: a run request may be one of 10000 datasets */
#define PROCESS "/cvms.Service/Process"

struct cvms {
    struct cvms_deps d;
    struct tls_client *tls;
    struct rpc_client *client;
    struct rpc_call *call; /* NULL: no stream */
    struct stream_sender *replies;
    struct stream_sender *journal;
    struct greeting *greeting; /* being made, or NULL */
    struct chunks chunks;
    uv_timer_t again;  /* until the next attempt       */
    uv_timer_t expire; /* of half received requests    */
    bool carry_journal;
    bool said_connected;
    bool busy;       /* with a message, whose end is waited for before the next is read */
    bool in_message; /* one is being handled: who handles it asks for the next            */
    bool ending;
    char stop_id[MF_ID_MAX + 1];
    char last_error[RPC_STATUS_TEXT_MAX];
    void (*freed)(void *ctx);
    void *freed_ctx;
    size_t open_parts;
};

/* ------------------------------------------------------------------ answers */

static void reply(struct cvms *v, const Cvms__ClientStreamMessage *msg)
{
    CLEANUP(buf_done) struct buf payload = BUF_INIT(OUTBOX_RECORD_MAX);
    struct err e = ERR_INIT;

    if (!pb_encode(&msg->base, &payload, &e) ||
        !outbox_append(v->d.replies, OUTBOX_REPLY, 0, buf_slice(&payload), NULL, &e))
        log_error("answer the CVMS: %s", err_text(&e));
}

static void reply_run(struct cvms *v, const char *id, const char *error)
{
    Cvms__RunResponse res = CVMS__RUN_RESPONSE__INIT;
    Cvms__ClientStreamMessage msg = CVMS__CLIENT_STREAM_MESSAGE__INIT;

    res.computation_id = (char *)(uintptr_t)id;
    res.error = (char *)(uintptr_t)error;
    msg.message_case = CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_RUN_RES;
    msg.run_res = &res;
    reply(v, &msg);
}

static void reply_stop(struct cvms *v, const char *id, const char *message)
{
    Cvms__StopComputationResponse res = CVMS__STOP_COMPUTATION_RESPONSE__INIT;
    Cvms__ClientStreamMessage msg = CVMS__CLIENT_STREAM_MESSAGE__INIT;

    res.computation_id = (char *)(uintptr_t)id;
    res.message = (char *)(uintptr_t)message;
    msg.message_case = CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_STOP_COMPUTATION_RES;
    msg.stopcomputationres = &res;
    reply(v, &msg);
}

static void reply_state(struct cvms *v, const char *id)
{
    Cvms__AgentStateRes res = CVMS__AGENT_STATE_RES__INIT;
    Cvms__ClientStreamMessage msg = CVMS__CLIENT_STREAM_MESSAGE__INIT;

    log_debug("Method State took 0s to complete with state %s", comp_state_name(v->d.comp));
    res.id = (char *)(uintptr_t)id;
    res.state = (char *)(uintptr_t)comp_state_name(v->d.comp);
    msg.message_case = CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_STATE_RES;
    msg.agentstateres = &res;
    reply(v, &msg);
}

/* ------------------------------------------------------------------ orders */

/* What kept the next message from being read is over. */
static void no_longer_busy(struct cvms *v)
{
    v->busy = false;
    if (v->call && !v->in_message)
        rpc_call_want(v->call);
}

static void ordered(const struct comp_answer *answer, void *ctx)
{
    struct cvms *v = ctx;

    reply_run(v, answer->id, answer->error);
    no_longer_busy(v);
}

static void order(struct cvms *v, struct slice request)
{
    v->busy = true;
    comp_order(v->d.comp, request, ordered, v);
}

static void expired(uv_timer_t *timer)
{
    struct cvms *v = timer->data;
    uint64_t now = clock_mono_ms(v->d.clock), wait;
    size_t count = chunks_expire(&v->chunks, now);

    if (count > 0)
        log_warn("%zu half received run requests were dropped: no piece came for 30 s", count);
    wait = chunks_wait_ms(&v->chunks, now);
    if (wait != UINT64_MAX)
        uv_timer_start(&v->expire, expired, wait, 0);
}

static void take_chunk(struct cvms *v, const Cvms__RunReqChunks *chunk)
{
    CLEANUP(buf_done) struct buf request = BUF_INIT(MF_REQUEST_MAX);
    struct slice id = slice_of_str(chunk->id);
    struct err e = ERR_INIT;

    switch (chunks_add(&v->chunks, id, pb_slice(chunk->data), chunk->is_last, clock_mono_ms(v->d.clock),
                       &request, &e)) {
    case CHUNKS_MORE: uv_timer_start(&v->expire, expired, CHUNKS_IDLE_MS, 0); break;
    case CHUNKS_DROPPED: break;
    case CHUNKS_REFUSED:
        log_warn("%s", err_text(&e));
        reply_run(v, chunk->id, err_text(&e));
        break;
    case CHUNKS_WHOLE: order(v, buf_slice(&request)); break;
    }
}

static void take_request(struct cvms *v, const Cvms__ComputationRunReq *req)
{
    CLEANUP(buf_done) struct buf request = BUF_INIT(MF_REQUEST_MAX);
    struct err e = ERR_INIT;

    if (pb_encode(&req->base, &request, &e))
        order(v, buf_slice(&request));
    else
        reply_run(v, req->id, err_text(&e));
}

static void stopped(const char *message, void *ctx)
{
    struct cvms *v = ctx;

    reply_stop(v, v->stop_id, message);
    no_longer_busy(v);
}

static void take_stop(struct cvms *v, const Cvms__StopComputation *stop)
{
    if (strlen(stop->computation_id) > MF_ID_MAX) {
        reply_stop(v, "", "computation_id: at most 256 bytes are accepted");
        return;
    }
    snprintf(v->stop_id, sizeof(v->stop_id), "%s", stop->computation_id);
    v->busy = true;
    comp_stop(v->d.comp, v->stop_id, stopped, v);
}

static void handle(struct cvms *v, const Cvms__ServerStreamMessage *msg)
{
    switch (msg->message_case) {
    case CVMS__SERVER_STREAM_MESSAGE__MESSAGE_RUN_REQ_CHUNKS: take_chunk(v, msg->runreqchunks); return;
    case CVMS__SERVER_STREAM_MESSAGE__MESSAGE_RUN_REQ: take_request(v, msg->runreq); return;
    case CVMS__SERVER_STREAM_MESSAGE__MESSAGE_STOP_COMPUTATION: take_stop(v, msg->stopcomputation); return;
    case CVMS__SERVER_STREAM_MESSAGE__MESSAGE_AGENT_STATE_REQ: reply_state(v, msg->agentstatereq->id); return;
    case CVMS__SERVER_STREAM_MESSAGE__MESSAGE_DISCONNECT_REQ:
        log_info("the CVMS asked to disconnect");
        rpc_call_cancel(v->call);
        return;
    case CVMS__SERVER_STREAM_MESSAGE__MESSAGE__NOT_SET:
    default:
        log_warn("a message of unknown type from the CVMS is passed over: it may be newer than this agent");
        return;
    }
}

/* ------------------------------------------------------------------ the stream */

static void say_connected(struct cvms *v)
{
    if (v->said_connected)
        return;
    v->said_connected = true;
    v->last_error[0] = '\0';
    log_record(LOG_INFO, "connected", (const struct log_field[]){ LOG_STR("addr", v->d.cfg->cvms.peer.url) },
               1);
}

static void replies_acked(void *ctx)
{
    say_connected(ctx);
}

static void on_initial(struct rpc_call *call, const struct rpc_md *md, void *ctx)
{
    (void)call;
    (void)md;
    say_connected(ctx);
}

static void on_message(struct rpc_call *call, struct buf *body, void *ctx)
{
    const struct pb_limits limits = { .elements = ELEMENTS_MAX };
    CLEANUP(pb_done) Cvms__ServerStreamMessage *msg = NULL;
    struct cvms *v = ctx;
    struct err e = ERR_INIT;

    say_connected(v);
    msg = (Cvms__ServerStreamMessage *)pb_decode(&cvms__server_stream_message__descriptor, buf_slice(body),
                                                 &limits, &e);
    v->in_message = true;
    if (msg)
        handle(v, msg);
    else
        log_warn("a message from the CVMS can't be understood and is passed over: %s", err_text(&e));
    v->in_message = false;
    if (!v->busy && v->call == call)
        rpc_call_want(call);
}

static void on_writable(struct rpc_call *call, void *ctx)
{
    struct cvms *v = ctx;

    (void)call;
    stream_sender_writable(v->replies);
    if (stream_sender_is_attached(v->journal))
        stream_sender_writable(v->journal);
}

static void try_again(struct cvms *v);

static void on_closed(struct rpc_call *call, const struct rpc_status *status, const struct rpc_md *trailers,
                      void *ctx)
{
    struct cvms *v = ctx;

    (void)call;
    (void)trailers;
    v->call = NULL;
    if (v->ending)
        return;
    stream_sender_detach(v->replies);
    stream_sender_detach(v->journal);
    /* Pieces of a request start anew on a new stream. */
    chunks_done(&v->chunks);
    chunks_init(&v->chunks, 0);
    uv_timer_stop(&v->expire);
    if (v->said_connected || strcmp(v->last_error, status->message) != 0)
        log_warn("stream to the CVMS at %s ended: %s: %s", v->d.cfg->cvms.peer.url,
                 rpc_code_name(status->code), *status->message ? status->message : "closed by the CVMS");
    snprintf(v->last_error, sizeof(v->last_error), "%s", status->message);
    rpc_client_disconnect(v->client);
    try_again(v);
}

static void connect_now(struct cvms *v)
{
    static const struct rpc_call_events events = {
        .initial = on_initial, .message = on_message, .writable = on_writable, .closed = on_closed
    };
    struct rpc_md md = RPC_MD_INIT;
    struct err e = ERR_INIT;
    bool ok;

    v->said_connected = false;
    ok = (!*v->d.cfg->cvms.id || rpc_md_add_str(&md, "job-id", v->d.cfg->cvms.id, &e)) &&
         rpc_client_call(v->client, PROCESS, &md, 0, &events, v, &v->call, &e);
    rpc_md_done(&md);
    if (!ok) {
        log_error("open a stream to the CVMS at %s: %s", v->d.cfg->cvms.peer.url, err_text(&e));
        v->call = NULL;
        try_again(v);
        return;
    }
    stream_sender_attach(v->replies, v->client, v->call);
    if (v->carry_journal)
        stream_sender_attach(v->journal, v->client, v->call);
    stream_sender_writable(v->replies);
    if (v->carry_journal)
        stream_sender_writable(v->journal);
    if (!v->busy)
        rpc_call_want(v->call);
}

static void again_due(uv_timer_t *timer)
{
    connect_now(timer->data);
}

/* Between three and five quarters of the delay, so that many agents don't come back as one. */
static void try_again(struct cvms *v)
{
    uint64_t delay = v->d.cfg->cvms.reconnect_delay_ms, random = 0;

    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
        random = (uint64_t)clock_wall_ns(v->d.clock);
    delay = delay - delay / 4 + random % (delay / 2 + 1);
    uv_timer_start(&v->again, again_due, delay, 0);
}

static void greeted(void *ctx)
{
    struct cvms *v = ctx;

    v->greeting = NULL;
    connect_now(v);
}

void cvms_start(struct cvms *v)
{
    log_info("connecting to the CVMS at %s %s", v->d.cfg->cvms.peer.url, rpc_client_security(v->client));
    greeting_send(v->d.loop, v->d.cfg, v->d.replies, greeted, v, &v->greeting);
}

void cvms_carry_journal(struct cvms *v, bool carry)
{
    v->carry_journal = carry;
    if (!v->call)
        return;
    if (!carry) {
        stream_sender_detach(v->journal);
    } else if (!stream_sender_is_attached(v->journal)) {
        stream_sender_attach(v->journal, v->client, v->call);
        stream_sender_writable(v->journal);
    }
}

/* ------------------------------------------------------------------ life */

static bool client_make(struct cvms *v, struct err *e)
{
    const struct agent_config *cfg = v->d.cfg;
    struct rpc_client_config client = {
        .target = cfg->cvms.peer.url,
        .connect_timeout_ms = cfg->cvms.peer.timeout_ms,
        .http_proxy = proxy_wanted(cfg->https_proxy, cfg->no_proxy, cfg->cvms.peer.url) ? cfg->https_proxy
                                                                                        : NULL,
    };

    if (!rpc_peer_tls(&cfg->cvms.peer, CVMS_SETTINGS_PEER, &v->tls, e))
        return err_wrap(e, "connection to the CVMS");
    client.tls = v->tls;
    return rpc_client_new(v->d.loop, &client, &v->client, e);
}

bool cvms_new(const struct cvms_deps *deps, struct cvms **ret, struct err *e)
{
    struct cvms *v = mem_new(sizeof(*v), e);

    if (!v)
        return false;
    v->d = *deps;
    chunks_init(&v->chunks, 0);
    uv_timer_init(deps->loop, &v->again);
    uv_timer_init(deps->loop, &v->expire);
    v->again.data = v;
    v->expire.data = v;
    if (client_make(v, e) && stream_sender_new(deps->replies, replies_acked, v, &v->replies, e) &&
        stream_sender_new(journal_outbox(deps->journal), replies_acked, v, &v->journal, e)) {
        *ret = v;
        return true;
    }
    cvms_free(v, NULL, NULL);
    return false;
}

static void part_freed(struct cvms *v)
{
    void (*freed)(void *) = v->freed;
    void *ctx = v->freed_ctx;

    if (--v->open_parts > 0)
        return;
    tls_client_free(v->tls);
    chunks_done(&v->chunks);
    mem_free(v);
    if (freed)
        freed(ctx);
}

static void timer_closed(uv_handle_t *h)
{
    part_freed(h->data);
}

static void client_freed(void *ctx)
{
    part_freed(ctx);
}

void cvms_free(struct cvms *v, void (*freed)(void *ctx), void *ctx)
{
    if (!v) {
        if (freed)
            freed(ctx);
        return;
    }
    v->ending = true;
    greeting_cancel(v->greeting);
    v->freed = freed;
    v->freed_ctx = ctx;
    v->open_parts = 2U + (v->client != NULL);
    stream_sender_free(v->replies);
    stream_sender_free(v->journal);
    v->replies = NULL;
    v->journal = NULL;
    uv_close((uv_handle_t *)&v->again, timer_closed);
    uv_close((uv_handle_t *)&v->expire, timer_closed);
    if (v->client)
        rpc_client_free(v->client, client_freed, v);
}
