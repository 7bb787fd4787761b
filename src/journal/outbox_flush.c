#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/stage.h"
#include "journal/outbox_int.h"

/* One round: what of the events lane was dirty when it began, through descriptors of its own, so that the loop may
 * close, cut or remove the files meanwhile. */
struct flush_job {
    uv_work_t work;
    struct outbox *outbox;
    int (*fdatasync)(int fd);
    int *fds;
    size_t count;
    bool ok;
    struct flush_wait *waits;
};

static void job_free(struct flush_job *job)
{
    for (size_t i = 0; i < job->count; i++)
        fd_done(&job->fds[i]);
    mem_free(job->fds);
    mem_free(job);
}

static void tell(struct flush_wait *w, bool ok)
{
    while (w) {
        struct flush_wait *next = w->next;

        if (w->flushed)
            w->flushed(ok, w->ctx);
        mem_free(w);
        w = next;
    }
}

void flush_tell_all(struct outbox *o, bool ok)
{
    struct flush_wait *w = o->waits;

    o->waits = NULL;
    o->waits_end = &o->waits;
    tell(w, ok);
}

static void flush_work(uv_work_t *work)
{
    struct flush_job *job = work->data;

    for (size_t i = 0; i < job->count; i++) {
        int r;

        do
            r = job->fdatasync(job->fds[i]);
        while (r != 0 && errno == EINTR);
        if (r != 0)
            job->ok = false;
    }
}

static void flush_after(uv_work_t *work, int status)
{
    struct flush_job *job = work->data;
    struct outbox *o = job->outbox;
    struct flush_wait *waits = job->waits;
    bool ok = job->ok && status == 0;

    job_free(job);
    o->flushing = NULL;
    if (o->closing) {
        tell(waits, ok);
        outbox_close_step(o);
        return;
    }
    /* The next round runs while those who waited for this one go on. */
    flush_run(o);
    tell(waits, ok);
}

static bool add_fd(struct flush_job *job, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (copy < 0)
        return false;
    job->fds[job->count++] = copy;
    return true;
}

static bool collect(struct outbox *o, struct flush_job *job, struct err *e)
{
    struct lane *l = &o->lanes[LANE_EVENTS];
    size_t count = 1;

    for (struct segment *s = l->oldest; s; s = s->next)
        count += s->dirty;
    job->fds = mem_new_array(count, sizeof(*job->fds), e);
    if (!job->fds)
        return false;
    for (struct segment *s = l->oldest; s; s = s->next) {
        if (s->dirty && !add_fd(job, s->fd))
            return err_fail_os(e, "flush the outbox");
    }
    if (o->dir_dirty && !add_fd(job, o->dir_fd))
        return err_fail_os(e, "flush the outbox");
    for (struct segment *s = l->oldest; s; s = s->next) {
        s->dirty = false;
        segment_rest(l, s);
    }
    o->dir_dirty = false;
    return true;
}

static bool job_start(struct outbox *o, struct err *e)
{
    struct flush_job *job = mem_new(sizeof(*job), e);

    if (!job)
        return false;
    job->outbox = o;
    job->fdatasync = o->io.fdatasync;
    job->ok = true;
    job->work.data = job;
    if (!collect(o, job, e)) {
        job_free(job);
        return false;
    }
    if (uv_queue_work(o->loop, &job->work, flush_work, flush_after) != 0) {
        job_free(job);
        return err_fail(e, ERR_KIND_INTERNAL, "flush the outbox: no thread takes the work");
    }
    job->waits = o->waits;
    o->waits = NULL;
    o->waits_end = &o->waits;
    o->events_dirty = false;
    o->flushing = job;
    return true;
}

void flush_run(struct outbox *o)
{
    struct err e = ERR_INIT;

    if (o->flushing || (!o->waits && !o->events_dirty))
        return;
    if (!job_start(o, &e)) {
        o->events_dirty = false;
        flush_tell_all(o, false);
    }
}
