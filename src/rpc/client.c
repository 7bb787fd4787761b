#include "rpc/client.h"

#include <unistd.h>

#include "base/mem.h"
#include "rpc/conn_int.h"
#include "rpc/dial.h"
#include "rpc/link.h"

/* The dialling gives up first: its reason is the better one. */
#define HANDSHAKE_MARGIN_MS 200

struct server_of {
    struct rpc_client *client;
    struct server_of *prev, *next;
    struct rpc_link *link;
    struct rpc_dial *dial; /* while connecting */
};

struct rpc_client {
    uv_loop_t *loop;
    struct rpc_client_config cfg;
    struct rpc_address address;
    struct rpc_address proxy;
    char *target;
    char *authority;
    char *server_name;
    char *user_agent;
    uint8_t *scratch;
    struct server_of *servers; /* the present one and those that end */
    struct server_of *current; /* NULL: the next call connects */
    uv_idle_t anchor;          /* keeps us until the loop has let go */
    bool freeing;
    void (*freed)(void *ctx);
    void *freed_ctx;
};

/* ---------------------------------------------------------------- birth, death */

static void client_release(struct rpc_client *cl)
{
    mem_free(cl->target);
    mem_free(cl->authority);
    mem_free(cl->server_name);
    mem_free(cl->user_agent);
    mem_free(cl->scratch);
    mem_free(cl);
}

static void set_defaults(struct rpc_client_config *c)
{
    if (!c->message_max)
        c->message_max = RPC_MESSAGE_MAX_DEFAULT;
    if (!c->connect_timeout_ms)
        c->connect_timeout_ms = 20000;
    if (!c->keepalive_ms)
        c->keepalive_ms = 60000;
    if (!c->keepalive_timeout_ms)
        c->keepalive_timeout_ms = 20000;
}

static bool copy_texts(struct rpc_client *cl, struct err *e)
{
    const struct rpc_client_config *cfg = &cl->cfg;
    const char *authority = cfg->target;

    if (slice_starts(slice_of_str(authority), "dns:///"))
        authority += strlen("dns:///");
    if (cl->address.is_unix)
        authority = "localhost";
    cl->target = mem_dup_str(cfg->target, e);
    cl->authority = mem_dup_str(cfg->server_name ? cfg->server_name : authority, e);
    cl->server_name = mem_dup_str(cfg->server_name      ? cfg->server_name
                                  : cl->address.is_unix ? "localhost"
                                                        : cl->address.host,
                                  e);
    cl->user_agent = mem_dup_str(cfg->user_agent ? cfg->user_agent : "cocos-c/" COCOS_VERSION, e);
    return cl->target && cl->authority && cl->server_name && cl->user_agent;
}

static bool read_config(struct rpc_client *cl, struct err *e)
{
    if (!rpc_address_parse(cl->cfg.target, &cl->address, e))
        return false;
    if (cl->address.host[0] == '\0')
        snprintf(cl->address.host, sizeof(cl->address.host), "localhost");
    if (cl->cfg.http_proxy && !rpc_proxy_parse(cl->cfg.http_proxy, &cl->proxy, e))
        return false;
    return copy_texts(cl, e);
}

bool rpc_client_new(uv_loop_t *loop, const struct rpc_client_config *cfg, struct rpc_client **ret,
                    struct err *e)
{
    struct rpc_client *cl = mem_new(sizeof(*cl), e);

    if (!cl)
        return false;
    cl->loop = loop;
    cl->cfg = *cfg;
    set_defaults(&cl->cfg);
    cl->scratch = mem_new(RPC_LINK_SCRATCH, e);
    if (!cl->scratch || !read_config(cl, e)) {
        client_release(cl);
        return false;
    }
    uv_idle_init(loop, &cl->anchor);
    cl->anchor.data = cl;
    *ret = cl;
    return true;
}

static void on_anchor_closed(uv_handle_t *h)
{
    struct rpc_client *cl = h->data;
    void (*freed)(void *) = cl->freed;
    void *ctx = cl->freed_ctx;

    client_release(cl);
    if (freed)
        freed(ctx);
}

