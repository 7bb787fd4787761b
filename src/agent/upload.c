#include "agent/upload_int.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "agent/upload.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

#define REQUIREMENTS_MAX ((uint64_t)16 * 1024 * 1024)
#define WRITEBACK_EVERY ((uint64_t)8 * 1024 * 1024)
#define CACHED_MAX ((uint64_t)64 * 1024 * 1024) /* of a file, for whoever reads it next */

/* Messages that wait for the pool: no more is asked for when so many bytes do. */
#define BATCH_BYTES ((size_t)3 * 1024 * 1024)

/* How often silence is looked for within the time of silence that is borne. */
#define STALL_LOOKS 8

/* Of all uploads together; while that much waits, nobody is asked for more. */
#define HELD_MAX ((size_t)16 * 1024 * 1024)

static const char *method_of(const struct upload *u)
{
    return u->kind == FSM_RPC_ALGO ? "Algo" : "Data";
}

/* ------------------------------------------------------------------ answers */

static void batch_done(struct upload_batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        buf_done(&b->pieces[i].body);
    b->count = 0;
    b->bytes = 0;
}

/* What waits for the pool gets done whatever callers do, so a slow one never keeps others out. */
static size_t held(const struct comp *c)
{
    size_t sum = 0;

    for (const struct upload *u = c->uploads; u; u = u->next)
        sum += u->in_pool.bytes + u->coming.bytes;
    return sum;
}

static void want(struct upload *u)
{
    u->thirsty = held(u->c) >= HELD_MAX;
    if (!u->thirsty)
        rpc_call_want(u->call);
}

static void want_those_who_wait(struct comp *c)
{
    for (struct upload *u = c->uploads; u; u = u->next)
        if (u->thirsty && u->call && !u->answered)
            want(u);
}

void upload_free(struct upload *u)
{
    struct upload **at = &u->c->uploads;
    struct comp *c = u->c;

    while (*at != u)
        at = &(*at)->next;
    *at = u->next;
    admit_leave(&c->uploads_admitted, &u->seat);
    if (!c->uploads)
        uv_timer_stop(&c->stall_timer);
    stage_file_done(&u->file);
    stage_file_done(&u->extra);
    hash_free(u->hash);
    batch_done(&u->in_pool);
    batch_done(&u->coming);
    mem_free(u);
    want_those_who_wait(c);
    comp_task_end(c);
}

void upload_fail(struct upload *u, enum rpc_code code, const char *text)
{
    if (u->answered)
        return;
    u->answered = true;
    snprintf(u->outcome, sizeof(u->outcome), "%s", text);
    rpc_call_finish(u->call, code, text, NULL);
    if (u->working)
        return;
    batch_done(&u->coming);
    want_those_who_wait(u->c);
}

void upload_fail_err(struct upload *u, enum rpc_code code, const struct err *e)
{
    upload_fail(u, code, err_text(e));
}

/* ------------------------------------------------------------------ silence */

static void fail_stalled(struct upload *u, uint64_t limit_ms)
{
    char limit[32], came[24], text[160];

    text_format_duration_ms(limit_ms, limit);
    text_format_bytes(rpc_call_bytes_received(u->call), came);
    snprintf(
        text, sizeof(text),
        "the upload has stalled: after %s no byte came for %s (AGENT_UPLOAD_IDLE_TIMEOUT); send it again",
        came, limit);
    upload_fail(u, RPC_DEADLINE_EXCEEDED, text);
}

static void look_for_stalls(uv_timer_t *timer)
{
    struct comp *c = timer->data;
    uint64_t limit = c->d.cfg->upload_idle_ms, now = comp_now_ms(c);

    for (struct upload *u = c->uploads, *next; u; u = next) {
        next = u->next;
        if (u->call && !u->answered &&
            stall_look(&u->stall, now, rpc_call_bytes_received(u->call),
                       rpc_call_is_waiting(u->call) && !u->half_closed, limit))
            fail_stalled(u, limit);
    }
}

static void watch_for_stalls(struct comp *c)
{
    uint64_t step = c->d.cfg->upload_idle_ms / STALL_LOOKS;

    if (c->d.cfg->upload_idle_ms > 0 && !uv_is_active((uv_handle_t *)&c->stall_timer))
        uv_timer_start(&c->stall_timer, look_for_stalls, step + 1, step + 1);
}

void upload_abort_all(struct comp *c, const char *why)
{
    for (struct upload *u = c->uploads; u; u = u->next)
        if (u->call)
            upload_fail(u, RPC_ABORTED, why);
}

/* ------------------------------------------------------------------ as it comes */

