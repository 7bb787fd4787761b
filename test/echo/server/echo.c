#include "echo/server/echo.h"

#include "base/hash.h"
#include "base/mem.h"
#include "proto/pb.h"
#include "rpc/answer.h"
#include "test/echo.pb-c.h"

#define PATTERN_PERIOD 251u
#define PATTERN_LEN (PATTERN_PERIOD * 256u)
#define SIZE_MAX_SENT ((uint64_t)1024 * 1024 * 1024)

static void count_end(struct echo *echo, const struct rpc_status *status)
{
    if (status->code == RPC_CANCELLED)
        echo->counters.cancelled++;
    else if (status->code == RPC_DEADLINE_EXCEEDED)
        echo->counters.deadline++;
    else
        echo->counters.finished++;
}

static void on_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                      void *ctx)
{
    (void)c;
    (void)trailers;
    count_end(ctx, status);
}

static const struct rpc_call_events count_events = { .closed = on_closed };

static void fail_with(struct rpc_call *c, const struct err *e)
{
    rpc_call_finish(c, rpc_code_of_err(e->kind), err_text(e), NULL);
}

/* The decoded request, or NULL and the call has been ended. */
static void *decode(struct rpc_call *c, const ProtobufCMessageDescriptor *type, struct slice request)
{
    struct err e = ERR_INIT;
    ProtobufCMessage *m = pb_decode(type, request, NULL, &e);

    if (!m)
        fail_with(c, &e);
    return m;
}

static bool encode(const void *message, struct buf *out, struct err *e)
{
    const ProtobufCMessage *m = message;

    out->max = protobuf_c_message_get_packed_size(m);
    return pb_encode(m, out, e);
}

/* Byte i is (from + i) % 251. */
static void fill(uint8_t *at, size_t len, uint64_t from)
{
    static uint8_t pattern[PATTERN_LEN + PATTERN_PERIOD];

    if (pattern[1] == 0) {
        for (size_t i = 0; i < sizeof(pattern); i++)
            pattern[i] = (uint8_t)(i % PATTERN_PERIOD);
    }
    while (len > 0) {
        size_t n = len < PATTERN_LEN ? len : PATTERN_LEN;

        memcpy(at, pattern + from % PATTERN_PERIOD, n);
        at += n;
        len -= n;
    }
}

static bool pattern_payload(uint64_t size, uint64_t from, struct buf *out, struct err *e)
{
    Test__Payload p = TEST__PAYLOAD__INIT;
    CLEANUP(buf_done) struct buf data = BUF_INIT((size_t)size);
    uint8_t *at;

    if (size > SIZE_MAX_SENT)
        return err_fail(e, ERR_KIND_LIMIT, "size is %llu, at most 1 GiB is made", (unsigned long long)size);
    if (!buf_reserve(&data, (size_t)size, &at, e))
        return false;
    fill(at, (size_t)size, from);
    buf_extend(&data, (size_t)size);
    p.data = pb_bytes(buf_slice(&data));
    return encode(&p, out, e);
}

/* ----------------------------------------------------------------- unary ones */

/* Metadata that asks to come back; prefix goes before its key. */
static bool echoed(const struct rpc_md *from, const char *prefix, struct rpc_md *to, struct err *e)
{
    for (size_t i = 0; i < from->count; i++) {
        const struct rpc_md_entry *entry = &from->entries[i];
        char key[256];

        if (strncmp(entry->key, "echo-", 5) != 0)
            continue;
        snprintf(key, sizeof(key), "%s%s", prefix, entry->key);
        if (!rpc_md_add(to, key, buf_slice(&entry->value), e))
            return false;
    }
    return true;
}

static void do_unary(struct rpc_call *c, struct slice request, void *service)
{
    CLEANUP(rpc_md_done) struct rpc_md initial = RPC_MD_INIT;
    CLEANUP(rpc_md_done) struct rpc_md trailers = RPC_MD_INIT;
    CLEANUP(buf_done) struct buf body = BUF_INIT(request.len);
    CLEANUP(pb_done) Test__Payload *p = decode(c, &test__payload__descriptor, request);
    struct err e = ERR_INIT;

    rpc_call_on(c, &count_events, service);
    if (!p)
        return;
    if (!echoed(rpc_call_metadata(c), "", &initial, &e) ||
        !echoed(rpc_call_metadata(c), "trailer-", &trailers, &e) || !encode(p, &body, &e) ||
        (initial.count && !rpc_call_send_initial(c, &initial, &e)) || !rpc_call_send(c, &body, &e))
        fail_with(c, &e);
    else
        rpc_call_finish(c, RPC_OK, "", &trailers);
}