static void maybe_done(struct rpc_client *cl)
{
    if (cl->freeing && !cl->servers && !uv_is_closing((uv_handle_t *)&cl->anchor))
        uv_close((uv_handle_t *)&cl->anchor, on_anchor_closed);
}

static void end_all(struct rpc_client *cl, enum rpc_code code, const char *text)
{
    struct err why = ERR_INIT;

    err_fail(&why, ERR_KIND_UNAVAILABLE, "%s", text);
    for (struct server_of *k = cl->servers; k; k = k->next) {
        rpc_conn_end(rpc_link_conn(k->link), code, text);
        if (k->dial)
            rpc_link_fail(k->link, &why);
        else
            rpc_link_close(k->link);
    }
    cl->current = NULL;
}

void rpc_client_disconnect(struct rpc_client *cl)
{
    end_all(cl, RPC_UNAVAILABLE, "the connection was closed on this side");
}

void rpc_client_free(struct rpc_client *cl, void (*freed)(void *ctx), void *ctx)
{
    if (!cl || cl->freeing)
        return;
    cl->freeing = true;
    cl->freed = freed;
    cl->freed_ctx = ctx;
    end_all(cl, RPC_CANCELLED, "the client has ended");
    maybe_done(cl);
}

const char *rpc_client_security(const struct rpc_client *cl)
{
    if (!cl->cfg.tls)
        return "without TLS";
    return tls_client_is_mutual(cl->cfg.tls) ? "with mTLS" : "with TLS";
}

/* ------------------------------------------------------------------ connecting */

static void on_closed(struct rpc_link *l, const struct err *why, void *ctx)
{
    struct server_of *k = ctx;

    (void)l;
    (void)why;
    if (k->client->current == k)
        k->client->current = NULL;
    if (k->dial)
        rpc_dial_cancel(k->dial);
    k->dial = NULL;
}

static void on_gone(struct rpc_link *l, void *ctx)
{
    struct server_of *k = ctx;
    struct rpc_client *cl = k->client;

    (void)l;
    if (k->prev)
        k->prev->next = k->next;
    else
        cl->servers = k->next;
    if (k->next)
        k->next->prev = k->prev;
    mem_free(k);
    maybe_done(cl);
}

static void on_dialled(int fd, const struct err *why, void *ctx)
{
    struct server_of *k = ctx;
    struct rpc_client *cl = k->client;
    struct tls_conn *tls = NULL;
    struct err e = ERR_INIT;

    k->dial = NULL;
    if (fd < 0) {
        rpc_link_fail(k->link, why);
        return;
    }
    if (cl->cfg.tls && !tls_conn_connect(cl->cfg.tls, cl->server_name, &tls, &e)) {
        close(fd);
        err_wrap(&e, "connect to %s", cl->target);
        rpc_link_fail(k->link, &e);
        return;
    }
    if (!rpc_link_attach(k->link, fd, tls, &e))
        rpc_link_fail(k->link, &e);
}

static struct rpc_link_config link_config(struct rpc_client *cl, struct server_of *k)
{
    return (struct rpc_link_config){
        .loop = cl->loop,
        .scratch = cl->scratch,
        .name = cl->target,
        .conn = {
            .role = RPC_ROLE_CLIENT,
            .clock = clock_system(),
            .peer = cl->target,
            .message_max = cl->cfg.message_max,
            .metadata_max = RPC_METADATA_MAX_DEFAULT,
            .handshake_timeout_ms = cl->cfg.connect_timeout_ms + HANDSHAKE_MARGIN_MS,
            .keepalive_ms = cl->cfg.keepalive_ms,
            .keepalive_timeout_ms = cl->cfg.keepalive_timeout_ms,
            .authority = cl->authority,
            .user_agent = cl->user_agent,
            .is_tls = cl->cfg.tls != NULL,
        },
        .closed = on_closed,
        .gone = on_gone,
        .ctx = k,
    };
}

