#include "agent/running.h"

#include <fcntl.h>

#include "base/cursor.h"
#include "base/stage.h"
#include "base/text.h"

#define RUNNING_FILE "running"
#define RUNNING_MAX ((size_t)4096)

/* Lines: id, event type, status, stamp; none of them holds a newline. */
bool running_write(int dir_fd, const struct running *r, struct err *e)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(RUNNING_MAX);
    CLEANUP(stage_file_done) struct stage_file file = STAGE_FILE_INIT;

    if (!buf_format(&text, e, "%s\n%s\n%s\n%lld\n", r->id, r->type, r->status, (long long)r->time_ns) ||
        !stage_file_begin(dir_fd, &file, e) || !stage_file_write(&file, buf_slice(&text), e) ||
        !stage_file_commit(&file, RUNNING_FILE, 0600, true, e))
        return err_wrap(e, "note the computation");
    return true;
}

static bool line_read(struct cursor *in, char *ret, size_t size)
{
    struct slice line;

    if (!cursor_until(in, '\n', &line) || line.len >= size)
        return false;
    if (line.len > 0)
        memcpy(ret, line.at, line.len);
    ret[line.len] = '\0';
    return true;
}

bool running_read(int dir_fd, struct running *ret, struct err *e)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(RUNNING_MAX);
    CLEANUP(fd_done) int fd = -1;
    struct running r = { 0 };
    struct cursor in;
    char stamp[24];
    uint64_t ns;

    if (!stage_open_beneath(dir_fd, RUNNING_FILE, O_RDONLY, 0, &fd, e)) {
        if (e->kind != ERR_KIND_MISSING)
            return err_wrap(e, "read the noted computation");
        err_clear(e);
        *ret = r;
        return true;
    }
    if (!stage_read_fd(fd, &text, e))
        return err_wrap(e, "read the noted computation");
    in = cursor_of(buf_slice(&text));
    if (!line_read(&in, r.id, sizeof(r.id)) || !line_read(&in, r.type, sizeof(r.type)) ||
        !line_read(&in, r.status, sizeof(r.status)) || !line_read(&in, stamp, sizeof(stamp)) ||
        !cursor_end(&in) || !text_parse_u64(slice_of_str(stamp), 0, INT64_MAX, &ns, e))
        return err_fail(e, ERR_KIND_INVALID, "the noted computation can't be understood");
    r.time_ns = (int64_t)ns;
    *ret = r;
    return true;
}

bool running_remove(int dir_fd, struct err *e)
{
    return stage_remove_tree(dir_fd, RUNNING_FILE, e) || err_wrap(e, "forget the noted computation");
}
