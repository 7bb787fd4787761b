#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "rpc/conn_int.h"
#include "rpc/link.h"
#include "rpc/listen.h"
#include "rpc/rpc_int.h"

#define ACCEPTS_PER_TURN 64
#define ACCEPT_PAUSE_MS 100 /* when there are no descriptors left */
#define PEER_HELD_MAX (2 * RPC_CONN_HELD_MAX)
#define SERVER_HELD_MAX (8 * RPC_CONN_HELD_MAX)
#define STALL_TIMEOUT_MS 120000
#define REQUEST_TIMEOUT_MS 30000

/* All connections of one address (or of one local user). */
struct peer {
    struct peer *next;
    size_t connections;
    struct rpc_budget budget;
    char host[RPC_ADDRESS_TEXT_MAX];
};

struct client_of {
    struct rpc_server *server;
    struct client_of *prev, *next;
    struct peer *peer;
    struct rpc_link *link;
};

struct added {
    const struct rpc_service *service;
    void *ctx;
};

struct rpc_server {
    uv_loop_t *loop;
    struct rpc_server_config cfg;
    struct rpc_listener listener;
    char address[RPC_ADDRESS_TEXT_MAX];
    uint8_t *scratch;
    struct added *services;
    size_t service_count;
    struct client_of *clients;
    size_t client_count;
    struct peer *peers;
    struct rpc_budget budget;
    uint64_t refused;
    uint64_t abusive;
    void *slots[RPC_SLOT_COUNT];
    void (*slot_free[RPC_SLOT_COUNT])(void *);
    uv_poll_t poll;
    uv_timer_t pause; /* of accepting */
    uv_timer_t grace;
    int open_handles;
    bool draining;
    bool freeing;
    void (*drained)(void *ctx);
    void *drained_ctx;
    void (*freed)(void *ctx);
    void *freed_ctx;
};

/* -------------------------------------------------------------------- services */

bool rpc_allow_anyone(struct rpc_call *c, void *service, struct rpc_status *ret)
{
    (void)c;
    (void)service;
    (void)ret;
    return true;
}

bool rpc_server_add(struct rpc_server *s, const struct rpc_service *service, void *service_ctx, struct err *e)
{
    struct added *grown = mem_resize(s->services, (s->service_count + 1) * sizeof(*s->services), e);

    if (!grown)
        return err_wrap(e, "add service %s", service->name);
    s->services = grown;
    s->services[s->service_count++] = (struct added){ service, service_ctx };
    return true;
}

size_t rpc_server_service_count(const struct rpc_server *s)
{
    return s->service_count;
}

const struct rpc_service *rpc_server_service_at(const struct rpc_server *s, size_t i)
{
    return i < s->service_count ? s->services[i].service : NULL;
}

void rpc_server_slot_set(struct rpc_server *s, enum rpc_slot slot, void *state,
                         void (*free_state)(void *state))
{
    s->slots[slot] = state;
    s->slot_free[slot] = free_state;
}

void *rpc_server_slot(const struct rpc_server *s, enum rpc_slot slot)
{
    return s->slots[slot];
}

static const struct added *find_service(const struct rpc_server *s, struct slice name)
{
    for (size_t i = 0; i < s->service_count; i++) {
        if (slice_equal_str(name, s->services[i].service->name))
            return &s->services[i];
    }
    return NULL;
}

static const struct rpc_method *find_method(const struct rpc_service *service, struct slice name)
{
    for (size_t i = 0; i < service->count; i++) {
        if (slice_equal_str(name, service->methods[i].name))
            return &service->methods[i];
    }
    return NULL;
}

/* ----------------------------------------------------------------- unary calls */

static void unary_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    (void)ctx;
    c->request.max = body->len;
    buf_move(&c->request, body);
    rpc_call_want(c); /* a second one would be a fault, which only reading shows */
}

static void unary_whole(struct rpc_call *c, void *ctx)
{
    const struct rpc_method *method = ctx;

    rpc_call_on(c, NULL, NULL);
    method->unary(c, buf_slice(&c->request), c->service);
}

static const struct rpc_call_events unary_events = {
    .message = unary_message,
    .half_closed = unary_whole,
};

