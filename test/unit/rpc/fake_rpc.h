/*
 * A server and calls that only remember what was done to them, for tests of
 * the built-in services. Included by one file of a program: it takes the
 * place of the room's own server and calls when the program is linked.
 */
#ifndef TEST_UNIT_RPC_FAKE_RPC_H
#define TEST_UNIT_RPC_FAKE_RPC_H

#include <stdarg.h>

#include "base/mem.h"
#include "rpc/rpc_int.h"

#define FAKE_SENT_MAX 16

struct rpc_call {
    const struct rpc_call_events *events;
    void *ctx;
    size_t wants; /* how often a message was asked for */
    bool full;    /* the queue takes nothing           */
    bool fills;   /* the next message makes it full */
    struct buf sent[FAKE_SENT_MAX];
    size_t sent_count;
    bool finished;
    enum rpc_code code;
    char text[RPC_STATUS_TEXT_MAX];
};

struct rpc_server {
    const struct rpc_service *services[8];
    void *service_ctx[8];
    size_t count;
    void *slots[RPC_SLOT_COUNT];
    void (*free_slot[RPC_SLOT_COUNT])(void *state);
};

void rpc_call_on(struct rpc_call *c, const struct rpc_call_events *events, void *ctx)
{
    c->events = events;
    c->ctx = ctx;
}

void rpc_call_want(struct rpc_call *c)
{
    c->wants++;
}

bool rpc_call_can_send(const struct rpc_call *c)
{
    return !c->full && !c->finished;
}

bool rpc_call_send(struct rpc_call *c, struct buf *take_body, struct err *e)
{
    struct buf body = BUF_INIT(take_body->max);

    buf_move(&body, take_body);
    if (c->full || c->finished || c->sent_count == FAKE_SENT_MAX) {
        buf_done(&body);
        return err_fail(e, c->finished ? ERR_KIND_CANCELLED : ERR_KIND_LIMIT, "the fake takes no message");
    }
    c->sent[c->sent_count++] = body;
    c->full = c->fills;
    return true;
}

void rpc_call_finish(struct rpc_call *c, enum rpc_code code, const char *message,
                     const struct rpc_md *trailers)
{
    (void)trailers;
    if (c->finished)
        return;
    c->finished = true;
    c->code = code;
    snprintf(c->text, sizeof(c->text), "%s", message ? message : "");
}

void rpc_call_finishf(struct rpc_call *c, enum rpc_code code, const char *fmt, ...)
{
    char text[RPC_STATUS_TEXT_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    rpc_call_finish(c, code, text, NULL);
}

void rpc_call_reply(struct rpc_call *c, struct buf *take_body)
{
    struct err e = ERR_INIT;

    if (rpc_call_send(c, take_body, &e))
        rpc_call_finish(c, RPC_OK, NULL, NULL);
}

bool rpc_allow_anyone(struct rpc_call *c, void *service, struct rpc_status *ret)
{
    (void)c, (void)service, (void)ret;
    return true;
}

bool rpc_server_add(struct rpc_server *s, const struct rpc_service *service, void *service_ctx, struct err *e)
{
    (void)e;
    s->services[s->count] = service;
    s->service_ctx[s->count++] = service_ctx;
    return true;
}

size_t rpc_server_service_count(const struct rpc_server *s)
{
    return s->count;
}

const struct rpc_service *rpc_server_service_at(const struct rpc_server *s, size_t i)
{
    return s->services[i];
}

void rpc_server_slot_set(struct rpc_server *s, enum rpc_slot slot, void *state,
                         void (*free_state)(void *state))
{
    s->slots[slot] = state;
    s->free_slot[slot] = free_state;
}

void *rpc_server_slot(const struct rpc_server *s, enum rpc_slot slot)
{
    return s->slots[slot];
}

static inline void fake_server_done(struct rpc_server *s)
{
    for (size_t i = 0; i < RPC_SLOT_COUNT; i++)
        if (s->slots[i])
            s->free_slot[i](s->slots[i]);
}

static inline const struct rpc_method *fake_method(const struct rpc_server *s, const char *service,
                                                   const char *name, void **ret_ctx)
{
    for (size_t i = 0; i < s->count; i++)
        for (size_t k = 0; k < s->services[i]->count; k++)
            if (strcmp(s->services[i]->name, service) == 0 &&
                strcmp(s->services[i]->methods[k].name, name) == 0) {
                *ret_ctx = s->service_ctx[i];
                return &s->services[i]->methods[k];
            }
    return NULL;
}

/* The call is over, as when the peer has gone or the last byte is out. */
static inline void fake_call_done(struct rpc_call *c)
{
    const struct rpc_status status = { .code = RPC_OK };
    const struct rpc_md none = RPC_MD_INIT;

    if (c->events && c->events->closed)
        c->events->closed(c, &status, &none, c->ctx);
    for (size_t i = 0; i < c->sent_count; i++)
        buf_done(&c->sent[i]);
}

/* Hands the call one message, as its owner would after it asked. */
static inline void fake_call_give(struct rpc_call *c, struct slice wire)
{
    struct err e = ERR_INIT;
    struct buf body = BUF_INIT(wire.len + 1);

    if (!buf_append(&body, wire, &e))
        return;
    c->events->message(c, &body, c->ctx);
    buf_done(&body);
}

#endif
