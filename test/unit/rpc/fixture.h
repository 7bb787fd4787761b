/*
 * A server and a client on one loop, for the tests of this room. Every wait
 * is for an event and ends at a deadline.
 */
#ifndef TEST_RPC_FIXTURE_H
#define TEST_RPC_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#include "rpc/client.h"
#include "rpc/server.h"
#include "unit/base/patience.h"

struct fixture {
    uv_loop_t loop;
    uv_timer_t timer;
    bool timed_out;
    struct rpc_server *server;
    struct rpc_client *client;
    struct rpc_server_config server_cfg;
    struct rpc_client_config client_cfg;
    char dir[64];
    char path[96];
    int hung;   /* server calls that were taken by Hang */
    int closed; /* server calls that ended */
    struct rpc_status closed_status;
    int waiting; /* handles on their way out */
};

static inline void fixture_timeout(uv_timer_t *t)
{
    ((struct fixture *)t->data)->timed_out = true;
}

/* Turns the loop until *flag reaches want. */
static inline void fixture_wait(struct fixture *f, const int *flag, int want)
{
    f->timed_out = false;
    uv_timer_start(&f->timer, fixture_timeout, patience_ms(10000), 0);
    while (*flag < want && !f->timed_out)
        uv_run(&f->loop, UV_RUN_ONCE);
    uv_timer_stop(&f->timer);
    assert_int_equal(*flag >= want, 1);
}

static inline void fixture_turn(struct fixture *f)
{
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

/* --------------------------------------------------------------- the service */

static inline void fixture_echo(struct rpc_call *c, struct slice request, void *service)
{
    struct buf reply = BUF_INIT(request.len);
    struct err e = ERR_INIT;

    (void)service;
    assert_true(buf_append(&reply, request, &e));
    rpc_call_reply(c, &reply);
}

static inline void fixture_closed(struct rpc_call *c, const struct rpc_status *status,
                                  const struct rpc_md *trailers, void *ctx)
{
    struct fixture *f = ctx;

    (void)c;
    (void)trailers;
    f->closed++;
    f->closed_status = *status;
}

static const struct rpc_call_events fixture_hang_events = { .closed = fixture_closed };

static inline void fixture_hang(struct rpc_call *c, struct slice request, void *service)
{
    (void)request;
    ((struct fixture *)service)->hung++;
    rpc_call_on(c, &fixture_hang_events, service);
}

static inline void fixture_bidi_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct err e = ERR_INIT;

    (void)ctx;
    assert_true(rpc_call_send(c, body, &e));
    if (rpc_call_can_send(c))
        rpc_call_want(c);
}

static inline void fixture_bidi_writable(struct rpc_call *c, void *ctx)
{
    (void)ctx;
    rpc_call_want(c);
}

static inline void fixture_bidi_end(struct rpc_call *c, void *ctx)
{
    (void)ctx;
    rpc_call_finish(c, RPC_OK, "", NULL);
}

static const struct rpc_call_events fixture_bidi_events = {
    .message = fixture_bidi_message,
    .writable = fixture_bidi_writable,
    .half_closed = fixture_bidi_end,
    .closed = fixture_closed,
};

static inline void fixture_bidi(struct rpc_call *c, void *service)
{
    rpc_call_on(c, &fixture_bidi_events, service);
    rpc_call_want(c);
}

static inline void fixture_fail(struct rpc_call *c, struct slice request, void *service)
{
    (void)request;
    (void)service;
    rpc_call_finish(c, RPC_FAILED_PRECONDITION, "n\xc3\xb6t now 100%\n", NULL);
}

static inline bool fixture_deny(struct rpc_call *c, void *service, struct rpc_status *ret)
{
    (void)c;
    (void)service;
    *ret = (struct rpc_status){ RPC_UNAUTHENTICATED, "who are you" };
    return false;
}

static const struct rpc_method fixture_methods[] = {
    { .name = "Echo", .allow = RPC_ALLOW_ANYONE, .unary = fixture_echo },
    { .name = "Small", .allow = RPC_ALLOW_ANYONE, .unary = fixture_echo, .max_recv = 10 },
    { .name = "Hang", .allow = RPC_ALLOW_ANYONE, .unary = fixture_hang },
    { .name = "Fail", .allow = RPC_ALLOW_ANYONE, .unary = fixture_fail },
    { .name = "Forgotten", .unary = fixture_echo },
    { .name = "Denied", .allow = fixture_deny, .unary = fixture_echo },
    { .name = "Bidi",
      .allow = RPC_ALLOW_ANYONE,
      .open = fixture_bidi,
      .client_streams = true,
      .server_streams = true },
};

static const struct rpc_service fixture_service = { "test.Room", fixture_methods,
                                                    ARRAY_LEN(fixture_methods) };

/* -------------------------------------------------------------------- set-up */