static bool store_piece(struct upload *u, const struct upload_piece *p, struct err *e)
{
    if (u->kind == FSM_RPC_ALGO && p->aux.len > 0 && !stage_file_write(&u->extra, p->aux, e))
        return err_wrap(e, "error staging requirements file: writing file \"%s/%s\"", u->c->work.path,
                        WORK_REQUIREMENTS);
    if (stage_file_write(&u->file, p->data, e))
        return true;
    if (u->kind == FSM_RPC_ALGO)
        return err_wrap(e, "error staging algorithm file: writing file \"%s/%s\"", u->c->work.path,
                        WORK_ALGO);
    return err_wrap(e, "error writing dataset to file");
}

/*
 * The disk starts early. Of a large file, what is on disk leaves memory: the
 * pages are used again for what comes next, which is faster than to take ever
 * new ones, and a guest keeps its memory. What went wrong on the way is told
 * here and nowhere else; that a file system can't do it at all is no fault.
 */
static bool write_back(struct upload *u, struct err *e)
{
    const unsigned whole_way = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                               SYNC_FILE_RANGE_WAIT_AFTER;
    off_t begun = (off_t)u->write_begun, mid = (off_t)u->written_back, end = (off_t)u->file.len;

    (void)!sync_file_range(u->file.fd, mid, end - mid, SYNC_FILE_RANGE_WRITE);
    if (u->write_begun >= CACHED_MAX) {
        if (sync_file_range(u->file.fd, begun, mid - begun, whole_way) != 0 &&
            (errno == EIO || errno == ENOSPC || errno == EDQUOT))
            return err_fail_os(e, "flush");
        (void)!posix_fadvise(u->file.fd, begun, mid - begun, POSIX_FADV_DONTNEED);
    }
    u->write_begun = u->written_back;
    u->written_back = u->file.len;
    return true;
}

static bool store_run(void *ctx, struct err *e)
{
    struct upload *u = ctx;

    for (size_t i = 0; i < u->in_pool.count; i++)
        if (!store_piece(u, &u->in_pool.pieces[i], e))
            return false;
    return u->file.len - u->written_back < WRITEBACK_EVERY || write_back(u, e) ||
           err_wrap(e, "error writing dataset to file");
}

static bool hash_run(void *ctx, struct err *e)
{
    struct upload *u = ctx;

    for (size_t i = 0; i < u->in_pool.count; i++)
        if (!hash_add(u->hash, u->in_pool.pieces[i].data, e))
            return false;
    return true;
}

static void store_start(struct upload *u);

static void half_done(void *ctx, bool ok, struct err *e)
{
    struct upload *u = ctx;

    if (!ok && u->half_failure.kind == ERR_KIND_NONE)
        u->half_failure = *e;
    if (--u->halves > 0)
        return;
    u->working = false;
    batch_done(&u->in_pool);
    if (u->half_failure.kind != ERR_KIND_NONE)
        upload_fail_err(u, RPC_UNKNOWN, &u->half_failure);
    if (u->answered)
        batch_done(&u->coming);
    want_those_who_wait(u->c);
    if (!u->call) {
        upload_free(u);
        return;
    }
    if (u->answered)
        return;
    if (u->coming.count > 0)
        store_start(u);
    else if (u->half_closed)
        upload_whole(u);
}

static void store_start(struct upload *u)
{
    u->in_pool = u->coming; /* what it held was done with */
    u->coming.count = 0;
    u->coming.bytes = 0;
    u->working = true;
    u->halves = 2;
    job_start(u->c->d.loop, &u->hashing, hash_run, half_done, u);
    job_start(u->c->d.loop, &u->job, store_run, half_done, u);
    want(u);
}

/* The last name that is not empty counts; one that was signed can't change. */
static bool name_take(struct upload *u, struct slice name, struct err *e, struct rpc_status *denied)
{
    if (name.len > 0 && !slice_equal_str(name, u->filename)) {
        if (u->named && u->grant.bound)
            return err_fail(e, ERR_KIND_INVALID, "filename: it changes within the upload");
        if (!stage_name_check(name, e))
            return err_wrap(e, "filename");
        memcpy(u->filename, name.at, name.len);
        u->filename[name.len] = '\0';
    }
    u->named = true;
    if (auth_grant_filename(u->c->auth, &u->proof, slice_of_str(u->filename), &u->grant, denied) &&
        admit_prove(&u->c->uploads_admitted, &u->seat, &u->grant, denied))
        return true;
    return err_fail(e, ERR_KIND_UNVERIFIED, "%s", denied->message);
}

static bool take(struct upload *u, struct upload_piece *p, struct rpc_status *denied, struct err *e)
{
    if (!upload_parse(buf_slice(&p->body), &p->data, &p->aux, e))
        return false;
    if (u->kind == FSM_RPC_DATA)
        return name_take(u, p->aux, e, denied);
    u->requirements += p->aux.len;
    if (u->requirements <= REQUIREMENTS_MAX)
        return true;
    denied->code = RPC_RESOURCE_EXHAUSTED;
    return err_fail(e, ERR_KIND_LIMIT, "requirements: more than 16 MiB");
}