/* The path is taken as it came: only an exact name is a method (H2-6). */
static void on_call(struct rpc_conn *n, struct rpc_call *c, void *ctx)
{
    struct client_of *k = ctx;
    struct slice path = slice_after(slice_of_str(rpc_call_method(c)), 1);
    struct rpc_status why = { RPC_PERMISSION_DENIED, "" };
    size_t cut = path.len;

    (void)n;
    while (cut > 0 && path.at[cut - 1] != '/')
        cut--;
    if (cut == 0) {
        rpc_call_finishf(c, RPC_UNIMPLEMENTED, "malformed method name: \"%s\"", rpc_call_method(c));
        return;
    }

    struct slice service = slice_first(path, cut - 1);
    struct slice name = slice_after(path, cut);
    const struct added *a = find_service(k->server, service);
    const struct rpc_method *method = a ? find_method(a->service, name) : NULL;

    if (!a) {
        rpc_call_finishf(c, RPC_UNIMPLEMENTED, "unknown service %.*s", (int)service.len,
                         (const char *)service.at);
    } else if (!method) {
        rpc_call_finishf(c, RPC_UNIMPLEMENTED, "unknown method %.*s for service %s", (int)name.len,
                         (const char *)name.at, a->service->name);
    } else if (!method->allow || !method->allow(c, a->ctx, &why)) {
        if (why.message[0] == '\0')
            rpc_status_setf(&why, why.code, "%s may not be called", rpc_call_method(c));
        rpc_call_finish(c, why.code, why.message, NULL);
    } else if (method->unary) {
        rpc_call_set_recv(c, method->max_recv, true);
        c->service = a->ctx;
        rpc_call_on(c, &unary_events, (void *)(uintptr_t)method);
        rpc_call_want(c);
    } else {
        rpc_call_set_recv(c, method->max_recv, !method->client_streams);
        method->open(c, a->ctx);
    }
}

/* ----------------------------------------------------------------- connections */

static struct peer *peer_ref(struct rpc_server *s, const char *host, struct err *e)
{
    struct peer *p = s->peers;

    while (p && strcmp(p->host, host) != 0)
        p = p->next;
    if (!p) {
        p = mem_new(sizeof(*p), e);
        if (!p)
            return NULL;
        snprintf(p->host, sizeof(p->host), "%s", host);
        p->budget = (struct rpc_budget){ 0, PEER_HELD_MAX, &s->budget };
        p->next = s->peers;
        s->peers = p;
    }
    p->connections++;
    return p;
}

static void peer_unref(struct rpc_server *s, struct peer *p)
{
    struct peer **at = &s->peers;

    if (--p->connections > 0)
        return;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    mem_free(p);
}

static void maybe_done(struct rpc_server *s);

static void on_closed(struct rpc_link *l, const struct err *why, void *ctx)
{
    struct client_of *k = ctx;

    (void)why;
    k->server->abusive += rpc_conn_was_abused(rpc_link_conn(l));
}

static void on_gone(struct rpc_link *l, void *ctx)
{
    struct client_of *k = ctx;
    struct rpc_server *s = k->server;

    (void)l;
    if (k->prev)
        k->prev->next = k->next;
    else
        s->clients = k->next;
    if (k->next)
        k->next->prev = k->prev;
    s->client_count--;
    /* The link's calls are gone, so nothing is charged to the peer by it any more. */
    peer_unref(s, k->peer);
    mem_free(k);
    maybe_done(s);
}

static struct rpc_link_config link_config(struct rpc_server *s, struct client_of *k, const char *name)
{
    const struct rpc_server_config *cfg = &s->cfg;

    return (struct rpc_link_config){
        .loop = s->loop,
        .scratch = s->scratch,
        .name = name,
        .conn = {
            .role = RPC_ROLE_SERVER,
            .clock = clock_system(),
            .peer = name,
            .budget = &k->peer->budget,
            .message_max = cfg->message_max,
            .metadata_max = RPC_METADATA_MAX_DEFAULT,
            .streams_max = cfg->streams_max,
            .handshake_timeout_ms = cfg->handshake_timeout_ms,
            .idle_timeout_ms = cfg->idle_timeout_ms,
            .keepalive_ms = cfg->keepalive_ms,
            .keepalive_timeout_ms = cfg->keepalive_timeout_ms,
            .stall_timeout_ms = STALL_TIMEOUT_MS,
            .request_timeout_ms = REQUEST_TIMEOUT_MS,
        },
        .open = on_call,
        .closed = on_closed,
        .gone = on_gone,
        .ctx = k,
    };
}

static bool start_link(struct client_of *k, int take_fd, const char *name, struct err *e)
{
    struct rpc_server *s = k->server;
    struct rpc_link_config cfg = link_config(s, k, name);
    struct tls_conn *tls = NULL;

    if ((s->cfg.tls && !tls_conn_accept(s->cfg.tls, &tls, e)) || !rpc_link_new(&cfg, &k->link, e)) {
        tls_conn_free(tls);
        close(take_fd);
        return false;
    }
    k->next = s->clients;
    if (k->next)
        k->next->prev = k;
    s->clients = k;
    s->client_count++;
    /* From here the link cleans up after itself, by on_gone. */
    if (!rpc_link_attach(k->link, take_fd, tls, e))
        rpc_link_fail(k->link, e);
    return true;
}

