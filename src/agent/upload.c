#include "agent/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "agent/comp_int.h"
#include "agent/match.h"
#include "agent/stall.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "base/text.h"
#include "base/zip.h"
#include "rpc/answer.h"

#define REQUIREMENTS_MAX ((uint64_t)16 * 1024 * 1024)
#define WRITEBACK_EVERY ((uint64_t)8 * 1024 * 1024)
#define CACHED_MAX ((uint64_t)64 * 1024 * 1024) /* of a file, for whoever reads it next */
#define NAME_MAX_LEN 255

/* Messages that wait for the pool: no more is asked for when these many bytes or messages do. */
#define BATCH_BYTES ((size_t)3 * 1024 * 1024)
#define BATCH_COUNT 16

/* How often silence is looked for within the time of silence that is borne. */
#define STALL_LOOKS 8

/* Of all uploads together; while that much waits, nobody is asked for more. */
#define HELD_MAX ((size_t)16 * 1024 * 1024)

struct piece {
    struct buf body;
    struct slice data, aux; /* in body: field 1, and requirements */
};

struct batch {
    struct piece pieces[BATCH_COUNT];
    size_t count;
    size_t bytes;
};

/*
 * One Algo or Data call. What has come is hashed and written in the pool, both
 * at once, while more arrives; the two batches take turns, so memory is bounded.
 */
struct upload {
    struct comp *c;
    struct upload *next;
    struct rpc_call *call; /* NULL once it has closed */
    enum fsm_rpc kind;
    struct auth_grant grant;
    struct auth_proof proof; /* borrows from the call's metadata */
    struct admit_seat seat;
    struct stall stall;
    bool decompress;
    uint64_t started_ms;
    struct stage_file file;
    struct stage_file extra; /* requirements */
    struct hash *hash;
    uint64_t written_back; /* bytes whose way to the disk has begun     */
    uint64_t write_begun;  /* of those, where the latest stretch begins */
    char filename[NAME_MAX_LEN + 1];
    uint64_t requirements; /* bytes */
    bool named;            /* the filename of a bound signature is settled */

    struct batch in_pool;
    struct batch coming;
    bool half_closed;
    bool thirsty; /* would ask for more, were there room */
    bool working;
    bool committing; /* and what is committed */
    size_t dataset;
    struct job job;
    struct job hashing;                     /* beside it: neither waits for the other */
    unsigned halves;                        /* of the two that are not done           */
    struct err half_failure;                /* the first one's                        */
    char outcome[RPC_STATUS_TEXT_MAX + 64]; /* why it failed, for the log */
    bool answered;
};

static const char *method_of(const struct upload *u)
{
    return u->kind == FSM_RPC_ALGO ? "Algo" : "Data";
}

/* ------------------------------------------------------------------ answers */

static void batch_done(struct batch *b)
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

static void upload_free(struct upload *u)
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

/* The call is over, whatever the pool still does with its last message. */
static void fail(struct upload *u, enum rpc_code code, const char *text)
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

static void fail_err(struct upload *u, enum rpc_code code, const struct err *e)
{
    fail(u, code, err_text(e));
}

static void succeed(struct upload *u)
{
    if (u->answered)
        return;
    u->answered = true;
    rpc_answer_empty(u->call);
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
    fail(u, RPC_DEADLINE_EXCEEDED, text);
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
            fail(u, RPC_ABORTED, why);
}

/* ------------------------------------------------------------------ whole and checked */

static bool commit_algo(struct upload *u, struct err *e)
{
    if (u->extra.len > 0 && !stage_file_place(&u->extra, WORK_REQUIREMENTS, 0600, true, e))
        return err_wrap(e, "error staging requirements file: writing file \"%s/%s\"", u->c->work.path,
                        WORK_REQUIREMENTS);
    if (!stage_file_place(&u->file, WORK_ALGO, 0700, true, e)) {
        struct err ignored = ERR_INIT;

        (void)!stage_remove_tree(u->c->work.fd, WORK_REQUIREMENTS, &ignored);
        return err_wrap(e, "error staging algorithm file: writing file \"%s/%s\"", u->c->work.path,
                        WORK_ALGO);
    }
    return true;
}

static bool commit_data(struct upload *u, struct err *e)
{
    const char *name = u->c->mf->datasets[u->dataset].filename;
    CLEANUP(fd_done) int datasets = -1;

    if (!u->decompress)
        return stage_file_place(&u->file, *name ? name : u->filename, 0644, false, e) ||
               err_wrap(e, "error creating dataset file");
    if (!work_open_datasets(&u->c->work, &datasets, e))
        return false;
    return zip_unpack(u->file.fd, datasets, NULL, NULL, e) || err_wrap(e, "error decompressing dataset");
}

