/*
 * grpc.health.v1.Health.
 *
 * A watcher hears each change once. One that reads slowly is not queued for:
 * when it can take a message again it gets the state of that moment.
 */
#include "rpc/rpc_int.h"

#include "base/mem.h"
#include "proto/health.pb-c.h"
#include "proto/pb.h"

#define REQUEST_MAX ((size_t)4 * 1024)
#define RESPONSE_MAX 64

typedef Grpc__Health__V1__HealthCheckRequest request;
typedef Grpc__Health__V1__HealthCheckResponse response;
typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus serving_status;

#define SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
#define SERVICE_UNKNOWN GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN
/* What a watcher has heard before its first message. */
#define NOTHING_YET GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__UNKNOWN

struct health_name {
    struct health_name *next;
    char *name;
    bool serving;
};

struct health_watch {
    struct health *health;
    struct health_watch *prev, *next;
    struct rpc_call *call;
    char *name; /* NULL until the request came */
    serving_status told;
};

struct health {
    struct health_name *names;
    struct health_watch *watches;
    bool draining;
};

/* ------------------------------------------------------------------ the state */

static struct health_name *find_name(const struct health *h, const char *name)
{
    for (struct health_name *n = h->names; n; n = n->next)
        if (strcmp(n->name, name) == 0)
            return n;
    return NULL;
}

static bool set_name(struct health *h, const char *name, bool serving, struct err *e)
{
    struct health_name *n = find_name(h, name);

    if (!n) {
        n = mem_new(sizeof(*n), e);
        if (!n)
            return false;
        n->name = mem_dup_str(name, e);
        if (!n->name) {
            mem_free(n);
            return false;
        }
        n->next = h->names;
        h->names = n;
    }
    n->serving = serving;
    return true;
}

static serving_status status_of(const struct health *h, const char *name)
{
    const struct health_name *n = find_name(h, name);

    if (!n)
        return SERVICE_UNKNOWN;
    return n->serving && !h->draining ? SERVING : NOT_SERVING;
}

static void health_free(void *state)
{
    struct health *h = state;

    while (h->names) {
        struct health_name *n = h->names;

        h->names = n->next;
        mem_free(n->name);
        mem_free(n);
    }
    mem_free(h);
}

/* ---------------------------------------------------------------------- calls */

static request *read_request(struct rpc_call *c, struct slice wire)
{
    struct err e = ERR_INIT;
    request *q = (request *)pb_decode(&grpc__health__v1__health_check_request__descriptor, wire, NULL, &e);

    if (!q)
        rpc_call_finishf(c, rpc_code_of_err(e.kind), "%s", err_text(&e));
    return q;
}

static bool pack_status(serving_status status, struct buf *out, struct err *e)
{
    response r = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

    r.status = status;
    return pb_encode(&r.base, out, e);
}

static void check(struct rpc_call *c, struct slice wire, void *service)
{
    CLEANUP(pb_done) request *q = read_request(c, wire);
    CLEANUP(buf_done) struct buf out = BUF_INIT(RESPONSE_MAX);
    struct err e = ERR_INIT;

    if (!q)
        return;

    serving_status status = status_of(service, q->service);

    if (status == SERVICE_UNKNOWN)
        rpc_call_finish(c, RPC_NOT_FOUND, "unknown service", NULL);
    else if (!pack_status(status, &out, &e))
        rpc_call_finishf(c, rpc_code_of_err(e.kind), "%s", err_text(&e));
    else
        rpc_call_reply(c, &out);
}

/* Sends what the watcher does not know yet, when it can take it. */
static void watch_tell(struct health_watch *w)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(RESPONSE_MAX);
    struct err e = ERR_INIT;

    if (!w->name || !rpc_call_can_send(w->call))
        return;

    serving_status status = status_of(w->health, w->name);

    if (status == w->told)
        return;
    if (pack_status(status, &out, &e) && rpc_call_send(w->call, &out, &e))
        w->told = status;
    else
        rpc_call_finishf(w->call, rpc_code_of_err(e.kind), "%s", err_text(&e));
}

