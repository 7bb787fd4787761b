/* The structure of an archive, checked before a byte of it is unpacked. */
#include "base/zip_int.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

#define DIRECTORY_MAX ((size_t)64 * 1024 * 1024)
#define COMMENT_MAX 65535u
#define RATIO_FREE_LEN ((uint64_t)1024 * 1024) /* shorter files may be packed as well as they like */

enum {
    FLAG_DEFLATE_LEVEL = 0x0006,
    METHOD_STORED = 0,
    METHOD_DEFLATED = 8,
};

/* What decides where data lies and how it is read: both headers have to agree on it. */
static const uint16_t flags_known = FLAG_DEFLATE_LEVEL | ZIP_FLAG_DESCRIPTOR | ZIP_FLAG_UTF8;

bool zip_pread(int fd, uint64_t offset, uint8_t *ret, size_t len, struct err *e)
{
    size_t got;

    if (!file_pread(fd, offset, ret, len, &got, e))
        return err_wrap(e, "the archive");
    return got == len || err_fail(e, ERR_KIND_INVALID, "the archive is cut off");
}

static bool refuse(struct err *e, enum err_kind kind, const struct zip_entry *entry, const char *why)
{
    char shown[TEXT_SHORT_SIZE];

    text_short(entry->name, shown);
    return err_fail(e, kind, "entry '%s': %s", shown, why);
}

/* ---- the end records ---- */

struct end {
    uint64_t at; /* of the first of the end records    */
    uint64_t count;
    uint64_t len; /* of the central directory           */
    uint64_t offset;
};

static bool not_a_zip(struct err *e)
{
    return err_fail(e, ERR_KIND_INVALID, "not a zip archive, or cut off: its end record is missing");
}

/* *ret_at: offset in tail of the end record whose comment ends where the file does. */
static bool find_end(struct slice tail, size_t *ret_at, struct err *e)
{
    for (size_t back = ZIP_END_LEN; back <= tail.len; back++) {
        struct cursor c = cursor_of(slice_after(tail, tail.len - back));
        struct slice skipped;
        uint32_t sig;
        uint16_t comment_len;

        if (cursor_le32(&c, &sig) && sig == ZIP_END_SIG && cursor_bytes(&c, 16, &skipped) &&
            cursor_le16(&c, &comment_len) && comment_len == c.left.len) {
            *ret_at = tail.len - back;
            return true;
        }
    }
    return not_a_zip(e);
}

/* Reads the zip64 record that a locator before the end record points to; *ret_found false when there is none. */
static bool read_end64(int fd, struct end *end, bool *ret_found, struct err *e)
{
    uint8_t bytes[ZIP_END64_LEN];
    struct cursor c;
    uint64_t at, record_len, count, count_here, len, offset;
    uint32_t sig, disk, disks;
    uint16_t version;

    *ret_found = false;
    if (end->at < ZIP_LOCATOR64_LEN)
        return true;
    if (!zip_pread(fd, end->at - ZIP_LOCATOR64_LEN, bytes, ZIP_LOCATOR64_LEN, e))
        return false;
    c = cursor_of(slice_of(bytes, ZIP_LOCATOR64_LEN));
    if (!cursor_le32(&c, &sig) || sig != ZIP_LOCATOR64_SIG)
        return true;
    if (!cursor_le32(&c, &disk) || !cursor_le64(&c, &at) || !cursor_le32(&c, &disks) || disk != 0 ||
        disks > 1)
        return err_fail(e, ERR_KIND_UNSUPPORTED, "an archive in several parts");
    /* The record fills the bytes before the locator: nothing else can be hidden there. */
    if (end->at < ZIP_LOCATOR64_LEN + ZIP_END64_LEN || at > end->at - ZIP_LOCATOR64_LEN - ZIP_END64_LEN)
        return err_fail(e, ERR_KIND_INVALID, "the zip64 end record lies outside the archive");
    if (!zip_pread(fd, at, bytes, ZIP_END64_LEN, e))
        return false;
    c = cursor_of(slice_of(bytes, ZIP_END64_LEN));
    if (!cursor_le32(&c, &sig) || sig != ZIP_END64_SIG || !cursor_le64(&c, &record_len) ||
        record_len != end->at - ZIP_LOCATOR64_LEN - at - 12)
        return err_fail(e, ERR_KIND_INVALID, "the zip64 end record is not where its locator says");
    if (!cursor_le16(&c, &version) || !cursor_le16(&c, &version) || !cursor_le32(&c, &disk) || disk != 0 ||
        !cursor_le32(&c, &disk) || disk != 0)
        return err_fail(e, ERR_KIND_UNSUPPORTED, "an archive in several parts");
    if (!cursor_le64(&c, &count_here) || !cursor_le64(&c, &count) || !cursor_le64(&c, &len) ||
        !cursor_le64(&c, &offset) || count_here != count)
        return err_fail(e, ERR_KIND_INVALID, "the zip64 end record contradicts itself");
    if ((end->count != ZIP_MAX16 && end->count != count) || (end->len != ZIP_MAX32 && end->len != len) ||
        (end->offset != ZIP_MAX32 && end->offset != offset))
        return err_fail(e, ERR_KIND_INVALID, "the end record contradicts the zip64 end record");
    *end = (struct end){ at, count, len, offset };
    *ret_found = true;
    return true;
}