/* Whatever became of the mode of the socket's file: who connected is what counts. */
static bool is_welcome(const struct rpc_server *s, int fd, const struct rpc_sockaddr *a)
{
    struct ucred who;
    socklen_t len = sizeof(who);

    if (!s->cfg.same_user || a->at.ss_family != AF_UNIX)
        return true;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && len == sizeof(who) &&
           (who.uid == 0 || who.uid == geteuid());
}

/* Who is there: the name for people and logs, and what limits go by. */
static void identify(int fd, const struct rpc_sockaddr *a, char name[RPC_ADDRESS_TEXT_MAX],
                     char host[RPC_ADDRESS_TEXT_MAX])
{
    struct ucred who = { 0 };
    socklen_t len = sizeof(who);

    if (a->at.ss_family != AF_UNIX) {
        rpc_sockaddr_text(a, name);
        rpc_sockaddr_host(a, host);
    } else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0) {
        snprintf(name, RPC_ADDRESS_TEXT_MAX, "unix:uid=%u,pid=%d", (unsigned)who.uid, (int)who.pid);
        snprintf(host, RPC_ADDRESS_TEXT_MAX, "unix:uid=%u", (unsigned)who.uid);
    } else {
        snprintf(name, RPC_ADDRESS_TEXT_MAX, "unix:");
        snprintf(host, RPC_ADDRESS_TEXT_MAX, "unix:");
    }
}

static void welcome(struct rpc_server *s, int take_fd, const struct rpc_sockaddr *a)
{
    char name[RPC_ADDRESS_TEXT_MAX];
    char host[RPC_ADDRESS_TEXT_MAX];
    struct err e = ERR_INIT;
    struct client_of *k = NULL;
    struct peer *p = NULL;
    int on = 1;

    identify(take_fd, a, name, host);
    if (a->at.ss_family != AF_UNIX) /* only slower without */
        (void)!setsockopt(take_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (is_welcome(s, take_fd, a) && s->client_count < s->cfg.connections_max)
        p = peer_ref(s, host, &e);
    if (p && p->connections <= s->cfg.connections_per_peer_max)
        k = mem_new(sizeof(*k), &e);
    if (!k) {
        close(take_fd);
        s->refused++;
        if (p)
            peer_unref(s, p);
        return;
    }
    k->server = s;
    k->peer = p;
    if (!start_link(k, take_fd, name, &e)) {
        s->refused++;
        peer_unref(s, p);
        mem_free(k);
    }
}

static void on_acceptable(uv_poll_t *h, int status, int events);

static void on_pause_over(uv_timer_t *h)
{
    struct rpc_server *s = h->data;

    if (s->listener.fd >= 0)
        uv_poll_start(&s->poll, UV_READABLE, on_acceptable);
}

static void on_acceptable(uv_poll_t *h, int status, int events)
{
    struct rpc_server *s = h->data;

    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN && s->listener.fd >= 0; i++) {
        struct rpc_sockaddr a = { .len = sizeof(a.at) };
        int fd = accept4(s->listener.fd, (struct sockaddr *)&a.at, &a.len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            welcome(s, fd, &a);
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return;
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            /* The connection waits in the backlog; polling now would spin. */
            uv_poll_stop(&s->poll);
            uv_timer_start(&s->pause, on_pause_over, ACCEPT_PAUSE_MS, 0);
            return;
        }
        /* Anything else concerns that connection only, which has gone. */
    }
}

/* ---------------------------------------------------------------- birth, death */

static void set_defaults(struct rpc_server_config *c)
{
    if (!c->message_max)
        c->message_max = RPC_MESSAGE_MAX_DEFAULT;
    if (!c->connections_max)
        c->connections_max = 1024;
    if (!c->connections_per_peer_max)
        c->connections_per_peer_max = 256;
    if (!c->streams_max)
        c->streams_max = 100;
    if (!c->handshake_timeout_ms)
        c->handshake_timeout_ms = 10000;
    if (!c->idle_timeout_ms)
        c->idle_timeout_ms = 300000;
    if (!c->keepalive_ms)
        c->keepalive_ms = 60000;
    if (!c->keepalive_timeout_ms)
        c->keepalive_timeout_ms = 20000;
    if (!c->socket_mode)
        c->socket_mode = 0600;
}

static void server_release(struct rpc_server *s)
{
    for (size_t i = 0; i < RPC_SLOT_COUNT; i++) {
        if (s->slots[i] && s->slot_free[i])
            s->slot_free[i](s->slots[i]);
    }
    rpc_listener_done(&s->listener);
    mem_free(s->services);
    mem_free(s->scratch);
    mem_free(s);
}