static void watch_end(struct health_watch *w)
{
    rpc_call_finish(w->call, RPC_UNAVAILABLE, "the server is shutting down", NULL);
}

static void watch_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct health_watch *w = ctx;
    CLEANUP(pb_done) request *q = read_request(c, buf_slice(body));
    struct err e = ERR_INIT;

    if (!q)
        return;
    w->name = mem_dup_str(q->service, &e);
    if (w->name)
        watch_tell(w);
    if (w->name && w->health->draining)
        watch_end(w);
    else if (!w->name)
        rpc_call_finishf(c, rpc_code_of_err(e.kind), "%s", err_text(&e));
}

static void watch_half_closed(struct rpc_call *c, void *ctx)
{
    struct health_watch *w = ctx;

    if (!w->name)
        rpc_call_finish(c, RPC_INVALID_ARGUMENT, "Watch takes one request, none came", NULL);
}

static void watch_writable(struct rpc_call *c, void *ctx)
{
    (void)c;
    watch_tell(ctx);
}

static void watch_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                         void *ctx)
{
    struct health_watch *w = ctx;

    (void)c, (void)status, (void)trailers;
    if (w->prev)
        w->prev->next = w->next;
    else
        w->health->watches = w->next;
    if (w->next)
        w->next->prev = w->prev;
    mem_free(w->name);
    mem_free(w);
}

static const struct rpc_call_events watch_events = {
    .message = watch_message,
    .half_closed = watch_half_closed,
    .writable = watch_writable,
    .closed = watch_closed,
};

static void watch(struct rpc_call *c, void *service)
{
    struct health *h = service;
    struct err e = ERR_INIT;
    struct health_watch *w = mem_new(sizeof(*w), &e);

    if (!w) {
        rpc_call_finishf(c, rpc_code_of_err(e.kind), "%s", err_text(&e));
        return;
    }
    *w = (struct health_watch){ .health = h, .next = h->watches, .call = c, .told = NOTHING_YET };
    if (h->watches)
        h->watches->prev = w;
    h->watches = w;
    rpc_call_on(c, &watch_events, w);
    rpc_call_want(c);
}

static const struct rpc_method methods[] = {
    { .name = "Check", .allow = RPC_ALLOW_ANYONE, .max_recv = REQUEST_MAX, .unary = check },
    { .name = "Watch",
      .allow = RPC_ALLOW_ANYONE,
      .max_recv = REQUEST_MAX,
      .open = watch,
      .server_streams = true },
};

static const struct rpc_service service = { "grpc.health.v1.Health", methods, ARRAY_LEN(methods) };

/* --------------------------------------------------------------------- public */

/* `closed` never comes from within a call to finish, so the list stays as it is. */
static void tell_all(const struct health *h)
{
    for (struct health_watch *w = h->watches; w; w = w->next)
        watch_tell(w);
}

bool rpc_server_add_health(struct rpc_server *s, const char *const *names, size_t count, struct err *e)
{
    struct health *h = mem_new(sizeof(*h), e);

    if (!h)
        return false;
    rpc_server_slot_set(s, RPC_SLOT_HEALTH, h, health_free);
    if (!set_name(h, "", true, e))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!set_name(h, names[i], true, e))
            return false;
    return rpc_server_add(s, &service, h, e);
}

void rpc_server_health_set(struct rpc_server *s, const char *name, bool serving)
{
    struct health *h = rpc_server_slot(s, RPC_SLOT_HEALTH);
    struct err e = ERR_INIT;

    if (!h || !set_name(h, name, serving, &e))
        return;
    tell_all(h);
}

void rpc_health_drain(struct rpc_server *s)
{
    struct health *h = rpc_server_slot(s, RPC_SLOT_HEALTH);

    if (!h)
        return;
    h->draining = true;
    tell_all(h);
    for (struct health_watch *w = h->watches; w; w = w->next)
        watch_end(w);
}