static bool read_end(int fd, uint64_t archive_len, struct end *ret, struct err *e)
{
    size_t tail_len = archive_len < ZIP_END_LEN + COMMENT_MAX ? (size_t)archive_len
                                                              : ZIP_END_LEN + COMMENT_MAX;
    CLEANUP(mem_done) uint8_t *bytes = mem_new(tail_len, e);
    struct slice tail = slice_of(bytes, tail_len);
    struct end end = { 0 };
    struct cursor c;
    uint32_t sig, len, offset;
    uint16_t disk, first_disk, count_here, count;
    size_t at = 0;
    bool has_end64;

    if (!bytes)
        return false;
    if (archive_len < ZIP_END_LEN)
        return not_a_zip(e);
    if (!zip_pread(fd, archive_len - tail_len, bytes, tail_len, e) || !find_end(tail, &at, e))
        return false;
    c = cursor_of(slice_after(tail, at));
    if (!cursor_le32(&c, &sig) || !cursor_le16(&c, &disk) || !cursor_le16(&c, &first_disk) ||
        !cursor_le16(&c, &count_here) || !cursor_le16(&c, &count) || !cursor_le32(&c, &len) ||
        !cursor_le32(&c, &offset))
        return not_a_zip(e);
    if (disk != 0 || first_disk != 0 || count_here != count)
        return err_fail(e, ERR_KIND_UNSUPPORTED, "an archive in several parts");
    end = (struct end){ archive_len - tail_len + at, count, len, offset };
    if (!read_end64(fd, &end, &has_end64, e))
        return false;
    if (end.len > end.at || end.offset != end.at - end.len)
        return err_fail(
            e, ERR_KIND_INVALID,
            "the directory is not where the end record says: bytes were put before or into the archive");
    *ret = end;
    return true;
}

/* ---- extra fields ---- */

/* The next field of *extra. False with *e clear at the end. */
static bool extra_next(struct cursor *extra, uint16_t *ret_id, struct slice *ret_body, bool *ret_broken)
{
    uint16_t len;

    *ret_broken = false;
    if (cursor_end(extra))
        return false;
    *ret_broken = !cursor_le16(extra, ret_id) || !cursor_le16(extra, &len) ||
                  !cursor_bytes(extra, len, ret_body);
    return !*ret_broken;
}

/* The values the format wants in the field: those at their 32-bit maximum, in order, and nothing else. */
static bool zip64_strict(struct cursor c, uint64_t seen[3])
{
    uint32_t disk;

    for (size_t i = 0; i < 3; i++)
        if (seen[i] == ZIP_MAX32 && !cursor_le64(&c, &seen[i]))
            return false;
    if (c.left.len == 4 && (!cursor_le32(&c, &disk) || disk != 0))
        return false;
    return cursor_end(&c);
}