static void do_metadata(struct rpc_call *c, struct slice request, void *service)
{
    const struct rpc_md *md = rpc_call_metadata(c);
    Test__MetadataList list = TEST__METADATA_LIST__INIT;
    struct err e = ERR_INIT;
    CLEANUP(mem_done) Test__MetadataEntry *entries = mem_new_array(md->count, sizeof(*entries), &e);
    CLEANUP(mem_done) Test__MetadataEntry **at = mem_new_array(md->count, sizeof(*at), &e);

    (void)request;
    rpc_call_on(c, &count_events, service);
    if (!entries || !at) {
        fail_with(c, &e);
        return;
    }
    for (size_t i = 0; i < md->count; i++) {
        if (strcmp(md->entries[i].key, "user-agent") == 0)
            continue;
        at[list.n_entries] = &entries[i];
        test__metadata_entry__init(&entries[i]);
        entries[i].key = md->entries[i].key;
        entries[i].value = pb_bytes(buf_slice(&md->entries[i].value));
        list.n_entries++;
    }
    list.entries = at;
    rpc_answer(c, &list.base);
}

static void do_big(struct rpc_call *c, struct slice request, void *service)
{
    CLEANUP(pb_done) Test__BigRequest *r = decode(c, &test__big_request__descriptor, request);
    CLEANUP(buf_done) struct buf body = BUF_INIT(0);
    struct err e = ERR_INIT;

    rpc_call_on(c, &count_events, service);
    if (!r)
        return;
    if (pattern_payload(r->size, 0, &body, &e))
        rpc_call_reply(c, &body);
    else
        fail_with(c, &e);
}

static void do_counters(struct rpc_call *c, struct slice request, void *service)
{
    const struct echo *echo = service;
    Test__CountersReply r = TEST__COUNTERS_REPLY__INIT;

    (void)request;
    r.cancelled = echo->counters.cancelled;
    r.deadline = echo->counters.deadline;
    r.finished = echo->counters.finished;
    rpc_answer(c, &r.base);
}

/* ------------------------------------------------------- calls that take time */

struct task {
    struct echo *echo;
    struct rpc_call *call;
    uv_timer_t timer;
    struct hash *hash;
    uint64_t count, size, interval_ms, sent, bytes;
    bool waiting; /* for the timer */
};

static void free_task(uv_handle_t *h)
{
    struct task *t = h->data;

    hash_free(t->hash);
    mem_free(t);
}

static void task_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                        void *ctx)
{
    struct task *t = ctx;

    (void)c;
    (void)trailers;
    count_end(t->echo, status);
    uv_close((uv_handle_t *)&t->timer, free_task);
}

static struct task *begin_task(struct rpc_call *c, struct echo *echo, const struct rpc_call_events *events)
{
    struct err e = ERR_INIT;
    struct task *t = mem_new(sizeof(*t), &e);

    if (!t) {
        fail_with(c, &e);
        return NULL;
    }
    t->echo = echo;
    t->call = c;
    uv_timer_init(echo->loop, &t->timer);
    t->timer.data = t;
    rpc_call_on(c, events, t);
    return t;
}

static const struct rpc_call_events sleep_events = { .closed = task_closed };

static void slept(uv_timer_t *timer)
{
    struct task *t = timer->data;
    Test__Payload p = TEST__PAYLOAD__INIT;

    rpc_answer(t->call, &p.base);
}

static void do_sleep(struct rpc_call *c, struct slice request, void *service)
{
    CLEANUP(pb_done) Test__SleepRequest *r = decode(c, &test__sleep_request__descriptor, request);
    struct task *t = r ? begin_task(c, service, &sleep_events) : NULL;

    if (t)
        uv_timer_start(&t->timer, slept, r->ms, 0);
}

/* Client stream: a hash over all that comes. */

static void summed(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct task *t = ctx;
    struct err e = ERR_INIT;
    CLEANUP(pb_done) Test__Payload *p = decode(c, &test__payload__descriptor, buf_slice(body));

    if (!p)
        return;
    if (!hash_add(t->hash, pb_slice(p->data), &e)) {
        fail_with(c, &e);
        return;
    }
    t->count++;
    t->bytes += p->data.len;
    rpc_call_want(c);
}

static void summary(struct rpc_call *c, void *ctx)
{
    struct task *t = ctx;
    uint8_t digest[HASH_SHA256_LEN];
    struct err e = ERR_INIT;
    Test__Summary s = TEST__SUMMARY__INIT;

    if (!hash_finish(t->hash, digest, &e)) {
        fail_with(c, &e);
        return;
    }
    s.count = t->count;
    s.bytes = t->bytes;
    s.sha256 = pb_bytes(slice_of(digest, sizeof(digest)));
    rpc_answer(c, &s.base);
}

static const struct rpc_call_events sum_events = {
    .message = summed,
    .half_closed = summary,
    .closed = task_closed,
};

static void do_client_stream(struct rpc_call *c, void *service)
{
    struct task *t = begin_task(c, service, &sum_events);
    struct err e = ERR_INIT;

    if (!t)
        return;
    t->hash = hash_new(HASH_SHA256, &e);
    if (!t->hash)
        fail_with(c, &e);
    rpc_call_want(c);
}

