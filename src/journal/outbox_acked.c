#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/cursor.h"
#include "base/hash.h"
#include "base/mem.h"
#include "journal/outbox_int.h"

#define ACK_MAGIC "COCOSACK"
#define ACK_SLOT_LEN 32
#define SEEN_SLOT_LEN 32
#define RESERVE_LEN ((off_t)256 * 1024)

/*
 * A slot of 32 bytes goes out in one write, in place: a process that is killed
 * has written it or not, and should a power failure tear it, its CRC tells and
 * the slot before it still stands.
 */
static bool slot_finish(struct buf *b, struct err *e)
{
    struct slice s = buf_slice(b);

    return buf_append_le32(b, (uint32_t)crc32(crc32(0, NULL, 0), s.at, (uInt)s.len), e);
}

static bool slot_is_valid(const uint8_t *at, size_t len)
{
    struct cursor c = cursor_of(slice_of(at + len - 4, 4));
    uint32_t crc;

    return cursor_le32(&c, &crc) && crc == (uint32_t)crc32(crc32(0, NULL, 0), at, (uInt)(len - 4));
}

static bool slot_write(const struct outbox *o, int fd, struct slice s, uint64_t offset, struct err *e)
{
    ssize_t n;

    do
        n = o->io.pwrite(fd, s.at, s.len, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_fail_os(e, "write what is acknowledged");
    if ((size_t)n != s.len)
        return err_fail(e, ERR_KIND_LIMIT, "write what is acknowledged: the disk is full");
    return true;
}

/* Opens a file and gives it its size, so that writing to it later needs no room. */
static bool open_sized(struct outbox *o, const char *name, off_t size, int *ret, struct err *e)
{
    struct stat st;
    int fd = openat(o->dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return err_fail_os(e, "open outbox file '%s'", name);
    *ret = fd; /* closed with the outbox */
    if (fstat(fd, &st) != 0)
        return err_fail_os(e, "look at outbox file '%s'", name);
    if (st.st_size < size) {
        int failed = posix_fallocate(fd, 0, size);

        if (failed != 0) {
            errno = failed;
            return err_fail_os(e, "make room for outbox file '%s'", name);
        }
    }
    return true;
}

/* -------------------------------------------------------------- acknowledged */

bool acked_write(struct outbox *o, struct err *e)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(ACK_SLOT_LEN);

    o->ack_writes++;
    return buf_append_str(&b, ACK_MAGIC, e) && buf_append_le64(&b, o->acked, e) &&
           buf_append_le64(&b, o->dropped, e) && buf_append_le32(&b, o->ack_writes, e) &&
           slot_finish(&b, e) &&
           slot_write(o, o->acked_fd, buf_slice(&b), (o->ack_writes & 1) * (uint64_t)ACK_SLOT_LEN, e);
}

bool acked_load(struct outbox *o, struct err *e)
{
    uint8_t both[2 * ACK_SLOT_LEN] = { 0 };

    if (!open_sized(o, "acked", sizeof(both), &o->acked_fd, e))
        return false;
    if (pread(o->acked_fd, both, sizeof(both), 0) != (ssize_t)sizeof(both))
        return err_fail_os(e, "read outbox file 'acked'");
    for (int i = 0; i < 2; i++) {
        const uint8_t *slot = both + i * ACK_SLOT_LEN;
        struct cursor c = cursor_of(slice_of(slot, ACK_SLOT_LEN));
        struct slice magic;
        uint64_t acked, dropped;
        uint32_t writes;

        if (!slot_is_valid(slot, ACK_SLOT_LEN) || !cursor_bytes(&c, 8, &magic) ||
            !slice_equal_str(magic, ACK_MAGIC) || !cursor_le64(&c, &acked) || !cursor_le64(&c, &dropped) ||
            !cursor_le32(&c, &writes))
            continue;
        if (writes < o->ack_writes || acked >= UINT64_MAX / 2)
            continue;
        o->acked = acked;
        o->dropped = dropped;
        o->ack_writes = writes;
    }
    o->next_seq = o->acked + 1;
    return true;
}

/* ---------------------------------------------------------------- seen before */

bool seen_digest(struct slice payload, uint8_t ret[SEEN_DIGEST_LEN], struct err *e)
{
    uint8_t whole[HASH_SHA256_LEN];

    if (!hash_bytes(HASH_SHA256, payload, whole, e))
        return false;
    memcpy(ret, whole, SEEN_DIGEST_LEN);
    return true;
}

static void seen_keep(struct outbox *o, uint64_t number, const uint8_t *digest, bool from_before)
{
    struct seen_entry *s = &o->seen[number % o->seen_count];

    memcpy(s->digest, digest, SEEN_DIGEST_LEN);
    s->from_before = from_before;
    s->used = true;
}

static struct seen_entry *seen_find(struct outbox *o, const uint8_t *digest)
{
    for (size_t i = 0; i < o->seen_count; i++) {
        if (o->seen[i].used && memcmp(o->seen[i].digest, digest, SEEN_DIGEST_LEN) == 0)
            return &o->seen[i];
    }
    return NULL;
}

bool seen_before(struct outbox *o, enum outbox_class cls, const uint8_t *digest)
{
    struct seen_entry *s = seen_find(o, digest);

    if (!s)
        return false;
    if (cls == OUTBOX_EVENT)
        return true;
    /*
     * Equal logs may be meant: other senders give all pieces of a text one time
     * stamp. Only what an earlier process of ours took can come again because
     * its answer was lost, and only once.
     */
    if (cls != OUTBOX_LOG || !s->from_before)
        return false;
    s->used = false;
    return true;
}

void seen_add(struct outbox *o, const uint8_t *digest, bool from_before)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(SEEN_SLOT_LEN);
    struct err e = ERR_INIT;
    uint64_t number = o->seen_number + 1;

    if (from_before && seen_find(o, digest))
        return;
    o->seen_number = number;
    seen_keep(o, number, digest, from_before);
    /* A slot that could not be written costs at most one doubled record, after a crash. */
    if (!buf_append_le64(&b, number, &e) || !buf_append(&b, slice_of(digest, SEEN_DIGEST_LEN), &e) ||
        !buf_append_le32(&b, 0, &e) || !slot_finish(&b, &e) ||
        !slot_write(o, o->seen_fd, buf_slice(&b), number % o->seen_count * SEEN_SLOT_LEN, &e))
        return;
}