/* What some writers put there: the first values, needed or not. Those not needed have to agree. */
static bool zip64_lax(struct cursor c, uint64_t seen[3])
{
    for (size_t i = 0; i < 3 && !cursor_end(&c); i++) {
        uint64_t wide;

        if (!cursor_le64(&c, &wide) || (seen[i] != ZIP_MAX32 && seen[i] != wide))
            return false;
        seen[i] = wide;
    }
    return cursor_end(&c);
}

/* Case AR-10: two readings must not come to two results. */
static bool zip64_field(struct slice body, uint64_t *values[3])
{
    uint64_t seen[3] = { *values[0], *values[1], *values[2] };

    if (!zip64_strict(cursor_of(body), seen)) {
        for (size_t i = 0; i < 3; i++)
            seen[i] = *values[i];
        if (!zip64_lax(cursor_of(body), seen))
            return false;
    }
    for (size_t i = 0; i < 3; i++)
        *values[i] = seen[i];
    return true;
}

/* Also refuses a second name, which some readers prefer to the first. */
static bool read_extra(struct slice extra, struct zip_entry *entry, uint64_t *len, uint64_t *packed_len,
                       uint64_t *offset, struct err *e)
{
    struct cursor c = cursor_of(extra);
    uint64_t *values[3] = { len, packed_len, offset };
    struct slice body;
    uint16_t id;
    bool broken;
    bool found = false;

    while (extra_next(&c, &id, &body, &broken)) {
        if (id == ZIP_EXTRA_UNICODE_PATH && !slice_equal(slice_after(body, 5), entry->name))
            return refuse(e, ERR_KIND_INVALID, entry, "it has a second name");
        if (id != ZIP_EXTRA_ZIP64)
            continue;
        if (found || !zip64_field(body, values))
            return refuse(e, ERR_KIND_INVALID, entry, "its zip64 sizes contradict its header");
        found = true;
    }
    if (broken)
        return refuse(e, ERR_KIND_INVALID, entry, "its extra fields are broken");
    entry->has_zip64 = found;
    return true;
}

/* ---- the central directory ---- */

/* Files and directories only, with the type that the name says. */
static bool check_type(struct zip_entry *entry, uint16_t made_by, uint32_t attributes, struct err *e)
{
    static const struct {
        uint32_t type;
        const char *name;
    } refused[] = {
        { S_IFLNK, "it is a symbolic link" }, { S_IFCHR, "it is a character device" },
        { S_IFBLK, "it is a block device" },  { S_IFIFO, "it is a named pipe" },
        { S_IFSOCK, "it is a socket" },
    };
    uint32_t mode = attributes >> 16;
    uint32_t type = mode & S_IFMT;
    bool is_unix = made_by >> 8 == 3 || made_by >> 8 == 19;

    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (type == refused[i].type) /* whoever says to have made it: readers differ on that */
            return refuse(e, ERR_KIND_INVALID, entry, refused[i].name);
    if (is_unix && type != 0 && type != S_IFREG && type != S_IFDIR)
        return refuse(e, ERR_KIND_INVALID, entry, "it is of an unknown type");
    if (is_unix && type != 0 && (type == S_IFDIR) != entry->is_dir)
        return refuse(e, ERR_KIND_INVALID, entry,
                      "its name and its type differ on whether it is a directory");
    entry->is_executable = is_unix && !entry->is_dir && (mode & 0111) != 0;
    return true;
}

static bool check_sizes(const struct zip_entry *entry, const struct zip_limits *limits,
                        struct zip_directory *d, struct err *e)
{
    if (entry->method == METHOD_STORED && entry->len != entry->packed_len)
        return refuse(e, ERR_KIND_INVALID, entry, "it is stored, but with two different sizes");
    if (entry->is_dir && entry->len != 0)
        return refuse(e, ERR_KIND_INVALID, entry, "it is a directory with bytes");
    if (entry->len > limits->bytes - d->unpacked)
        return err_fail(e, ERR_KIND_LIMIT, "archive.limit.bytes: unpacks to more than %llu bytes",
                        (unsigned long long)limits->bytes);
    if (entry->len > RATIO_FREE_LEN && entry->len / limits->ratio > entry->packed_len)
        return refuse(e, ERR_KIND_LIMIT, entry, "archive.limit.ratio: it unpacks to too much for its size");
    d->unpacked += entry->len;
    return true;
}