bool rpc_server_new(uv_loop_t *loop, const struct rpc_server_config *cfg, struct rpc_server **ret,
                    struct err *e)
{
    struct rpc_server *s = mem_new(sizeof(*s), e);

    if (!s)
        return false;
    s->loop = loop;
    s->cfg = *cfg;
    s->budget = (struct rpc_budget){ 0, SERVER_HELD_MAX, NULL };
    s->listener = (struct rpc_listener)RPC_LISTENER_INIT;
    set_defaults(&s->cfg);
    s->scratch = mem_new(RPC_LINK_SCRATCH, e);
    if (!s->scratch || !rpc_listen(cfg->listen, s->cfg.socket_mode, &s->listener, e)) {
        server_release(s);
        return false;
    }
    s->cfg.listen = NULL; /* borrowed for the call only */
    memcpy(s->address, s->listener.text, sizeof(s->address));

    int rc = uv_poll_init(loop, &s->poll, s->listener.fd);

    if (rc != 0) {
        err_fail(e, ERR_KIND_INTERNAL, "watch %s: %s", s->address, uv_strerror(rc));
        server_release(s);
        return false;
    }
    uv_timer_init(loop, &s->pause);
    uv_timer_init(loop, &s->grace);
    s->poll.data = s->pause.data = s->grace.data = s;
    s->open_handles = 3;
    uv_poll_start(&s->poll, UV_READABLE, on_acceptable);
    *ret = s;
    return true;
}

const char *rpc_server_address(const struct rpc_server *s)
{
    return s->address;
}

static void on_handle_closed(uv_handle_t *h)
{
    struct rpc_server *s = h->data;

    s->open_handles--;
    maybe_done(s);
}

static void close_handle(uv_handle_t *h)
{
    if (!uv_is_closing(h))
        uv_close(h, on_handle_closed);
}

static void stop_listening(struct rpc_server *s)
{
    uv_timer_stop(&s->pause);
    if (!uv_is_closing((uv_handle_t *)&s->poll))
        uv_poll_stop(&s->poll);
    close_handle((uv_handle_t *)&s->poll);
    rpc_listener_done(&s->listener);
}

/* Tells whoever waits for the last connection, or for the last handle. */
static void maybe_done(struct rpc_server *s)
{
    if (s->client_count > 0)
        return;
    if (s->draining && s->drained) {
        void (*drained)(void *) = s->drained;

        s->drained = NULL;
        uv_timer_stop(&s->grace);
        drained(s->drained_ctx); /* may free the server: nothing of it is looked at after */
        return;
    }
    if (s->freeing && s->open_handles == 0) {
        void (*freed)(void *) = s->freed;
        void *ctx = s->freed_ctx;

        server_release(s);
        if (freed)
            freed(ctx);
    }
}

static void on_grace_over(uv_timer_t *h)
{
    struct rpc_server *s = h->data;

    for (struct client_of *k = s->clients; k; k = k->next) {
        rpc_conn_end(rpc_link_conn(k->link), RPC_UNAVAILABLE, "the server is shutting down");
        rpc_link_close(k->link);
    }
    maybe_done(s);
}

void rpc_server_drain(struct rpc_server *s, uint64_t grace_ms, void (*drained)(void *ctx), void *ctx)
{
    if (s->draining || s->freeing)
        return;
    s->draining = true;
    s->drained = drained;
    s->drained_ctx = ctx;
    stop_listening(s);
    rpc_health_drain(s);
    for (struct client_of *k = s->clients; k; k = k->next)
        rpc_conn_drain(rpc_link_conn(k->link));
    uv_timer_start(&s->grace, on_grace_over, s->clients ? grace_ms : 0, 0);
}

void rpc_server_free(struct rpc_server *s, void (*freed)(void *ctx), void *ctx)
{
    struct err why = ERR_INIT;

    if (!s || s->freeing)
        return;
    err_fail(&why, ERR_KIND_UNAVAILABLE, "the server has ended");
    s->freeing = true;
    s->drained = NULL;
    s->freed = freed;
    s->freed_ctx = ctx;
    stop_listening(s);
    close_handle((uv_handle_t *)&s->pause);
    close_handle((uv_handle_t *)&s->grace);
    for (struct client_of *k = s->clients; k; k = k->next)
        rpc_link_fail(k->link, &why);
}

void rpc_server_stats(const struct rpc_server *s, struct rpc_server_stats *ret)
{
    *ret = (struct rpc_server_stats){
        .connections = s->client_count,
        .connections_refused = s->refused,
        .connections_ended_for_abuse = s->abusive,
    };
    for (const struct client_of *k = s->clients; k; k = k->next)
        ret->calls += rpc_conn_call_count(rpc_link_conn(k->link));
}