static bool commit_run(void *ctx, struct err *e)
{
    struct upload *u = ctx;
    CLEANUP(fd_done) int datasets = -1;

    if (u->kind == FSM_RPC_DATA)
        return commit_data(u, e);
    return commit_algo(u, e) && work_open_datasets(&u->c->work, &datasets, e);
}

static void commit_undo(struct upload *u)
{
    if (u->kind == FSM_RPC_ALGO) {
        for (size_t i = 0; i < u->c->algo_arg_count; i++)
            mem_free(u->c->algo_args[i]);
        mem_free(u->c->algo_args);
        mem_free(u->c->algo_type);
        u->c->algo_args = NULL;
        u->c->algo_type = NULL;
        u->c->algo_arg_count = 0;
        u->c->algo = SLOT_PENDING;
    } else {
        u->c->pending[u->dataset] = true;
    }
}

static void commit_done(void *ctx, bool ok, struct err *e)
{
    struct upload *u = ctx;
    struct comp *c = u->c;
    enum fsm_event event = FSM_ALGORITHM_RECEIVED;
    bool due = true;

    u->working = false;
    u->committing = false;
    if (!ok) {
        commit_undo(u);
        if (u->call)
            fail_err(u, RPC_UNKNOWN, e);
    } else if (u->kind == FSM_RPC_ALGO) {
        c->algo = SLOT_RECEIVED;
    } else {
        c->missing--;
        event = FSM_DATA_RECEIVED;
        due = c->missing == 0;
    }
    if (ok && u->call)
        succeed(u);
    if (ok && due && c->ending == END_NONE)
        comp_event(c, event);
    if (!u->call)
        upload_free(u);
}

static void commit_start(struct upload *u)
{
    u->working = true;
    u->committing = true;
    job_start(u->c->d.loop, &u->job, commit_run, commit_done, u);
}

/* What to run it as and with; the manifest's word counts where the caller gave none. */
static bool algo_details(struct upload *u, struct err *e)
{
    const struct rpc_md *md = rpc_call_metadata(u->call);
    struct slice type = SLICE_EMPTY, arg;
    struct comp *c = u->c;
    size_t count = rpc_md_count(md, "algo_args");

    if (!rpc_md_get(md, "algo_type", 0, &type) || type.len == 0)
        type = slice_of_str(*c->mf->algo_type ? c->mf->algo_type : "bin");
    c->algo_type = mem_dup_slice(slice_equal_str(type, "binary") ? slice_of_str("bin") : type, e);
    if (!c->algo_type)
        return false;
    c->algo_args = mem_new_array(count ? count : c->mf->algo_arg_count, sizeof(*c->algo_args), e);
    if (!c->algo_args)
        return false;
    for (size_t i = 0; i < (count ? count : c->mf->algo_arg_count); i++) {
        if (count == 0 || !rpc_md_get(md, "algo_args", i, &arg))
            arg = slice_of_str(c->mf->algo_args[i]);
        c->algo_args[i] = mem_dup_slice(arg, e);
        if (!c->algo_args[i])
            return false;
        c->algo_arg_count = i + 1;
    }
    c->has_requirements = u->extra.len > 0;
    return true;
}

/* AG-6: what was expected, what came, and what it was. */
static void fail_hash(struct upload *u, const char *what, const uint8_t *want, const uint8_t *got)
{
    char want_hex[2 * HASH_SHA3_256_LEN + 1], got_hex[2 * HASH_SHA3_256_LEN + 1];
    struct err e = ERR_INIT;

    hex_encode(slice_of(want, HASH_SHA3_256_LEN), want_hex);
    hex_encode(slice_of(got, HASH_SHA3_256_LEN), got_hex);
    err_fail(&e, ERR_KIND_UNVERIFIED,
             "malformed data, hash does not match manifest: SHA3-256 of %s: expected %s, got %s", what,
             want_hex, got_hex);
    fail_err(u, RPC_UNKNOWN, &e);
}

static void fail_name(struct upload *u, const char *want)
{
    struct err e = ERR_INIT;

    err_fail(&e, ERR_KIND_UNVERIFIED,
             "malformed data, filename does not match manifest: expected '%s', got '%s'", want, u->filename);
    fail_err(u, RPC_UNKNOWN, &e);
}

/* What has been received is waited for no longer, so whoever sends it twice is told the same. */
static void fail_undeclared(struct upload *u, const uint8_t *got)
{
    char hex[2 * HASH_SHA3_256_LEN + 1];
    struct err e = ERR_INIT;

    hex_encode(slice_of(got, HASH_SHA3_256_LEN), hex);
    err_fail(&e, ERR_KIND_UNVERIFIED,
             "dataset not declared in computation manifest, or received already: none of yours that is "
             "still waited for has the name '%s' or the SHA3-256 %s",
             u->filename, hex);
    fail_err(u, RPC_UNKNOWN, &e);
}