/* One central header from the front of *c. */
static bool read_central(struct cursor *c, const struct zip_limits *limits, struct zip_directory *d,
                         struct zip_entry *ret, struct err *e)
{
    struct zip_entry entry = { 0 };
    struct slice extra, comment, times;
    uint32_t sig, packed_len, len, attributes, offset;
    uint16_t made_by, needed, name_len, extra_len, comment_len, disk, internal;

    if (!cursor_le32(c, &sig) || sig != ZIP_CENTRAL_SIG || !cursor_le16(c, &made_by) ||
        !cursor_le16(c, &needed) || !cursor_le16(c, &entry.flags) || !cursor_le16(c, &entry.method) ||
        !cursor_bytes(c, 4, &times) || !cursor_le32(c, &entry.crc) || !cursor_le32(c, &packed_len) ||
        !cursor_le32(c, &len) || !cursor_le16(c, &name_len) || !cursor_le16(c, &extra_len) ||
        !cursor_le16(c, &comment_len) || !cursor_le16(c, &disk) || !cursor_le16(c, &internal) ||
        !cursor_le32(c, &attributes) || !cursor_le32(c, &offset) || !cursor_bytes(c, name_len, &entry.name) ||
        !cursor_bytes(c, extra_len, &extra) || !cursor_bytes(c, comment_len, &comment))
        return err_fail(e, ERR_KIND_INVALID, "the directory is broken at its entry %zu", d->count + 1);
    entry.len = len;
    entry.packed_len = packed_len;
    entry.offset = offset;
    if (!zip_name_check(entry.name, limits->depth, &entry.path, &entry.is_dir, e) ||
        !read_extra(extra, &entry, &entry.len, &entry.packed_len, &entry.offset, e))
        return false;
    if (disk != 0)
        return refuse(e, ERR_KIND_UNSUPPORTED, &entry, "it lies in another part of the archive");
    if (entry.flags & 1)
        return refuse(e, ERR_KIND_UNSUPPORTED, &entry, "it is encrypted");
    if ((entry.flags & ~flags_known) != 0 ||
        (entry.method != METHOD_STORED && entry.method != METHOD_DEFLATED))
        return refuse(e, ERR_KIND_UNSUPPORTED, &entry, "it is packed in a way that is not supported");
    if (!check_type(&entry, made_by, attributes, e) || !check_sizes(&entry, limits, d, e))
        return false;
    *ret = entry;
    return true;
}

/* ---- local headers ---- */

/* A local size or checksum: the real value, or zero when a descriptor follows. */
static bool agrees(uint64_t local, uint64_t central, bool has_descriptor)
{
    return local == central || (has_descriptor && local == 0);
}

/* The descriptor that fills the bytes from at to next_at. There are four forms of it. */
static bool check_descriptor(int fd, const struct zip_entry *entry, uint64_t at, uint64_t next_at,
                             struct err *e)
{
    uint64_t room = next_at - at;
    uint8_t bytes[24];
    struct cursor c;
    uint32_t sig, crc, packed32, len32;
    uint64_t packed = 0, len = 0;
    bool ok;

    if (room != 12 && room != 16 && room != 20 && room != 24)
        return refuse(e, ERR_KIND_INVALID, entry, "bytes between it and the next one");
    if (!zip_pread(fd, at, bytes, (size_t)room, e))
        return false;
    c = cursor_of(slice_of(bytes, (size_t)room));
    ok = (room != 16 && room != 24) || (cursor_le32(&c, &sig) && sig == ZIP_DESCRIPTOR_SIG);
    ok = ok && cursor_le32(&c, &crc) && crc == entry->crc;
    if (room >= 20) {
        ok = ok && cursor_le64(&c, &packed) && cursor_le64(&c, &len);
    } else {
        ok = ok && cursor_le32(&c, &packed32) && cursor_le32(&c, &len32);
        packed = ok ? packed32 : 0;
        len = ok ? len32 : 0;
    }
    if (!ok || packed != entry->packed_len || len != entry->len)
        return refuse(e, ERR_KIND_INVALID, entry, "what follows its bytes contradicts the directory");
    return true;
}

