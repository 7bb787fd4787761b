#include "cli/source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/stage.h"
#include "base/zip.h"

#define PIECE_LEN ((size_t)1024 * 1024)

/* "dir/", "./x" and "." all have a name that means something on another machine. */
static char *name_of(const char *path, struct err *e)
{
    struct slice s = slice_of_str(path);
    struct slice last;
    char *whole;
    char *name;

    while (s.len > 1 && s.at[s.len - 1] == '/')
        s.len--;
    last = s;
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] == '/')
            last = slice_after(s, i + 1);
    if (last.len != 0 && !slice_equal_str(last, ".") && !slice_equal_str(last, ".."))
        return mem_dup_slice(last, e);
    whole = realpath(path, NULL);
    if (!whole || !strrchr(whole, '/')) {
        err_fail_os(e, "'%s'", path);
        free(whole);
        return NULL;
    }
    name = mem_dup_str(strrchr(whole, '/') + 1, e);
    free(whole);
    return name;
}

bool cli_source_open(const char *path, struct cli_source *ret, struct err *e)
{
    struct cli_source s = CLI_SOURCE_INIT;
    struct stat st;

    s.path = path;
    /* NONBLOCK: a pipe without a writer must be refused, not waited for. */
    s.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (s.fd < 0)
        return err_fail_os(e, "open '%s'", path);
    if (fstat(s.fd, &st) != 0) {
        err_fail_os(e, "'%s'", path);
        cli_source_done(&s);
        return false;
    }
    s.is_dir = S_ISDIR(st.st_mode);
    if (!s.is_dir && !S_ISREG(st.st_mode)) {
        cli_source_done(&s);
        return err_fail(e, ERR_KIND_INVALID, "'%s' is neither a regular file nor a directory", path);
    }
    s.len = (uint64_t)st.st_size;
    s.name = name_of(path, e);
    if (!s.name || (s.is_dir && !zip_measure_dir(s.fd, &s.len, e))) {
        cli_source_done(&s);
        return false;
    }
    *ret = s;
    return true;
}

void cli_source_done(struct cli_source *s)
{
    fd_done(&s->fd);
    mem_free(s->name);
    *s = (struct cli_source)CLI_SOURCE_INIT;
}

static bool fail_changed(const struct cli_source *s, struct err *e)
{
    return err_fail(e, ERR_KIND_INVALID,
                    "'%s' has changed its size while it was read; upload it when nobody writes to it",
                    s->path);
}

static bool read_file(struct cli_source *s, cli_source_sink sink, void *ctx, struct err *e)
{
    CLEANUP(mem_done) uint8_t *piece = mem_new(PIECE_LEN, e);
    uint64_t at = 0;

    if (!piece)
        return false;
    posix_fadvise(s->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    for (;;) {
        size_t filled;

        if (!file_pread(s->fd, at, piece, PIECE_LEN, &filled, e))
            return err_wrap(e, "'%s'", s->path);
        if (filled > s->len - at)
            return fail_changed(s, e);
        if (filled > 0 && !sink(slice_of(piece, filled), ctx, e))
            return false;
        at += filled;
        if (filled < PIECE_LEN)
            return at == s->len || fail_changed(s, e);
    }
}

/* The zip writer's sink: as much as was measured, and no more. */
struct counted {
    struct cli_source *source;
    cli_source_sink sink;
    void *ctx;
    uint64_t len;
};

static bool count(struct slice bytes, void *ctx, struct err *e)
{
    struct counted *c = ctx;

    if (bytes.len > c->source->len - c->len)
        return fail_changed(c->source, e);
    c->len += bytes.len;
    return c->sink(bytes, c->ctx, e);
}

bool cli_source_read(struct cli_source *s, cli_source_sink sink, void *ctx, struct err *e)
{
    struct counted counted = { s, sink, ctx, 0 };

    if (!s->is_dir)
        return read_file(s, sink, ctx, e);
    if (!zip_write_dir(s->fd, count, &counted, NULL, e))
        return false;
    return counted.len == s->len || fail_changed(s, e);
}

struct hashing {
    struct hash *hash;
    struct cli_gauge *gauge;
};

static bool add(struct slice bytes, void *ctx, struct err *e)
{
    struct hashing *h = ctx;

    if (h->gauge) {
        if (atomic_load(&h->gauge->stop))
            return err_fail(e, ERR_KIND_CANCELLED, "stopped");
        atomic_fetch_add(&h->gauge->done, bytes.len);
    }
    return hash_add(h->hash, bytes, e);
}

bool cli_source_hash(struct cli_source *s, struct cli_gauge *gauge, uint8_t ret[HASH_SHA3_256_LEN],
                     struct err *e)
{
    CLEANUP(hash_done) struct hash *hash = hash_new(HASH_SHA3_256, e);
    struct hashing h = { hash, gauge };

    return hash && cli_source_read(s, add, &h, e) && hash_finish(hash, ret, e);
}
