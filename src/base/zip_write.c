#include "base/zip_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/stage_int.h"
#include "base/text.h"

enum {
    VERSION_20 = 20,
    VERSION_45 = 45, /* zip64 */
    MADE_BY_UNIX_20 = 0x0314,
    DOS_DATE_1970 = 0xec21, /* the year 1970 is before DOS's first: it wraps, as the peers' does */
    TIME_EXTRA_LEN = 9,
    ZIP64_EXTRA_LEN = 28,
};

#define NAMES_MAX ((size_t)64 * 1024 * 1024)

struct file {
    size_t name_at; /* offset into names, where it ends with NUL */
    size_t name_len;
    uint64_t offset;
    uint64_t len;
    uint32_t crc;
    uint32_t mode;
};

struct tree {
    struct buf names;
    struct file *at;
    size_t count, room;
};

static void tree_done(struct tree *t)
{
    buf_done(&t->names);
    mem_free(t->at);
    *t = (struct tree){ .names = BUF_INIT(NAMES_MAX) };
}

static struct slice file_name(const struct tree *t, const struct file *f)
{
    return slice_of(buf_slice(&t->names).at + f->name_at, f->name_len);
}

/* Puts "'name': " before the error. */
static bool wrap_name(struct err *e, struct slice name)
{
    char shown[TEXT_SHORT_SIZE];

    text_short(name, shown);
    return err_wrap(e, "'%s'", shown);
}

/* ---- which files there are ---- */

static bool tree_add(struct tree *t, const char *path, struct err *e)
{
    size_t len = strlen(path);

    if (t->count == ZIP_ENTRIES_MAX)
        return err_fail(e, ERR_KIND_LIMIT, "more than %d files", ZIP_ENTRIES_MAX);
    if (t->count == t->room) {
        size_t room = t->room ? t->room * 2 : 64;
        struct file *grown = mem_resize(t->at, room * sizeof(*grown), e);

        if (!grown)
            return false;
        t->at = grown;
        t->room = room;
    }
    t->at[t->count] = (struct file){ .name_at = t->names.len, .name_len = len };
    if (!buf_append(&t->names, slice_of(path, len + 1), e))
        return false;
    t->count++;
    return true;
}

/* Opens what path names beneath dir_fd, through links that stay beneath it. */
static bool open_followed(int dir_fd, const char *path, int flags, int *ret_fd, struct err *e)
{
    int fd = stage_openat(dir_fd, path, flags, 0, true);

    if (fd < 0 && errno == EXDEV)
        return err_fail(e, ERR_KIND_DENIED, "a link that leads outside the directory");
    if (fd < 0 && errno == ENOENT)
        return err_fail(e, ERR_KIND_MISSING, "a link to nothing, or a file that has just gone");
    if (fd < 0)
        return err_fail_os(e, "open");
    *ret_fd = fd;
    return true;
}

/* INVALID unless st is of a regular file. */
static bool check_regular(const struct stat *st, struct err *e)
{
    const char *kind = "of an unknown kind";

    if (S_ISREG(st->st_mode))
        return true;
    if (S_ISDIR(st->st_mode))
        kind = "a link to a directory";
    else if (S_ISFIFO(st->st_mode))
        kind = "a named pipe";
    else if (S_ISSOCK(st->st_mode))
        kind = "a socket";
    else if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
        kind = "a device";
    return err_fail(e, ERR_KIND_INVALID, "it is %s, only files and directories can be archived", kind);
}

/* A directory found on the way, to be listed later. */
static bool push(struct buf *pending, const char *path, struct err *e)
{
    return buf_append(pending, slice_of(path, strlen(path) + 1), e);
}

/* Lists one directory: files go to t, directories to pending. */
static bool list_dir(int dir_fd, const char *path, struct tree *t, struct buf *pending, struct err *e)
{
    CLEANUP(dir_done) DIR *dir = NULL;
    CLEANUP(fd_done) int fd = -1;
    char full[ZIP_PATH_MAX];
    const char *name;
    bool ok;

    if (!stage_open_beneath(dir_fd, path[0] ? path : ".", O_RDONLY | O_DIRECTORY, 0, &fd, e) ||
        !dir_list(fd, &dir, e))
        return false;
    while ((name = dir_next(dir, &ok, e)) != NULL) {
        int len = snprintf(full, sizeof(full), "%s%s%s", path, path[0] ? "/" : "", name);
        struct stat st;

        if (len < 0 || (size_t)len >= sizeof(full)) {
            err_fail(e, ERR_KIND_INVALID, "its path is longer than %d bytes", ZIP_PATH_MAX - 1);
            return wrap_name(e, slice_of_str(full));
        }
        if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            err_fail_os(e, "look at it");
            return wrap_name(e, slice_of_str(full));
        }
        if (S_ISDIR(st.st_mode) ? !push(pending, full, e) : !tree_add(t, full, e))
            return false;
    }
    return ok;
}