/* The entry's own header says the same, and its bytes and descriptor end where the next record begins. */
static bool check_local(int fd, struct zip_entry *entry, uint64_t next_at, uint8_t *block, struct err *e)
{
    bool has_descriptor = (entry->flags & ZIP_FLAG_DESCRIPTOR) != 0;
    struct slice name, extra, times;
    struct zip_entry local = *entry;
    struct cursor c;
    uint32_t sig, crc, packed_len, len;
    uint16_t needed, flags, method, name_len, extra_len;
    uint64_t offset = 0; /* local zip64 fields have none */
    uint64_t head_len;
    uint64_t packed64, len64;

    if (next_at - entry->offset < ZIP_LOCAL_LEN)
        return refuse(e, ERR_KIND_INVALID, entry, "it overlaps another one");
    if (!zip_pread(fd, entry->offset, block, ZIP_LOCAL_LEN, e))
        return false;
    c = cursor_of(slice_of(block, ZIP_LOCAL_LEN));
    if (!cursor_le32(&c, &sig) || sig != ZIP_LOCAL_SIG || !cursor_le16(&c, &needed) ||
        !cursor_le16(&c, &flags) || !cursor_le16(&c, &method) || !cursor_bytes(&c, 4, &times) ||
        !cursor_le32(&c, &crc) || !cursor_le32(&c, &packed_len) || !cursor_le32(&c, &len) ||
        !cursor_le16(&c, &name_len) || !cursor_le16(&c, &extra_len))
        return refuse(e, ERR_KIND_INVALID, entry, "there is no header where the directory says");
    head_len = ZIP_LOCAL_LEN + (uint64_t)name_len + extra_len;
    if (head_len > next_at - entry->offset || entry->packed_len > next_at - entry->offset - head_len)
        return refuse(e, ERR_KIND_INVALID, entry, "it overlaps another one");
    if (!zip_pread(fd, entry->offset + ZIP_LOCAL_LEN, block, (size_t)name_len + extra_len, e))
        return false;
    name = slice_of(block, name_len);
    extra = slice_of(block + name_len, extra_len);
    packed64 = packed_len;
    len64 = len;
    if (!slice_equal(name, entry->name) || flags != entry->flags || method != entry->method)
        return refuse(e, ERR_KIND_INVALID, entry, "its own header contradicts the directory");
    if (!read_extra(extra, &local, &len64, &packed64, &offset, e))
        return false;
    if (!agrees(crc, entry->crc, has_descriptor) || !agrees(packed64, entry->packed_len, has_descriptor) ||
        !agrees(len64, entry->len, has_descriptor))
        return refuse(e, ERR_KIND_INVALID, entry, "its own header contradicts the directory");
    entry->data_at = entry->offset + head_len;
    if (has_descriptor && !entry->is_dir)
        return check_descriptor(fd, entry, entry->data_at + entry->packed_len, next_at, e);
    if (entry->data_at + entry->packed_len != next_at && !has_descriptor)
        return refuse(e, ERR_KIND_INVALID, entry, "bytes between it and the next one");
    if (entry->data_at + entry->packed_len != next_at)
        return check_descriptor(fd, entry, entry->data_at + entry->packed_len, next_at, e);
    return true;
}

/* ---- all of it ---- */

static int by_offset(const void *a, const void *b)
{
    const struct zip_entry *x = a;
    const struct zip_entry *y = b;

    return (x->offset > y->offset) - (x->offset < y->offset);
}

static int by_path(const void *a, const void *b)
{
    const struct zip_entry *x = a;
    const struct zip_entry *y = b;

    return slice_compare(x->path, y->path);
}