static bool connect_now(struct rpc_client *cl, struct err *e)
{
    struct server_of *k = mem_new(sizeof(*k), e);

    if (!k)
        return false;
    k->client = cl;

    struct rpc_link_config cfg = link_config(cl, k);

    if (!rpc_link_new(&cfg, &k->link, e)) {
        mem_free(k);
        return false;
    }
    k->next = cl->servers;
    if (k->next)
        k->next->prev = k;
    cl->servers = k;
    if (!rpc_dial_start(cl->loop, &cl->address, cl->cfg.http_proxy ? &cl->proxy : NULL,
                        cl->cfg.connect_timeout_ms, on_dialled, k, &k->dial, e)) {
        rpc_link_fail(k->link, e);
        return false;
    }
    cl->current = k;
    return true;
}

/* A connection that takes calls, or one that is on its way. */
static bool have_connection(struct rpc_client *cl, struct err *e)
{
    if (cl->freeing)
        return err_fail(e, ERR_KIND_CANCELLED, "the client has ended");
    if (cl->current && rpc_conn_takes_calls(rpc_link_conn(cl->current->link)))
        return true;
    cl->current = NULL; /* what it still has to do, it does to the end */
    return connect_now(cl, e);
}

/* ----------------------------------------------------------------------- calls */

bool rpc_client_call(struct rpc_client *cl, const char *method, const struct rpc_md *md, uint64_t timeout_ms,
                     const struct rpc_call_events *events, void *ctx, struct rpc_call **ret, struct err *e)
{
    if (!have_connection(cl, e))
        return err_wrap(e, "call %s", method);
    return rpc_conn_call(rpc_link_conn(cl->current->link), method, md, timeout_ms, events, ctx, ret, e);
}

bool rpc_client_barrier(struct rpc_client *cl, void (*acked)(bool ok, void *ctx), void *ctx, struct err *e)
{
    if (!cl->current)
        return err_fail(e, ERR_KIND_UNAVAILABLE, "barrier: not connected to %s", cl->target);
    return rpc_conn_barrier(rpc_link_conn(cl->current->link), acked, ctx, e);
}

struct unary {
    rpc_unary_done_fn done;
    void *ctx;
    struct buf reply;
    size_t count;
};

static void unary_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct unary *u = ctx;

    if (u->count++ == 0) {
        u->reply.max = body->len;
        buf_move(&u->reply, body);
    }
    rpc_call_want(c);
}

static void unary_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                         void *ctx)
{
    struct unary *u = ctx;
    struct rpc_status wrong;

    (void)c;
    (void)trailers;
    if (status->code == RPC_OK && u->count != 1) {
        rpc_status_setf(&wrong, RPC_INTERNAL, "%zu messages came where one was expected", u->count);
        status = &wrong;
    }
    if (status->code != RPC_OK)
        buf_done(&u->reply);
    u->done(status, &u->reply, u->ctx);
    buf_done(&u->reply);
    mem_free(u);
}

static const struct rpc_call_events unary_events = {
    .message = unary_message,
    .closed = unary_closed,
};

bool rpc_client_unary(struct rpc_client *cl, const char *method, const struct rpc_md *md,
                      struct buf *take_request, uint64_t timeout_ms, rpc_unary_done_fn done, void *ctx,
                      struct err *e)
{
    struct unary *u = mem_new(sizeof(*u), e);
    struct rpc_call *c;

    if (!u || !rpc_client_call(cl, method, md, timeout_ms, &unary_events, u, &c, e)) {
        mem_free(u);
        buf_done(take_request);
        return false;
    }
    u->done = done;
    u->ctx = ctx;
    if (!rpc_call_send(c, take_request, e)) {
        rpc_call_on(c, NULL, NULL);
        rpc_call_cancel(c);
        mem_free(u);
        return err_wrap(e, "call %s", method);
    }
    rpc_call_send_end(c);
    rpc_call_want(c);
    return true;
}
