/* What has come, against what the manifest names; and into place. */
#include "agent/upload_int.h"

#include "agent/match.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/zip.h"
#include "rpc/answer.h"

static void succeed(struct upload *u)
{
    if (u->answered)
        return;
    u->answered = true;
    rpc_answer_empty(u->call);
}

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
            upload_fail_err(u, RPC_UNKNOWN, e);
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
    upload_fail_err(u, RPC_UNKNOWN, &e);
}

static void fail_name(struct upload *u, const char *want)
{
    struct err e = ERR_INIT;

    err_fail(&e, ERR_KIND_UNVERIFIED,
             "malformed data, filename does not match manifest: expected '%s', got '%s'", want, u->filename);
    upload_fail_err(u, RPC_UNKNOWN, &e);
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
    upload_fail_err(u, RPC_UNKNOWN, &e);
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
        upload_fail(u, RPC_UNKNOWN, "all expected manifest Items have been received");
        return;
    }
    c->algo = SLOT_COMMITTING;
    if (!algo_details(u, &e)) {
        commit_undo(u);
        upload_fail_err(u, RPC_UNKNOWN, &e);
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
    char what[UPLOAD_NAME_MAX + 16];

    snprintf(what, sizeof(what), "dataset '%s'", u->filename);
    if (u->grant.bound &&
        !ct_equal(slice_of(hash, HASH_SHA3_256_LEN), slice_of(u->grant.hash, HASH_SHA3_256_LEN))) {
        fail_hash(u, what, u->grant.hash, hash);
        return;
    }
    switch (
        match_dataset(c->mf, c->auth, c->pending, &u->grant, hash, slice_of_str(u->filename), &u->dataset)) {
    case MATCH_NONE_PENDING:
        upload_fail(u, RPC_UNKNOWN, "all expected manifest Items have been received");
        return;
    case MATCH_WRONG_NAME: fail_name(u, c->mf->datasets[u->dataset].filename); return;
    case MATCH_WRONG_HASH: fail_hash(u, what, c->mf->datasets[u->dataset].hash, hash); return;
    case MATCH_NOT_YOURS:
        upload_fail(u, RPC_PERMISSION_DENIED,
                    "this dataset belongs to another data provider of the manifest");
        return;
    case MATCH_UNDECLARED: fail_undeclared(u, hash); return;
    case MATCH_FOUND: break;
    }
    if (!name_usable(u, &e)) {
        upload_fail_err(u, RPC_UNKNOWN, &e);
        return;
    }
    c->pending[u->dataset] = false;
    commit_start(u);
}

void upload_whole(struct upload *u)
{
    uint8_t hash[HASH_SHA3_256_LEN];
    enum rpc_code code;
    const char *text;
    struct err e = ERR_INIT;

    if (u->file.len == 0) {
        upload_fail(u, RPC_UNKNOWN,
                    u->kind == FSM_RPC_ALGO ? "algorithm binary is required" : "dataset is required");
        return;
    }
    if (!hash_finish(u->hash, hash, &e)) {
        upload_fail_err(u, RPC_UNKNOWN, &e);
        return;
    }
    /* Another caller may have been faster. */
    if (!fsm_allows(u->c->state, u->kind, &code, &text)) {
        upload_fail(u, code, text);
        return;
    }
    if (u->kind == FSM_RPC_ALGO)
        algo_whole(u, hash);
    else
        data_whole(u, hash);
}
