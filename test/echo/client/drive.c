#include "echo/client/drive.h"

#include <signal.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "proto/pb.h"
#include "rpc/client.h"
#include "test/echo.pb-c.h"

#define RESULTS_SHOWN 100 /* calls whose outcome is listed */

struct run {
    const struct settings *set;
    uv_loop_t loop;
    uv_timer_t pause;
    struct tls_client *tls;
    struct rpc_client *client;
    struct rpc_md md;
    char method[256];
    struct buf request; /* one encoded message */
    uint64_t sends;     /* how often it is sent per call */
    uint64_t started, ended, failed;
    uint64_t began_ns;
    uint64_t *took_ns; /* of each call */
    json_t *results;
};

struct one {
    struct run *run;
    struct rpc_call *call;
    uv_timer_t cancel;
    uint64_t sent, messages, bytes, initials;
    uint64_t began_ns;
    struct hash *hash;
    json_t *initial, *entries, *summary;
};

static void begin_calls(struct run *r);

/* ------------------------------------------------------------------- requests */

static bool encode(struct run *r, const void *message, struct err *e)
{
    const ProtobufCMessage *m = message;

    r->request.max = protobuf_c_message_get_packed_size(m);
    return pb_encode(m, &r->request, e);
}

static bool make_payload(struct run *r, struct err *e)
{
    Test__Payload p = TEST__PAYLOAD__INIT;
    CLEANUP(buf_done) struct buf data = BUF_INIT((size_t)r->set->size);
    struct slice text = slice_of_str(r->set->data);
    uint8_t *at;

    if (!r->set->data) {
        if (!buf_reserve(&data, data.max, &at, e))
            return false;
        for (size_t i = 0; i < data.max; i++)
            at[i] = (uint8_t)(i % 251);
        buf_extend(&data, data.max);
        text = buf_slice(&data);
    }
    p.data = pb_bytes(text);
    return encode(r, &p, e);
}

static bool make_request(struct run *r, struct err *e)
{
    const struct settings *set = r->set;
    Test__StreamRequest stream = TEST__STREAM_REQUEST__INIT;
    Test__SleepRequest sleep_for = TEST__SLEEP_REQUEST__INIT;
    Test__FailRequest fail = TEST__FAIL_REQUEST__INIT;
    Test__BigRequest big = TEST__BIG_REQUEST__INIT;

    r->sends = 1;
    if (strcmp(set->method, "ServerStream") == 0) {
        stream.count = set->count;
        stream.size = set->size;
        stream.interval_ms = set->interval_ms;
        return encode(r, &stream, e);
    }
    if (strcmp(set->method, "Sleep") == 0) {
        sleep_for.ms = set->sleep_ms;
        return encode(r, &sleep_for, e);
    }
    if (strcmp(set->method, "Fail") == 0) {
        fail.code = (uint32_t)set->code;
        fail.text = (char *)(uintptr_t)set->text;
        fail.messages = set->messages;
        return encode(r, &fail, e);
    }
    if (strcmp(set->method, "Big") == 0) {
        big.size = set->size;
        return encode(r, &big, e);
    }
    if (strcmp(set->method, "ClientStream") == 0 || strcmp(set->method, "Bidi") == 0)
        r->sends = set->count;
    return make_payload(r, e);
}

static bool make_md(struct run *r, struct err *e)
{
    for (size_t i = 0; i < r->set->md.count; i++) {
        const char *text = r->set->md.at[i];
        const char *cut = strchr(text, '=');
        CLEANUP(buf_done) struct buf value = BUF_INIT(64 * 1024);
        CLEANUP(mem_done) char *key = cut ? mem_dup_slice(slice_of(text, (size_t)(cut - text)), e) : NULL;

        if (!cut)
            return err_fail(e, ERR_KIND_INVALID, "-md '%s': write key=value", text);
        if (!key)
            return false;

        bool binary = slice_ends(slice_of_str(key), "-bin");

        if (!(binary ? hex_decode(slice_of_str(cut + 1), &value, e) : buf_append_str(&value, cut + 1, e)) ||
            !rpc_md_add(&r->md, key, buf_slice(&value), e))
            return err_wrap(e, "-md");
    }
    return true;
}

/* -------------------------------------------------------------------- results */

static json_t *json_text(struct slice s)
{
    return json_stringn_nocheck(s.len ? (const char *)s.at : "", s.len);
}

static json_t *json_hex(struct slice s)
{
    struct err e = ERR_INIT;
    CLEANUP(mem_done) char *hex = mem_new(2 * s.len + 1, &e);

    if (!hex)
        return json_null();
    hex_encode(s, hex);
    return json_string(hex);
}

/* {"key": ["value", ...]}; what may hold any bytes is in hex. */
static void add_value(json_t *object, const char *key, struct slice value)
{
    json_t *list = json_object_get(object, key);

    if (!list) {
        list = json_array();
        json_object_set_new(object, key, list);
    }
    json_array_append_new(list, slice_ends(slice_of_str(key), "-bin") ? json_hex(value) : json_text(value));
}

