#include "agent/work.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/stage.h"
#include "base/zip.h"

/* The runner's own parts are among them: it may have been killed too. */
static const char *const parts[] = { WORK_RESULTS, WORK_DATASETS, WORK_ALGO, WORK_REQUIREMENTS, "venv" };

bool work_open(const char *path, struct work *ret, struct err *e)
{
    int fd;

    if (!stage_dir_open(path, 0755, &fd, e))
        return err_wrap(e, "working directory");
    *ret = (struct work){ path, fd };
    return true;
}

void work_done(struct work *w)
{
    fd_done(&w->fd);
    w->fd = -1;
}

bool work_clean(const struct work *w, struct err *e)
{
    bool ok = true;

    /* The first failure is told, and does not keep the rest from going. */
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct err why = ERR_INIT;

        if (stage_remove_tree(w->fd, parts[i], ok ? e : &why))
            continue;
        if (ok)
            err_wrap(e, "error removing %s", parts[i]);
        ok = false;
    }
    if (!ok)
        return false;
    return stage_sweep(w->fd, e);
}

static bool open_part(const struct work *w, const char *name, int *ret_fd, struct err *e)
{
    CLEANUP(mem_done) char *path = mem_format(e, "%s/%s", w->path, name);

    return path && stage_dir_open(path, 0755, ret_fd, e);
}

bool work_open_datasets(const struct work *w, int *ret_fd, struct err *e)
{
    return open_part(w, WORK_DATASETS, ret_fd, e) || err_wrap(e, "error creating datasets directory");
}

bool work_prepare_run(const struct work *w, struct err *e)
{
    CLEANUP(fd_done) int algo = -1;
    CLEANUP(fd_done) int results = -1;

    if (!stage_remove_tree(w->fd, WORK_RESULTS, e) || !open_part(w, WORK_RESULTS, &results, e))
        return err_wrap(e, "error creating results directory");
    return stage_open_beneath(w->fd, WORK_ALGO, O_RDONLY, 0, &algo, e) ||
           err_wrap(e, "error opening algorithm file");
}

struct taking {
    struct stage_file file;
    const atomic_bool *cancel;
};

static bool take_bytes(struct slice bytes, void *ctx, struct err *e)
{
    struct taking *t = ctx;

    if (atomic_load(t->cancel))
        return err_fail(e, ERR_KIND_CANCELLED, "the computation was stopped");
    return stage_file_write(&t->file, bytes, e);
}

static void stage_file_done_cleanup(struct taking *t)
{
    stage_file_done(&t->file);
}

bool work_take_results(const struct work *w, const atomic_bool *cancel, struct work_result *ret,
                       struct err *e)
{
    CLEANUP(stage_file_done_cleanup) struct taking t = { STAGE_FILE_INIT, cancel };
    CLEANUP(fd_done) int results = -1;
    int own;

    if (!stage_open_beneath(w->fd, WORK_RESULTS, O_RDONLY | O_DIRECTORY, 0, &results, e) ||
        !stage_file_begin(w->fd, &t.file, e) || !zip_write_dir(results, take_bytes, &t, NULL, e))
        return err_wrap(e, "error zipping results");
    own = fcntl(t.file.fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return err_fail_os(e, "error zipping results: keep the archive");
    *ret = (struct work_result){ own, t.file.len };
    return true; /* the name goes, the open file stays */
}