static int by_name(const void *a, const void *b, void *ctx)
{
    const struct tree *t = ctx;

    return slice_compare(file_name(t, a), file_name(t, b));
}

static size_t depth_of(struct slice path)
{
    size_t depth = 1;

    for (size_t i = 0; i < path.len; i++)
        depth += path.at[i] == '/';
    return depth;
}

/* All files beneath dir_fd, sorted. A list of directories instead of recursion keeps one open at a time. */
static bool tree_read(int dir_fd, struct tree *t, struct err *e)
{
    CLEANUP(buf_done) struct buf pending = BUF_INIT(NAMES_MAX);
    CLEANUP(mem_done) char *path = NULL;

    if (!push(&pending, "", e))
        return false;
    while (pending.len) {
        struct slice next = slice_first(buf_slice(&pending), slice_find(buf_slice(&pending), '\0'));

        mem_done(&path);
        path = mem_dup_slice(next, e);
        if (!path)
            return false;
        buf_consume(&pending, next.len + 1);
        if (depth_of(slice_of_str(path)) > ZIP_DEPTH_MAX) {
            err_fail(e, ERR_KIND_LIMIT, "directories deeper than %d", ZIP_DEPTH_MAX);
            return wrap_name(e, slice_of_str(path));
        }
        if (!list_dir(dir_fd, path, t, &pending, e))
            return path[0] ? wrap_name(e, slice_of_str(path)) : false;
    }
    if (t->count)
        qsort_r(t->at, t->count, sizeof(*t->at), by_name, t);
    return true;
}

/* ---- what is written ---- */

struct writer {
    zip_sink_fn sink;
    void *ctx;
    uint64_t at; /* bytes written */
};

static bool put(struct writer *w, struct slice bytes, struct err *e)
{
    if (bytes.len && !w->sink(bytes, w->ctx, e))
        return false;
    w->at += bytes.len;
    return true;
}

static uint16_t flags_of(struct slice name)
{
    bool plain = true;

    /* Any code point above 0x7d has bytes above it only. */
    for (size_t i = 0; i < name.len; i++)
        plain = plain && name.at[i] >= 0x20 && name.at[i] <= 0x7d && name.at[i] != 0x5c;
    return (uint16_t)(ZIP_FLAG_DESCRIPTOR | (!plain && slice_is_utf8(name) ? ZIP_FLAG_UTF8 : 0u));
}

static bool is_big(const struct file *f)
{
    return f->len >= ZIP_MAX32;
}

/* "UT": the modification time alone, 1970 */
static bool add_time_extra(struct buf *b, struct err *e)
{
    return buf_append(b, (struct slice)SLICE_LIT("UT\5\0\1\0\0\0\0"), e);
}

static bool add_local(struct buf *b, struct slice name, struct err *e)
{
    return buf_append_le32(b, ZIP_LOCAL_SIG, e) && buf_append_le16(b, VERSION_20, e) &&
           buf_append_le16(b, flags_of(name), e) && buf_append_le16(b, 0, e) && buf_append_le16(b, 0, e) &&
           buf_append_le16(b, DOS_DATE_1970, e) && buf_append_le32(b, 0, e) && buf_append_le64(b, 0, e) &&
           buf_append_le16(b, (uint16_t)name.len, e) && buf_append_le16(b, TIME_EXTRA_LEN, e) &&
           buf_append(b, name, e) && add_time_extra(b, e);
}

static bool add_descriptor(struct buf *b, const struct file *f, struct err *e)
{
    if (!buf_append_le32(b, ZIP_DESCRIPTOR_SIG, e) || !buf_append_le32(b, f->crc, e))
        return false;
    if (is_big(f))
        return buf_append_le64(b, f->len, e) && buf_append_le64(b, f->len, e);
    return buf_append_le32(b, (uint32_t)f->len, e) && buf_append_le32(b, (uint32_t)f->len, e);
}

