#include "lf_service.h"

#include "base/log.h"
#include "base/mem.h"
#include "journal/record.h"
#include "proto/log.pb-c.h"
#include "proto/pb.h"
#include "rpc/answer.h"

/* An event on its way to the disk, and the call that waits for it. */
struct pending {
    struct rpc_call *call; /* NULL: its peer has gone */
    bool flushed;
};

static void pending_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                           void *ctx)
{
    struct pending *p = ctx;

    (void)c;
    (void)status;
    (void)trailers;
    p->call = NULL;
    if (p->flushed)
        mem_free(p);
}

static const struct rpc_call_events pending_events = { .closed = pending_closed };

static void on_flushed(bool ok, void *ctx)
{
    struct pending *p = ctx;

    p->flushed = true;
    if (!p->call) {
        mem_free(p);
        return;
    }
    if (ok)
        rpc_answer_empty(p->call);
    else
        rpc_call_finish(p->call, RPC_UNAVAILABLE, "the event could not be brought to the disk", NULL);
}

/* A peer gets the kind and a sentence; the log gets the whole story. */
static void refuse(struct rpc_call *c, const struct err *e)
{
    bool invalid = e->kind == ERR_KIND_INVALID;

    log_warn("a record was not taken: %s", err_text(e));
    if (invalid)
        rpc_call_finish(c, RPC_INVALID_ARGUMENT, err_text(e), NULL);
    else
        rpc_call_finish(c, RPC_UNAVAILABLE, "the log forwarder has no room for it now", NULL);
}

static int level_of(const char *name)
{
    struct err e = ERR_INIT;
    int level;

    return log_level_parse(slice_of_str(name), &level, &e) ? level : LOG_INFO;
}

/* What has been checked goes on as it came, byte by byte. */
static bool append(struct outbox *o, enum record_kind kind, int level, struct slice entry, struct err *e)
{
    CLEANUP(buf_done) struct buf payload = BUF_INIT(OUTBOX_RECORD_MAX);

    return record_wrap(kind, entry, &payload, e) &&
           outbox_append(o, kind == RECORD_EVENT ? OUTBOX_EVENT : OUTBOX_LOG, level, buf_slice(&payload),
                         NULL, e);
}

static void send_log(struct rpc_call *c, struct slice request, void *service)
{
    CLEANUP(pb_done) Log__LogEntry *entry = NULL;
    struct err e = ERR_INIT;

    entry = (Log__LogEntry *)pb_decode(&log__log_entry__descriptor, request, NULL, &e);
    if (!entry || !append(service, RECORD_LOG, level_of(entry->level), request, &e)) {
        refuse(c, &e);
        return;
    }
    rpc_answer_empty(c);
}

static void send_event(struct rpc_call *c, struct slice request, void *service)
{
    CLEANUP(pb_done) Log__EventEntry *entry = NULL;
    struct pending *p = NULL;
    struct err e = ERR_INIT;

    entry = (Log__EventEntry *)pb_decode(&log__event_entry__descriptor, request, NULL, &e);
    if (!entry || !append(service, RECORD_EVENT, 0, request, &e)) {
        refuse(c, &e);
        return;
    }
    p = mem_new(sizeof(*p), &e);
    if (!p || !outbox_flush(service, on_flushed, p, &e)) {
        mem_free(p);
        refuse(c, &e);
        return;
    }
    p->call = c;
    rpc_call_on(c, &pending_events, p);
}

static const struct rpc_method methods[] = {
    { .name = "SendLog", .allow = RPC_ALLOW_ANYONE, .unary = send_log },
    { .name = "SendEvent", .allow = RPC_ALLOW_ANYONE, .unary = send_event },
};

const struct rpc_service lf_collector = { "log.LogCollector", methods, ARRAY_LEN(methods) };