static json_t *json_md(const struct rpc_md *md)
{
    json_t *object = json_object();

    for (size_t i = 0; i < md->count; i++)
        add_value(object, md->entries[i].key, buf_slice(&md->entries[i].value));
    return object;
}

static uint64_t now_ns(void)
{
    return uv_hrtime();
}

static void record(struct one *o, const struct rpc_status *status, const struct rpc_md *trailers)
{
    struct run *r = o->run;
    uint8_t digest[HASH_SHA256_LEN];
    struct err e = ERR_INIT;

    if (json_array_size(r->results) >= RESULTS_SHOWN)
        return;

    json_t *result = json_pack("{s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:f}", "code", (int)status->code, "name",
                               rpc_code_name(status->code), "message", status->message, "messages",
                               (json_int_t)o->messages, "bytes", (json_int_t)o->bytes, "sent",
                               (json_int_t)o->sent, "initials", (json_int_t)o->initials, "ms",
                               (double)(now_ns() - o->began_ns) / 1e6);

    if (hash_finish(o->hash, digest, &e))
        json_object_set_new(result, "sha256", json_hex(slice_of(digest, sizeof(digest))));
    json_object_set(result, "initial", o->initial);
    json_object_set_new(result, "trailers", json_md(trailers));
    if (o->entries)
        json_object_set(result, "entries", o->entries);
    if (o->summary)
        json_object_set(result, "summary", o->summary);
    json_array_append_new(r->results, result);
}

/* ------------------------------------------------------------------- one call */

static void free_one(uv_handle_t *h)
{
    struct one *o = h->data;

    hash_free(o->hash);
    json_decref(o->initial);
    json_decref(o->entries);
    json_decref(o->summary);
    mem_free(o);
}

static void on_initial(struct rpc_call *c, const struct rpc_md *md, void *ctx)
{
    struct one *o = ctx;

    (void)c;
    o->initials++;
    json_decref(o->initial);
    o->initial = json_md(md);
}

static void take_entries(struct one *o, struct slice body)
{
    struct err e = ERR_INIT;
    CLEANUP(pb_done)
    Test__MetadataList *list = (Test__MetadataList *)pb_decode(&test__metadata_list__descriptor, body, NULL,
                                                               &e);

    if (!list)
        return;
    o->entries = json_object();
    for (size_t i = 0; i < list->n_entries; i++)
        add_value(o->entries, list->entries[i]->key, pb_slice(list->entries[i]->value));
}

static void take_summary(struct one *o, struct slice body)
{
    struct err e = ERR_INIT;
    CLEANUP(pb_done)
    Test__Summary *s = (Test__Summary *)pb_decode(&test__summary__descriptor, body, NULL, &e);

    if (!s)
        return;
    o->summary = json_pack("{s:I, s:I}", "count", (json_int_t)s->count, "bytes", (json_int_t)s->bytes);
    json_object_set_new(o->summary, "sha256", json_hex(pb_slice(s->sha256)));
}

static void take_counters(struct one *o, struct slice body)
{
    struct err e = ERR_INIT;
    CLEANUP(pb_done)
    Test__CountersReply *n = (Test__CountersReply *)pb_decode(&test__counters_reply__descriptor, body, NULL,
                                                              &e);

    if (n)
        o->summary = json_pack("{s:I, s:I, s:I}", "cancelled", (json_int_t)n->cancelled, "deadline",
                               (json_int_t)n->deadline, "finished", (json_int_t)n->finished);
}

static void take_payload(struct one *o, struct slice body)
{
    struct err e = ERR_INIT;
    CLEANUP(pb_done)
    Test__Payload *p = (Test__Payload *)pb_decode(&test__payload__descriptor, body, NULL, &e);

    if (!p)
        return;
    o->bytes += p->data.len;
    if (!hash_add(o->hash, pb_slice(p->data), &e))
        fprintf(stderr, "rpc-echo-client: %s\n", err_text(&e));
}

static void on_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct one *o = ctx;
    const struct settings *set = o->run->set;

    o->messages++;
    if (strcmp(set->method, "Metadata") == 0)
        take_entries(o, buf_slice(body));
    else if (strcmp(set->method, "ClientStream") == 0)
        take_summary(o, buf_slice(body));
    else if (strcmp(set->method, "Counters") == 0)
        take_counters(o, buf_slice(body));
    else
        take_payload(o, buf_slice(body));
    if (set->cancel_messages && o->messages == set->cancel_messages)
        rpc_call_cancel(c);
    rpc_call_want(c);
}

static void send_more(struct rpc_call *c, void *ctx)
{
    struct one *o = ctx;
    struct run *r = o->run;
    struct err e = ERR_INIT;

    while (o->sent < r->sends && rpc_call_can_send(c)) {
        CLEANUP(buf_done) struct buf body = BUF_INIT(r->request.len);

        if (!buf_append(&body, buf_slice(&r->request), &e) || !rpc_call_send(c, &body, &e))
            return; /* `closed` tells why */
        o->sent++;
    }
    if (o->sent == r->sends)
        rpc_call_send_end(c);
}