/* Server stream: as many as asked for, as fast as they are taken. */

static void stream_on(struct rpc_call *c, void *ctx);

static void stream_tick(uv_timer_t *timer)
{
    struct task *t = timer->data;

    t->waiting = false;
    stream_on(t->call, t);
}

static void stream_on(struct rpc_call *c, void *ctx)
{
    struct task *t = ctx;
    struct err e = ERR_INIT;

    while (t->sent < t->count && rpc_call_can_send(c) && !t->waiting) {
        CLEANUP(buf_done) struct buf body = BUF_INIT(0);

        if (!pattern_payload(t->size, t->sent, &body, &e) || !rpc_call_send(c, &body, &e)) {
            fail_with(c, &e);
            return;
        }
        t->sent++;
        if (t->interval_ms > 0 && t->sent < t->count) {
            t->waiting = true;
            uv_timer_start(&t->timer, stream_tick, t->interval_ms, 0);
        }
    }
    if (t->sent == t->count)
        rpc_call_finish(c, RPC_OK, "", NULL);
}

static void stream_asked(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct task *t = ctx;
    CLEANUP(pb_done) Test__StreamRequest *r = decode(c, &test__stream_request__descriptor, buf_slice(body));

    if (!r)
        return;
    t->count = r->count;
    t->size = r->size;
    t->interval_ms = r->interval_ms;
    stream_on(c, t);
}

static const struct rpc_call_events stream_events = {
    .message = stream_asked,
    .writable = stream_on,
    .closed = task_closed,
};

static void do_server_stream(struct rpc_call *c, void *service)
{
    if (begin_task(c, service, &stream_events))
        rpc_call_want(c);
}

/* Bidi: each message back; the next is asked for when there is room for its answer. */

static void bidi_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct err e = ERR_INIT;

    (void)ctx;
    if (!rpc_call_send(c, body, &e)) {
        fail_with(c, &e);
        return;
    }
    if (rpc_call_can_send(c))
        rpc_call_want(c);
}

static void bidi_writable(struct rpc_call *c, void *ctx)
{
    (void)ctx;
    rpc_call_want(c);
}

static void bidi_end(struct rpc_call *c, void *ctx)
{
    (void)ctx;
    rpc_call_finish(c, RPC_OK, "", NULL);
}

static const struct rpc_call_events bidi_events = {
    .message = bidi_message,
    .writable = bidi_writable,
    .half_closed = bidi_end,
    .closed = on_closed,
};

static void do_bidi(struct rpc_call *c, void *service)
{
    rpc_call_on(c, &bidi_events, service);
    rpc_call_want(c);
}

static void fail_asked(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct err e = ERR_INIT;
    CLEANUP(pb_done) Test__FailRequest *r = decode(c, &test__fail_request__descriptor, buf_slice(body));

    (void)ctx;
    if (!r)
        return;
    for (uint64_t i = 0; i < r->messages; i++) {
        CLEANUP(buf_done) struct buf empty = BUF_INIT(0);

        if (!rpc_call_send(c, &empty, &e)) {
            fail_with(c, &e);
            return;
        }
    }
    rpc_call_finish(c, (enum rpc_code)r->code, r->text, NULL);
}

static const struct rpc_call_events fail_events = { .message = fail_asked, .closed = on_closed };

static void do_fail(struct rpc_call *c, void *service)
{
    rpc_call_on(c, &fail_events, service);
    rpc_call_want(c);
}

static const struct rpc_method methods[] = {
    { .name = "Unary", .allow = RPC_ALLOW_ANYONE, .unary = do_unary },
    { .name = "ClientStream", .allow = RPC_ALLOW_ANYONE, .open = do_client_stream, .client_streams = true },
    { .name = "ServerStream", .allow = RPC_ALLOW_ANYONE, .open = do_server_stream, .server_streams = true },
    { .name = "Bidi",
      .allow = RPC_ALLOW_ANYONE,
      .open = do_bidi,
      .client_streams = true,
      .server_streams = true },
    { .name = "Sleep", .allow = RPC_ALLOW_ANYONE, .unary = do_sleep },
    { .name = "Fail", .allow = RPC_ALLOW_ANYONE, .open = do_fail, .server_streams = true },
    { .name = "Metadata", .allow = RPC_ALLOW_ANYONE, .unary = do_metadata },
    { .name = "Big", .allow = RPC_ALLOW_ANYONE, .unary = do_big },
    { .name = "Counters", .allow = RPC_ALLOW_ANYONE, .unary = do_counters },
};

static const struct rpc_service service_table = { "test.Echo", methods, ARRAY_LEN(methods) };

bool echo_add(struct rpc_server *server, struct echo *echo, struct err *e)
{
    return rpc_server_add(server, &service_table, echo, e);
}