bool seen_load(struct outbox *o, struct err *e)
{
    CLEANUP(mem_done) uint8_t *all = NULL;
    size_t len = o->seen_count * SEEN_SLOT_LEN;

    o->seen = mem_new_array(o->seen_count, sizeof(*o->seen), e);
    if (!o->seen || !open_sized(o, "seen", (off_t)len, &o->seen_fd, e))
        return false;
    all = mem_new(len, e);
    if (!all)
        return false;
    if (pread(o->seen_fd, all, len, 0) != (ssize_t)len)
        return err_fail_os(e, "read outbox file 'seen'");
    for (size_t i = 0; i < o->seen_count; i++) {
        const uint8_t *slot = all + i * SEEN_SLOT_LEN;
        struct cursor c = cursor_of(slice_of(slot, SEEN_SLOT_LEN));
        struct slice digest;
        uint64_t number;

        /* A slot is in its own place, or was written with another size of the ring. */
        if (!slot_is_valid(slot, SEEN_SLOT_LEN) || !cursor_le64(&c, &number) ||
            !cursor_bytes(&c, SEEN_DIGEST_LEN, &digest) || number == 0 || number >= UINT64_MAX / 2 ||
            number % o->seen_count != i)
            continue;
        seen_keep(o, number, digest.at, true);
        if (number > o->seen_number)
            o->seen_number = number;
    }
    return true;
}

/* -------------------------------------------------------------------- reserve */

bool reserve_make(struct outbox *o)
{
    if (o->have_reserve)
        return true;

    int fd = openat(o->dir_fd, "reserve", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return false;

    /* A file system without fallocate has no reserve, which is no reason to fail. */
    bool made = fallocate(fd, 0, 0, RESERVE_LEN) == 0;
    bool can = made || errno == EOPNOTSUPP;

    close(fd);
    if (!made)
        unlinkat(o->dir_fd, "reserve", 0);
    o->have_reserve = made;
    return can;
}

bool reserve_release(struct outbox *o)
{
    if (!o->have_reserve)
        return false;
    o->have_reserve = false;
    return unlinkat(o->dir_fd, "reserve", 0) == 0;
}