static void next_call(uv_timer_t *t)
{
    begin_calls(t->data);
}

static void on_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                      void *ctx)
{
    struct one *o = ctx;
    struct run *r = o->run;

    (void)c;
    record(o, status, trailers);
    r->took_ns[r->ended++] = now_ns() - o->began_ns;
    r->failed += status->code != RPC_OK;
    uv_close((uv_handle_t *)&o->cancel, free_one);
    if (r->ended == r->set->repeat) {
        uv_close((uv_handle_t *)&r->pause, NULL);
        rpc_client_free(r->client, NULL, NULL);
    } else if (r->set->pause_ms > 0) {
        uv_timer_start(&r->pause, next_call, r->set->pause_ms, 0);
    } else {
        begin_calls(r);
    }
}

static const struct rpc_call_events events = {
    .initial = on_initial,
    .message = on_message,
    .writable = send_more,
    .closed = on_closed,
};

static void on_cancel(uv_timer_t *t)
{
    struct one *o = t->data;

    rpc_call_cancel(o->call);
}

static bool begin_call(struct run *r, struct err *e)
{
    struct one *o = mem_new(sizeof(*o), e);

    if (!o)
        return false;
    o->run = r;
    o->hash = hash_new(HASH_SHA256, e);
    o->initial = json_object();
    o->began_ns = now_ns();
    if (!o->hash ||
        !rpc_client_call(r->client, r->method, &r->md, r->set->timeout_ms, &events, o, &o->call, e)) {
        hash_free(o->hash);
        json_decref(o->initial);
        mem_free(o);
        return false;
    }
    uv_timer_init(&r->loop, &o->cancel);
    o->cancel.data = o;
    if (r->set->cancel_ms)
        uv_timer_start(&o->cancel, on_cancel, r->set->cancel_ms, 0);
    rpc_call_want(o->call);
    send_more(o->call, o);
    return true;
}

static void begin_calls(struct run *r)
{
    struct err e = ERR_INIT;

    while (r->started < r->set->repeat && r->started - r->ended < r->set->parallel) {
        if (!begin_call(r, &e)) {
            fprintf(stderr, "rpc-echo-client: %s\n", err_text(&e));
            exit(1);
        }
        r->started++;
        if (r->set->pause_ms > 0)
            break;
    }
}

/* ------------------------------------------------------------------- all calls */

static bool open_client(struct run *r, struct err *e)
{
    const struct settings *set = r->set;
    const struct tls_client_config tls = { set->ca, set->cert, set->key };

    if ((set->use_tls || set->ca) && !tls_client_new(&tls, &r->tls, e))
        return false;

    const struct rpc_client_config cfg = {
        .target = set->target,
        .tls = r->tls,
        .server_name = set->server_name,
        .http_proxy = set->proxy,
        .message_max = (size_t)set->message_max,
        .connect_timeout_ms = set->connect_ms,
        .keepalive_ms = set->keepalive_ms,
        .keepalive_timeout_ms = set->keepalive_timeout_ms,
    };

    return rpc_client_new(&r->loop, &cfg, &r->client, e);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void print(struct run *r)
{
    uint64_t total = now_ns() - r->began_ns;

    qsort(r->took_ns, (size_t)r->ended, sizeof(*r->took_ns), compare);

    json_t *all = json_pack("{s:I, s:I, s:f, s:f, s:f, s:o}", "calls", (json_int_t)r->ended, "failed",
                            (json_int_t)r->failed, "seconds", (double)total / 1e9, "p50_us",
                            (double)r->took_ns[r->ended / 2] / 1e3, "p99_us",
                            (double)r->took_ns[r->ended * 99 / 100] / 1e3, "results", r->results);

    json_dumpf(all, stdout, JSON_COMPACT | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(all);
}

static void run_done(struct run *r)
{
    uv_loop_close(&r->loop);
    tls_client_free(r->tls);
    rpc_md_done(&r->md);
    buf_done(&r->request);
    mem_free(r->took_ns);
}

int drive(const struct settings *set)
{
    CLEANUP(run_done) struct run r = { .set = set, .md = RPC_MD_INIT, .request = BUF_INIT(0) };
    struct err e = ERR_INIT;

    snprintf(r.method, sizeof(r.method), "%s%s", set->method[0] == '/' ? "" : "/test.Echo/", set->method);
    uv_loop_init(&r.loop);
    signal(SIGPIPE, SIG_IGN);
    r.took_ns = mem_new_array((size_t)set->repeat, sizeof(*r.took_ns), &e);
    if (!r.took_ns || !make_md(&r, &e) || !make_request(&r, &e) || !open_client(&r, &e)) {
        fprintf(stderr, "rpc-echo-client: %s\n", err_text(&e));
        return 2;
    }
    r.results = json_array();
    uv_timer_init(&r.loop, &r.pause);
    r.pause.data = &r;
    r.began_ns = now_ns();
    begin_calls(&r);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    print(&r);
    return r.failed ? 1 : 0;
}
