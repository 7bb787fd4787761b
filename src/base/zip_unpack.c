/* Makes files of what zip_directory_read found to be in order. */
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

enum { METHOD_STORED = 0 };

/* One file on its way from the archive to the disk. */
struct job {
    int in_fd;
    int out_fd;
    uint64_t at;   /* next byte to read           */
    uint64_t left; /* packed bytes not read yet   */
    uint64_t len;  /* bytes written               */
    uLong crc;
    uint8_t *in; /* ZIP_BLOCK_LEN each          */
    uint8_t *out;
    const atomic_bool *cancel; /* or NULL */
};

static bool read_block(struct job *j, size_t *ret_len, struct err *e)
{
    size_t len = j->left < ZIP_BLOCK_LEN ? (size_t)j->left : ZIP_BLOCK_LEN;

    if (!zip_pread(j->in_fd, j->at, j->in, len, e))
        return false;
    j->at += len;
    j->left -= len;
    *ret_len = len;
    return true;
}

static bool write_block(struct job *j, const struct zip_entry *entry, struct slice bytes, struct err *e)
{
    if (bytes.len > entry->len - j->len)
        return err_fail(e, ERR_KIND_INVALID, "it unpacks to more than the directory says");
    if (j->cancel && atomic_load(j->cancel))
        return err_fail(e, ERR_KIND_CANCELLED, "unpacking was stopped");
    j->len += bytes.len;
    j->crc = crc32(j->crc, bytes.at, (uInt)bytes.len);
    return stage_write_all(j->out_fd, bytes, e);
}

static bool copy_stored(struct job *j, const struct zip_entry *entry, struct err *e)
{
    size_t len;

    while (j->left)
        if (!read_block(j, &len, e) || !write_block(j, entry, slice_of(j->in, len), e))
            return false;
    return true;
}

/* Inflates until the stream ends, which has to be at the last packed byte. */
static bool inflate_all(struct job *j, z_stream *z, const struct zip_entry *entry, struct err *e)
{
    int rc = Z_OK;

    while (rc != Z_STREAM_END) {
        size_t len = 0;

        if (z->avail_in == 0 && j->left) {
            if (!read_block(j, &len, e))
                return false;
            z->next_in = j->in;
            z->avail_in = (uInt)len;
        }
        z->next_out = j->out;
        z->avail_out = (uInt)ZIP_BLOCK_LEN;
        rc = inflate(z, Z_NO_FLUSH);
        if (rc == Z_MEM_ERROR)
            return err_fail(e, ERR_KIND_LIMIT, "no memory to unpack it");
        if (rc != Z_OK && rc != Z_STREAM_END)
            return err_fail(e, ERR_KIND_INVALID, "its packed bytes are broken");
        if (!write_block(j, entry, slice_of(j->out, ZIP_BLOCK_LEN - z->avail_out), e))
            return false;
    }
    if (j->left || z->avail_in)
        return err_fail(e, ERR_KIND_INVALID, "bytes follow its packed bytes");
    return true;
}

static bool copy_deflated(struct job *j, const struct zip_entry *entry, struct err *e)
{
    z_stream z = { 0 };
    bool ok;

    if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
        return err_fail(e, ERR_KIND_LIMIT, "no memory to unpack it");
    ok = inflate_all(j, &z, entry, e);
    inflateEnd(&z);
    return ok;
}

static bool copy_entry(struct job *j, const struct zip_entry *entry, struct err *e)
{
    j->at = entry->data_at;
    j->left = entry->packed_len;
    j->len = 0;
    j->crc = crc32(0, NULL, 0);
    if (!(entry->method == METHOD_STORED ? copy_stored(j, entry, e) : copy_deflated(j, entry, e)))
        return false;
    if (j->len != entry->len)
        return err_fail(e, ERR_KIND_INVALID, "it unpacks to less than the directory says");
    if ((uint32_t)j->crc != entry->crc)
        return err_fail(e, ERR_KIND_UNVERIFIED, "its checksum is %08x, the directory says %08x",
                        (unsigned)j->crc, (unsigned)entry->crc);
    return true;
}