static void algo_whole(struct upload *u, const uint8_t *hash)
{
    struct comp *c = u->c;
    struct err e = ERR_INIT;

    if (!ct_equal(slice_of(hash, HASH_SHA3_256_LEN), slice_of(c->mf->algo_hash, HASH_SHA3_256_LEN))) {
        fail_hash(u, "the algorithm", c->mf->algo_hash, hash);
        return;
    }
    if (c->algo != SLOT_PENDING) {
        fail(u, RPC_UNKNOWN, "all expected manifest Items have been received");
        return;
    }
    c->algo = SLOT_COMMITTING;
    if (!algo_details(u, &e)) {
        commit_undo(u);
        fail_err(u, RPC_UNKNOWN, &e);
        return;
    }
    commit_start(u);
}

/* An unnamed dataset takes the name it came with, unless that is another's. */
static bool name_usable(struct upload *u, struct err *e)
{
    const struct mf *m = u->c->mf;

    if (*m->datasets[u->dataset].filename || u->decompress)
        return true;
    if (!*u->filename)
        return err_fail(e, ERR_KIND_INVALID,
                        "error creating dataset file: neither manifest nor upload names it");
    for (size_t i = 0; i < m->dataset_count; i++)
        if (strcmp(m->datasets[i].filename, u->filename) == 0)
            return err_fail(e, ERR_KIND_INVALID,
                            "error creating dataset file: '%s' is the name of another dataset", u->filename);
    return true;
}

static void data_whole(struct upload *u, const uint8_t *hash)
{
    struct comp *c = u->c;
    struct err e = ERR_INIT;
    char what[NAME_MAX_LEN + 16];

    snprintf(what, sizeof(what), "dataset '%s'", u->filename);
    if (u->grant.bound &&
        !ct_equal(slice_of(hash, HASH_SHA3_256_LEN), slice_of(u->grant.hash, HASH_SHA3_256_LEN))) {
        fail_hash(u, what, u->grant.hash, hash);
        return;
    }
    switch (
        match_dataset(c->mf, c->auth, c->pending, &u->grant, hash, slice_of_str(u->filename), &u->dataset)) {
    case MATCH_NONE_PENDING: fail(u, RPC_UNKNOWN, "all expected manifest Items have been received"); return;
    case MATCH_WRONG_NAME: fail_name(u, c->mf->datasets[u->dataset].filename); return;
    case MATCH_WRONG_HASH: fail_hash(u, what, c->mf->datasets[u->dataset].hash, hash); return;
    case MATCH_NOT_YOURS:
        fail(u, RPC_PERMISSION_DENIED, "this dataset belongs to another data provider of the manifest");
        return;
    case MATCH_UNDECLARED: fail_undeclared(u, hash); return;
    case MATCH_FOUND: break;
    }
    if (!name_usable(u, &e)) {
        fail_err(u, RPC_UNKNOWN, &e);
        return;
    }
    c->pending[u->dataset] = false;
    commit_start(u);
}

static void whole(struct upload *u)
{
    uint8_t hash[HASH_SHA3_256_LEN];
    enum rpc_code code;
    const char *text;
    struct err e = ERR_INIT;

    if (u->file.len == 0) {
        fail(u, RPC_UNKNOWN,
             u->kind == FSM_RPC_ALGO ? "algorithm binary is required" : "dataset is required");
        return;
    }
    if (!hash_finish(u->hash, hash, &e)) {
        fail_err(u, RPC_UNKNOWN, &e);
        return;
    }
    /* Another caller may have been faster. */
    if (!fsm_allows(u->c->state, u->kind, &code, &text)) {
        fail(u, code, text);
        return;
    }
    if (u->kind == FSM_RPC_ALGO)
        algo_whole(u, hash);
    else
        data_whole(u, hash);
}

/* ------------------------------------------------------------------ as it comes */

static bool store_piece(struct upload *u, const struct piece *p, struct err *e)
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
        fail_err(u, RPC_UNKNOWN, &u->half_failure);
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
        whole(u);
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

static bool take(struct upload *u, struct piece *p, struct rpc_status *denied, struct err *e)
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
    struct batch *b = &u->coming;
    struct piece *p = &b->pieces[b->count];
    struct err e = ERR_INIT;

    (void)call;
    if (u->answered)
        return;
    *p = (struct piece){ .body = BUF_INIT(body->max) };
    buf_move(&p->body, body);
    b->count++;
    b->bytes += p->body.len;
    if (!take(u, p, &denied, &e)) {
        fail_err(u, denied.code, &e);
        return;
    }
    if (!u->working)
        store_start(u);
    else if (b->count < BATCH_COUNT && b->bytes < BATCH_BYTES)
        want(u);
}

static void on_half_closed(struct rpc_call *call, void *ctx)
{
    struct upload *u = ctx;

    (void)call;
    u->half_closed = true;
    if (!u->working && !u->answered)
        whole(u);
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
            fail(u, RPC_RESOURCE_EXHAUSTED,
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
        fail_err(u, RPC_UNKNOWN, &e);
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