static uint32_t attributes_of(uint32_t mode)
{
    uint32_t unix_mode = S_IFREG | (mode & 07777);

    return unix_mode << 16 | ((mode & 0200) ? 0 : 1); /* the last one is DOS's read-only */
}

static bool add_central(struct buf *b, const struct file *f, struct slice name, struct err *e)
{
    bool zip64 = is_big(f) || f->offset >= ZIP_MAX32;
    uint32_t len32 = zip64 ? ZIP_MAX32 : (uint32_t)f->len;
    uint32_t offset32 = f->offset > ZIP_MAX32 ? ZIP_MAX32 : (uint32_t)f->offset;
    bool ok = buf_append_le32(b, ZIP_CENTRAL_SIG, e) && buf_append_le16(b, MADE_BY_UNIX_20, e) &&
              /* the peers raise the version for a long file, but not for a far one */
              buf_append_le16(b, is_big(f) ? VERSION_45 : VERSION_20, e) &&
              buf_append_le16(b, flags_of(name), e) && buf_append_le16(b, 0, e) && buf_append_le16(b, 0, e) &&
              buf_append_le16(b, DOS_DATE_1970, e) && buf_append_le32(b, f->crc, e) &&
              buf_append_le32(b, len32, e) && buf_append_le32(b, len32, e) &&
              buf_append_le16(b, (uint16_t)name.len, e) &&
              buf_append_le16(b, zip64 ? TIME_EXTRA_LEN + ZIP64_EXTRA_LEN : TIME_EXTRA_LEN, e) &&
              buf_append_le16(b, 0, e) && buf_append_le32(b, 0, e) &&
              buf_append_le32(b, attributes_of(f->mode), e) && buf_append_le32(b, offset32, e) &&
              buf_append(b, name, e) && add_time_extra(b, e);

    if (!ok || !zip64)
        return ok;
    return buf_append_le16(b, ZIP_EXTRA_ZIP64, e) && buf_append_le16(b, ZIP64_EXTRA_LEN - 4, e) &&
           buf_append_le64(b, f->len, e) && buf_append_le64(b, f->len, e) && buf_append_le64(b, f->offset, e);
}

static bool needs_end64(uint64_t count, uint64_t len, uint64_t offset)
{
    return count >= ZIP_MAX16 || len >= ZIP_MAX32 || offset >= ZIP_MAX32;
}

static bool add_end(struct buf *b, uint64_t count, uint64_t len, uint64_t offset, struct err *e)
{
    bool big = needs_end64(count, len, offset);
    uint16_t count16 = big ? ZIP_MAX16 : (uint16_t)count;

    if (big && !(buf_append_le32(b, ZIP_END64_SIG, e) && buf_append_le64(b, ZIP_END64_LEN - 12, e) &&
                 buf_append_le16(b, VERSION_45, e) && buf_append_le16(b, VERSION_45, e) &&
                 buf_append_le64(b, 0, e) && buf_append_le64(b, count, e) && buf_append_le64(b, count, e) &&
                 buf_append_le64(b, len, e) && buf_append_le64(b, offset, e) &&
                 buf_append_le32(b, ZIP_LOCATOR64_SIG, e) && buf_append_le32(b, 0, e) &&
                 buf_append_le64(b, offset + len, e) && buf_append_le32(b, 1, e)))
        return false;
    return buf_append_le32(b, ZIP_END_SIG, e) && buf_append_le32(b, 0, e) && buf_append_le16(b, count16, e) &&
           buf_append_le16(b, count16, e) && buf_append_le32(b, big ? ZIP_MAX32 : (uint32_t)len, e) &&
           buf_append_le32(b, big ? ZIP_MAX32 : (uint32_t)offset, e) && buf_append_le16(b, 0, e);
}

/* Writes the bytes of one file and notes what the directory has to say of it. */
static bool put_file(struct writer *w, int dir_fd, struct slice name, struct file *f, uint8_t *block,
                     struct err *e)
{
    CLEANUP(buf_done) struct buf record = BUF_INIT(2 * ZIP_PATH_MAX);
    CLEANUP(fd_done) int fd = -1;
    struct stat st;
    uLong crc = crc32(0, NULL, 0);