static void on_message(struct rpc_call *call, struct buf *body, void *ctx)
{
    struct rpc_status denied = { RPC_INVALID_ARGUMENT, "" };
    struct upload *u = ctx;
    struct upload_batch *b = &u->coming;
    struct upload_piece *p = &b->pieces[b->count];
    struct err e = ERR_INIT;

    (void)call;
    if (u->answered)
        return;
    *p = (struct upload_piece){ .body = BUF_INIT(body->max) };
    buf_move(&p->body, body);
    b->count++;
    b->bytes += p->body.len;
    if (!take(u, p, &denied, &e)) {
        upload_fail_err(u, denied.code, &e);
        return;
    }
    if (!u->working)
        store_start(u);
    else if (b->count < UPLOAD_BATCH_COUNT && b->bytes < BATCH_BYTES)
        want(u);
}

static void on_half_closed(struct rpc_call *call, void *ctx)
{
    struct upload *u = ctx;

    (void)call;
    u->half_closed = true;
    if (!u->working && !u->answered)
        upload_whole(u);
}

static void on_closed(struct rpc_call *call, const struct rpc_status *status, const struct rpc_md *trailers,
                      void *ctx)
{
    struct upload *u = ctx;

    (void)call;
    (void)trailers;
    if (!u->answered)
        snprintf(u->outcome, sizeof(u->outcome), "rpc error: code = %s desc = %s",
                 rpc_code_name(status->code), status->message);
    u->answered = true;
    comp_log_method(u->c, method_of(u), u->started_ms, u->outcome);
    u->call = NULL;
    if (!u->working)
        upload_free(u);
}

/* ------------------------------------------------------------------ begin */

static bool begin(struct upload *u, struct err *e)
{
    CLEANUP(fd_done) int datasets = -1;
    struct slice text;

    u->hash = hash_new(HASH_SHA3_256, e);
    if (!u->hash)
        return false;
    if (u->kind == FSM_RPC_ALGO)
        return (stage_file_begin(u->c->work.fd, &u->file, e) &&
                stage_file_begin(u->c->work.fd, &u->extra, e)) ||
               err_wrap(e, "error staging algorithm file: writing file \"%s/%s\"", u->c->work.path,
                        WORK_ALGO);
    u->decompress = rpc_md_get(rpc_call_metadata(u->call), "decompress", 0, &text) &&
                    slice_equal_str(text, "true");
    /* An archive is not unpacked where it lies. */
    if (!work_open_datasets(&u->c->work, &datasets, e))
        return false;
    return stage_file_begin(u->decompress ? u->c->work.fd : datasets, &u->file, e) ||
           err_wrap(e, "error creating dataset file");
}

/* Whoever has not proven himself for longest makes way for one more of his kind. */
static void make_way(struct comp *c)
{
    const struct admit_seat *seat = admit_in_the_way(&c->uploads_admitted);

    for (struct upload *u = c->uploads; seat && u; u = u->next)
        if (&u->seat == seat) {
            admit_leave(&c->uploads_admitted, &u->seat);
            upload_fail(
                u, RPC_RESOURCE_EXHAUSTED,
                "the upload gave way to another: too many wait for their first message, by which their "
                "signature can be checked; send it again");
            return;
        }
}

static void upload_open(struct rpc_call *call, struct comp *c, enum fsm_rpc kind)
{
    static const struct rpc_call_events events = { .message = on_message,
                                                   .half_closed = on_half_closed,
                                                   .closed = on_closed };
    struct err e = ERR_INIT;
    struct upload *u = mem_new(sizeof(*u), &e);

    if (!u || c->granted_call != call) {
        mem_free(u);
        rpc_call_finish(call, RPC_INTERNAL, "the call was not authenticated", NULL);
        return;
    }
    *u = (struct upload){ .c = c,
                          .next = c->uploads,
                          .call = call,
                          .kind = kind,
                          .grant = c->granted,
                          .started_ms = comp_now_ms(c),
                          .stall = stall_begin(comp_now_ms(c)),
                          .half_failure = ERR_INIT,
                          .file = STAGE_FILE_INIT,
                          .extra = STAGE_FILE_INIT };
    c->granted_call = NULL;
    c->uploads = u;
    admit_take(&c->uploads_admitted, &u->seat, &u->grant);
    comp_task_begin(c);
    watch_for_stalls(c);
    auth_proof_read(rpc_call_metadata(call), &u->proof);
    rpc_call_on(call, &events, u);
    if (!begin(u, &e)) {
        upload_fail_err(u, RPC_UNKNOWN, &e);
        return;
    }
    rpc_call_want(call);
    make_way(c);
}

void upload_open_algo(struct rpc_call *call, void *service)
{
    upload_open(call, service, FSM_RPC_ALGO);
}

void upload_open_data(struct rpc_call *call, void *service)
{
    upload_open(call, service, FSM_RPC_DATA);
}