/* ---- paths ---- */

/* Makes name beneath dir_fd where it is missing, and opens it. */
static bool enter_dir(int dir_fd, struct slice name, int *ret_fd, struct err *e)
{
    CLEANUP(mem_done) char *part = mem_dup_slice(name, e);
    int fd;

    if (!part)
        return false;
    if (mkdirat(dir_fd, part, 0700) != 0 && errno != EEXIST)
        return err_fail_os(e, "make directory '%s'", part);
    fd = openat(dir_fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
        return err_fail(e, ERR_KIND_INVALID, "'%s' is both a file and a directory", part);
    if (fd < 0 || fchmod(fd, 0755) != 0) { /* whatever the umask */
        err_fail_os(e, "open directory '%s'", part);
        fd_done(&fd);
        return false;
    }
    *ret_fd = fd;
    return true;
}

/* Opens the directory that path lies in, making what is missing; *ret_name is its last part. */
static bool enter_parent(int top_fd, struct slice path, int *ret_fd, struct slice *ret_name, struct err *e)
{
    CLEANUP(fd_done) int fd = fcntl(top_fd, F_DUPFD_CLOEXEC, 0);

    if (fd < 0)
        return err_fail_os(e, "open a directory");
    for (;;) {
        size_t len = slice_find(path, '/');
        int next = -1;

        if (len == path.len)
            break;
        if (!enter_dir(fd, slice_first(path, len), &next, e))
            return false;
        close(fd);
        fd = next;
        path = slice_after(path, len + 1);
    }
    *ret_fd = fd;
    fd = -1;
    *ret_name = path;
    return true;
}

static bool unpack_entry(struct job *j, int top_fd, const struct zip_entry *entry, struct err *e)
{
    CLEANUP(fd_done) int parent_fd = -1;
    CLEANUP(fd_done) int dir_fd = -1;
    CLEANUP(mem_done) char *name = NULL;
    struct slice last;
    bool ok;

    if (entry->path.len == 0) /* "./" */
        return true;
    if (!enter_parent(top_fd, entry->path, &parent_fd, &last, e))
        return false;
    if (entry->is_dir)
        return enter_dir(parent_fd, last, &dir_fd, e);
    name = mem_dup_slice(last, e);
    if (!name)
        return false;
    j->out_fd = openat(parent_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (j->out_fd < 0 && errno == EEXIST)
        return err_fail(e, ERR_KIND_INVALID, "'%s' is both a file and a directory", name);
    if (j->out_fd < 0)
        return err_fail_os(e, "make file '%s'", name);
    ok = copy_entry(j, entry, e);
    if (ok && fchmod(j->out_fd, entry->is_executable ? 0755 : 0644) != 0)
        ok = err_fail_os(e, "set the mode of '%s'", name);
    /* A full disk may speak up as late as here. */
    if (close(j->out_fd) != 0 && ok)
        ok = err_fail_os(e, "close '%s'", name);
    j->out_fd = -1;
    return ok;
}

static bool unpack_all(int fd, int top_fd, const struct zip_directory *d, const atomic_bool *cancel,
                       struct err *e)
{
    CLEANUP(mem_done) uint8_t *in = mem_new(ZIP_BLOCK_LEN, e);
    CLEANUP(mem_done) uint8_t *out = mem_new(ZIP_BLOCK_LEN, e);
    struct job j = { .in_fd = fd, .out_fd = -1, .in = in, .out = out, .cancel = cancel };

    if (!in || !out)
        return false;
    for (size_t i = 0; i < d->count; i++) {
        if (!unpack_entry(&j, top_fd, &d->at[i], e)) {
            char shown[TEXT_SHORT_SIZE];

            text_short(d->at[i].name, shown);
            return err_wrap(e, "entry '%s'", shown);
        }
    }
    return true;
}

/* ---- into place ---- */

/* All names in the staged tree, each with its NUL. */
static bool list_top(int top_fd, struct buf *names, struct err *e)
{
    CLEANUP(dir_done) DIR *dir = NULL;
    const char *name;
    bool ok;

    if (!dir_list(top_fd, &dir, e))
        return false;
    while ((name = dir_next(dir, &ok, e)) != NULL)
        if (!buf_append(names, slice_of(name, strlen(name) + 1), e))
            return false;
    return ok;
}

/* Moves names from one directory to the other; on failure those that were moved go back. */
static bool move_all(int from_fd, int to_fd, struct slice names, struct err *e)
{
    for (struct slice left = names; left.len;) {
        const char *name = (const char *)left.at;

        if (renameat2(from_fd, name, to_fd, name, RENAME_NOREPLACE) != 0) {
            if (errno == EEXIST)
                err_fail(e, ERR_KIND_INVALID, "'%s' is there already", name);
            else
                err_fail_os(e, "move '%s' into place", name);
            for (struct slice back = slice_first(names, names.len - left.len); back.len;) {
                (void)renameat(to_fd, (const char *)back.at, from_fd, (const char *)back.at);
                back = slice_after(back, slice_find(back, '\0') + 1);
            }
            return false;
        }
        left = slice_after(left, slice_find(left, '\0') + 1);
    }
    return true;
}

static bool publish(int top_fd, int dest_dir_fd, struct err *e)
{
    CLEANUP(buf_done) struct buf names = BUF_INIT((size_t)64 * 1024 * 1024);

    /* One flush for all: one for each of 100,000 files would take minutes. */
    if (syncfs(top_fd) != 0)
        return err_fail_os(e, "flush");
    return list_top(top_fd, &names, e) && move_all(top_fd, dest_dir_fd, buf_slice(&names), e) &&
           stage_sync_dir(dest_dir_fd, e);
}

static struct zip_limits with_defaults(const struct zip_limits *limits)
{
    struct zip_limits l = limits ? *limits : (struct zip_limits){ 0 };

    if (l.bytes == 0)
        l.bytes = (uint64_t)64 * 1024 * 1024 * 1024;
    if (l.entries == 0)
        l.entries = ZIP_ENTRIES_MAX;
    if (l.ratio == 0)
        l.ratio = 1000;
    if (l.depth == 0)
        l.depth = ZIP_DEPTH_MAX;
    return l;
}

bool zip_unpack(int fd, int dest_dir_fd, const struct zip_limits *limits, struct zip_stats *ret,
                struct err *e)
{
    CLEANUP(zip_directory_done) struct zip_directory d = { .bytes = BUF_INIT(0) };
    CLEANUP(fd_done) int top_fd = -1;
    const struct zip_limits l = with_defaults(limits);
    struct err ignored = ERR_INIT;
    char top[48];
    bool ok;

    if (!zip_directory_read(fd, &l, &d, e) || !stage_temp_name(top, e))
        return err_wrap(e, "unpack a zip archive");
    if (mkdirat(dest_dir_fd, top, 0700) != 0) {
        err_fail_os(e, "make a directory");
        return err_wrap(e, "unpack a zip archive");
    }
    ok = stage_open_beneath(dest_dir_fd, top, O_RDONLY | O_DIRECTORY, 0, &top_fd, e) &&
         unpack_all(fd, top_fd, &d, l.cancel, e) && publish(top_fd, dest_dir_fd, e);
    /* Empty by now when all went well. */
    (void)!stage_remove_tree(dest_dir_fd, top, &ignored);
    if (!ok)
        return err_wrap(e, "unpack a zip archive");
    if (ret)
        *ret = (struct zip_stats){ .bytes = d.len, .entries = d.count };
    return true;
}