    /* O_NONBLOCK: a pipe in the place of a file must not hold us up before we see what it is. */
    if (!open_followed(dir_fd, (const char *)name.at, O_RDONLY | O_NONBLOCK | O_NOCTTY, &fd, e))
        return false;
    if (fstat(fd, &st) != 0)
        return err_fail_os(e, "look at it");
    if (!check_regular(&st, e))
        return false;
    f->mode = st.st_mode;
    f->offset = w->at;
    if (!add_local(&record, name, e) || !put(w, buf_slice(&record), e))
        return false;
    for (;;) {
        size_t len;

        if (!file_read(fd, block, ZIP_BLOCK_LEN, &len, e))
            return false;
        if (len == 0)
            break;
        crc = crc32(crc, block, (uInt)len);
        f->len += len;
        if (!put(w, slice_of(block, len), e))
            return false;
    }
    f->crc = (uint32_t)crc;
    buf_truncate(&record, 0);
    return add_descriptor(&record, f, e) && put(w, buf_slice(&record), e);
}

bool zip_write_dir(int dir_fd, zip_sink_fn sink, void *ctx, struct zip_stats *ret, struct err *e)
{
    CLEANUP(tree_done) struct tree t = { .names = BUF_INIT(NAMES_MAX) };
    CLEANUP(mem_done) uint8_t *block = mem_new(ZIP_BLOCK_LEN, e);
    CLEANUP(buf_done) struct buf record = BUF_INIT(2 * ZIP_PATH_MAX);
    struct writer w = { sink, ctx, 0 };
    uint64_t directory_at;

    if (!block || !tree_read(dir_fd, &t, e))
        return err_wrap(e, "archive a directory");
    for (size_t i = 0; i < t.count; i++) {
        if (!put_file(&w, dir_fd, file_name(&t, &t.at[i]), &t.at[i], block, e)) {
            wrap_name(e, file_name(&t, &t.at[i]));
            return err_wrap(e, "archive a directory");
        }
    }
    directory_at = w.at;
    for (size_t i = 0; i < t.count; i++) {
        buf_truncate(&record, 0);
        if (!add_central(&record, &t.at[i], file_name(&t, &t.at[i]), e) || !put(&w, buf_slice(&record), e))
            return err_wrap(e, "archive a directory");
    }
    buf_truncate(&record, 0);
    if (!add_end(&record, t.count, w.at - directory_at, directory_at, e) || !put(&w, buf_slice(&record), e))
        return err_wrap(e, "archive a directory");
    if (ret)
        *ret = (struct zip_stats){ .bytes = w.at, .entries = t.count };
    return true;
}

bool zip_measure_dir(int dir_fd, uint64_t *ret_len, struct err *e)
{
    CLEANUP(tree_done) struct tree t = { .names = BUF_INIT(NAMES_MAX) };
    uint64_t directory_len = 0;
    uint64_t at = 0;

    if (!tree_read(dir_fd, &t, e))
        return err_wrap(e, "measure a directory");
    for (size_t i = 0; i < t.count; i++) {
        struct slice name = file_name(&t, &t.at[i]);
        CLEANUP(fd_done) int fd = -1;
        struct stat st = { 0 };
        bool ok = open_followed(dir_fd, (const char *)name.at, O_PATH, &fd, e);

        if (ok && fstat(fd, &st) != 0)
            ok = err_fail_os(e, "look at it");
        if (!ok || !check_regular(&st, e)) {
            wrap_name(e, name);
            return err_wrap(e, "measure a directory");
        }

        bool big = (uint64_t)st.st_size >= ZIP_MAX32;

        directory_len += ZIP_CENTRAL_LEN + name.len + TIME_EXTRA_LEN;
        directory_len += big || at >= ZIP_MAX32 ? ZIP64_EXTRA_LEN : 0;
        at += ZIP_LOCAL_LEN + name.len + TIME_EXTRA_LEN + (uint64_t)st.st_size + (big ? 24 : 16);
    }
    *ret_len = at + directory_len + ZIP_END_LEN;
    if (needs_end64(t.count, directory_len, at))
        *ret_len += ZIP_END64_LEN + ZIP_LOCATOR64_LEN;
    return true;
}