/* Listens on cfg.listen, or a free port, and connects a client to it. */
static inline void fixture_open(struct fixture *f)
{
    struct err e = ERR_INIT;

    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(uv_timer_init(&f->loop, &f->timer), 0);
    f->timer.data = f;
    if (!f->server_cfg.listen)
        f->server_cfg.listen = "127.0.0.1:0";
    if (!rpc_server_new(&f->loop, &f->server_cfg, &f->server, &e))
        fail_msg("%s", err_text(&e));
    assert_true(rpc_server_add(f->server, &fixture_service, f, &e));
    if (!f->client_cfg.target)
        f->client_cfg.target = rpc_server_address(f->server);
    if (!rpc_client_new(&f->loop, &f->client_cfg, &f->client, &e))
        fail_msg("%s", err_text(&e));
}

static inline void fixture_freed(void *ctx)
{
    ((struct fixture *)ctx)->waiting--;
}

/* Frees both and checks that the loop has nothing left. */
static inline void fixture_close(struct fixture *f)
{
    f->waiting = (f->client != NULL) + (f->server != NULL);
    rpc_client_free(f->client, fixture_freed, f);
    rpc_server_free(f->server, fixture_freed, f);
    uv_timer_start(&f->timer, fixture_timeout, patience_ms(10000), 0);
    while (f->waiting > 0 && !f->timed_out)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->waiting, 0);
    uv_close((uv_handle_t *)&f->timer, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

/* ------------------------------------------------------------- a client call */

struct seen {
    struct rpc_call *call;
    int initial, messages, writable, closed;
    bool no_want; /* don't ask for the next message */
    size_t bytes;
    struct buf last;
    struct rpc_status status;
    size_t trailer_count;
    struct rpc_md md; /* initial */
    struct rpc_md trailers;
};
#define SEEN_INIT                          \
    {                                      \
        .last = BUF_INIT(64 * 1024 * 1024) \
    }

static inline void copy_md(struct rpc_md *to, const struct rpc_md *from)
{
    struct err e = ERR_INIT;

    for (size_t i = 0; i < from->count; i++) {
        if (strcmp(from->entries[i].key, "user-agent") != 0)
            assert_true(rpc_md_add(to, from->entries[i].key, buf_slice(&from->entries[i].value), &e));
    }
}

static inline void seen_initial(struct rpc_call *c, const struct rpc_md *md, void *ctx)
{
    struct seen *s = ctx;

    (void)c;
    s->initial++;
    copy_md(&s->md, md);
}

static inline void seen_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct seen *s = ctx;

    s->messages++;
    s->bytes += body->len;
    buf_move(&s->last, body);
    if (!s->no_want)
        rpc_call_want(c);
}

static inline void seen_writable(struct rpc_call *c, void *ctx)
{
    (void)c;
    ((struct seen *)ctx)->writable++;
}

static inline void seen_closed(struct rpc_call *c, const struct rpc_status *status,
                               const struct rpc_md *trailers, void *ctx)
{
    struct seen *s = ctx;

    (void)c;
    s->closed++;
    s->status = *status;
    s->call = NULL;
    copy_md(&s->trailers, trailers);
}

static const struct rpc_call_events seen_events = {
    .initial = seen_initial,
    .message = seen_message,
    .writable = seen_writable,
    .closed = seen_closed,
};

static inline void seen_done(struct seen *s)
{
    buf_done(&s->last);
    rpc_md_done(&s->md);
    rpc_md_done(&s->trailers);
}

static inline void start(struct fixture *f, const char *method, uint64_t timeout_ms, struct seen *s)
{
    struct err e = ERR_INIT;

    if (!rpc_client_call(f->client, method, NULL, timeout_ms, &seen_events, s, &s->call, &e))
        fail_msg("%s", err_text(&e));
    rpc_call_want(s->call);
}

static inline bool send_bytes(struct seen *s, size_t len, uint8_t fill)
{
    struct buf body = BUF_INIT(len);
    struct err e = ERR_INIT;
    uint8_t *at;

    assert_true(buf_reserve(&body, len, &at, &e));
    if (len)
        memset(at, fill, len);
    buf_extend(&body, len);
    return rpc_call_send(s->call, &body, &e);
}

/* One whole call with one message of len bytes. */
static inline void unary(struct fixture *f, const char *method, size_t len, uint64_t timeout_ms,
                         struct seen *s)
{
    start(f, method, timeout_ms, s);
    assert_true(send_bytes(s, len, 'x'));
    rpc_call_send_end(s->call);
    fixture_wait(f, &s->closed, 1);
}

static inline void temp_socket(struct fixture *f)
{
    snprintf(f->dir, sizeof(f->dir), "%s", "/tmp/rpc-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/s.sock", f->dir);
    f->server_cfg.listen = f->path;
}

#endif