/* One name, one entry: which of two would win differs between readers. Case AR-13. */
static bool check_unique(struct zip_directory *d, struct err *e)
{
    qsort(d->at, d->count, sizeof(*d->at), by_path);
    for (size_t i = 1; i < d->count; i++) {
        const struct zip_entry *x = &d->at[i - 1];

        if (slice_equal(x->path, d->at[i].path) && !(x->is_dir && d->at[i].is_dir))
            return refuse(e, ERR_KIND_INVALID, x, "its name occurs twice");
    }
    return true;
}

static bool check_layout(int fd, struct zip_directory *d, struct err *e)
{
    /* A local header's name and extra are at most this long. */
    CLEANUP(mem_done) uint8_t *block = mem_new((size_t)2 * ZIP_MAX16, e);

    if (!block)
        return false;
    qsort(d->at, d->count, sizeof(*d->at), by_offset);
    if ((d->count ? d->at[0].offset : d->offset) != 0)
        return err_fail(e, ERR_KIND_INVALID, "bytes stand before the archive");
    for (size_t i = 0; i < d->count; i++) {
        uint64_t next_at = i + 1 < d->count ? d->at[i + 1].offset : d->offset;

        if (next_at > d->offset)
            return refuse(e, ERR_KIND_INVALID, &d->at[i + 1], "it lies outside the archive");
        if (!check_local(fd, &d->at[i], next_at, block, e))
            return false;
    }
    return true;
}

static bool read_entries(int fd, const struct end *end, const struct zip_limits *limits,
                         struct zip_directory *d, struct err *e)
{
    struct cursor c;
    uint8_t *at;

    if (end->count > limits->entries)
        return err_fail(e, ERR_KIND_LIMIT, "archive.limit.entries: %llu entries, at most %llu are unpacked",
                        (unsigned long long)end->count, (unsigned long long)limits->entries);
    if (end->len > DIRECTORY_MAX)
        return err_fail(e, ERR_KIND_LIMIT,
                        "archive.limit.entries: a directory of %llu bytes, at most %zu are read",
                        (unsigned long long)end->len, DIRECTORY_MAX);
    if (end->count > end->len / ZIP_CENTRAL_LEN)
        return err_fail(e, ERR_KIND_INVALID, "the directory is too short for its %llu entries",
                        (unsigned long long)end->count);
    d->at = mem_new_array((size_t)end->count, sizeof(*d->at), e);
    if (!d->at || !buf_reserve(&d->bytes, (size_t)end->len, &at, e) ||
        !zip_pread(fd, end->offset, at, (size_t)end->len, e))
        return false;
    buf_extend(&d->bytes, (size_t)end->len);
    c = cursor_of(buf_slice(&d->bytes));
    while (d->count < end->count) {
        if (!read_central(&c, limits, d, &d->at[d->count], e))
            return false;
        d->count++;
    }
    return cursor_end(&c) ||
           err_fail(e, ERR_KIND_INVALID, "the directory has more entries than its end record says");
}

bool zip_directory_read(int fd, const struct zip_limits *limits, struct zip_directory *ret, struct err *e)
{
    CLEANUP(zip_directory_done) struct zip_directory d = { .bytes = BUF_INIT(DIRECTORY_MAX) };
    struct stat st;
    struct end end = { 0 };

    if (fstat(fd, &st) != 0)
        return err_fail_os(e, "look at the archive");
    if (!S_ISREG(st.st_mode))
        return err_fail(e, ERR_KIND_INVALID, "the archive is not a regular file");
    d.len = (uint64_t)st.st_size;
    if (!read_end(fd, d.len, &end, e))
        return false;
    d.offset = end.offset;
    if (!read_entries(fd, &end, limits, &d, e) || !check_unique(&d, e) || !check_layout(fd, &d, e))
        return false;
    *ret = d;
    d = (struct zip_directory){ .bytes = BUF_INIT(DIRECTORY_MAX) };
    return true;
}

void zip_directory_done(struct zip_directory *d)
{
    mem_free(d->at);
    d->at = NULL;
    d->count = 0;
    buf_done(&d->bytes);
}
