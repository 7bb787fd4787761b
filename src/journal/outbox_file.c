#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "base/cursor.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "journal/outbox_int.h"

static const char lane_letters[LANE_COUNT] = { 'e', 'l', 'd' };

static enum lane_id lane_of(const struct outbox_record *r)
{
    if (r->cls != OUTBOX_LOG)
        return LANE_EVENTS;
    return r->level < LOG_INFO ? LANE_DEBUG : LANE_LOGS;
}

/* ------------------------------------------------------------------ segments */

static struct segment *segment_new(enum lane_id id, uint64_t first, struct err *e)
{
    struct segment *s = mem_new(sizeof(*s), e);

    if (!s)
        return NULL;
    s->first = first;
    s->fd = -1;
    s->size = SEGMENT_HEAD_LEN;
    snprintf(s->name, sizeof(s->name), "%c-%016llx", lane_letters[id], (unsigned long long)first);
    return s;
}

static void segment_free(struct segment *s)
{
    fd_done(&s->fd);
    mem_free(s);
}

void segment_rest(struct lane *l, struct segment *s)
{
    if (s != l->newest && s != l->at && !s->dirty)
        fd_done(&s->fd);
}

static bool segment_open(struct outbox *o, struct segment *s, struct err *e)
{
    if (s->fd >= 0)
        return true;
    s->fd = openat(o->dir_fd, s->name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return s->fd >= 0 || err_fail_os(e, "open outbox file '%s'", s->name);
}

/* Exactly len bytes. False when there are less, and with *e when they can't be read. */
static bool read_exactly(const struct segment *s, uint8_t *at, size_t len, uint64_t offset, struct err *e)
{
    size_t got;

    return file_pread(s->fd, offset, at, len, &got, e) && got == len;
}

struct record_head {
    struct outbox_record record;
    uint32_t len, crc;
};

static bool record_head_parse(const uint8_t bytes[RECORD_HEAD_LEN], struct record_head *ret)
{
    struct cursor c = cursor_of(slice_of(bytes, RECORD_HEAD_LEN));
    uint8_t cls, level;
    uint16_t zero;

    if (!cursor_le32(&c, &ret->len) || !cursor_le32(&c, &ret->crc) || !cursor_le64(&c, &ret->record.seq) ||
        !cursor_u8(&c, &cls) || !cursor_u8(&c, &level) || !cursor_le16(&c, &zero))
        return false;
    if (ret->len > OUTBOX_RECORD_MAX || zero != 0 || cls < OUTBOX_EVENT || cls > OUTBOX_LOG)
        return false;
    ret->record.cls = (enum outbox_class)cls;
    ret->record.level = level < 128 ? level : (int)level - 256;
    return true;
}

/* The record at offset with its payload. False when there is no whole and valid one, and with *e when
 * that can't be known. */
static bool segment_read(const struct segment *s, uint64_t offset, struct record_head *ret,
                         struct buf *payload, struct err *e)
{
    uint8_t head[RECORD_HEAD_LEN];
    uint8_t *at;

    buf_truncate(payload, 0);
    if (!read_exactly(s, head, sizeof(head), offset, e) || !record_head_parse(head, ret))
        return false;
    if (!buf_reserve(payload, ret->len, &at, e) ||
        !read_exactly(s, at, ret->len, offset + RECORD_HEAD_LEN, e))
        return false;
    buf_extend(payload, ret->len);

    uLong crc = crc32(crc32(0, NULL, 0), head + 8, RECORD_HEAD_LEN - 8);

    /* zlib takes no bytes at NULL for a request to start anew. */
    if (ret->len)
        crc = crc32(crc, at, ret->len);
    return (uint32_t)crc == ret->crc;
}

/* What could not be read may well be valid, and stays. */
static bool cut_is_right(const struct segment *s, const struct err *why, struct err *e)
{
    if (why->kind == ERR_KIND_NONE)
        return true;
    *e = *why;
    return err_wrap(e, "outbox file '%s'", s->name);
}

/* Counts the valid records from the front; what lies behind them is cut off. */
static bool segment_check(struct outbox *o, enum lane_id id, struct segment *s, struct buf *payload,
                          struct err *e)
{
    uint8_t magic[SEGMENT_HEAD_LEN];
    struct record_head head;
    struct stat st;
    uint64_t end = s->next ? s->next->first : UINT64_MAX / 2;
    struct err why = ERR_INIT;

    if (!segment_open(o, s, e))
        return false;
    if (fstat(s->fd, &st) != 0)
        return err_fail_os(e, "look at outbox file '%s'", s->name);
    if (!read_exactly(s, magic, sizeof(magic), 0, &why) || memcmp(magic, SEGMENT_MAGIC, sizeof(magic)) != 0)
        return cut_is_right(s, &why, e); /* count 0: removed by the caller */
    while (segment_read(s, s->size, &head, payload, &why)) {
        if (head.record.seq < s->first || (s->count > 0 && head.record.seq <= s->last) ||
            head.record.seq >= end || lane_of(&head.record) != id)
            break;
        s->last = head.record.seq;
        s->count++;
        s->size += RECORD_HEAD_LEN + head.len;
        if (o->seen_count && head.record.seq > o->acked) {
            uint8_t digest[SEEN_DIGEST_LEN];

            if (!seen_digest(buf_slice(payload), digest, e))
                return false;
            seen_add(o, digest, true);
        }
    }
    if (!cut_is_right(s, &why, e))
        return false;
    if ((uint64_t)st.st_size > s->size) {
        o->torn++;
        if (ftruncate(s->fd, (off_t)s->size) != 0)
            return err_fail_os(e, "cut off the broken end of outbox file '%s'", s->name);
    }
    return true;
}

/* --------------------------------------------------------------------- lanes */

static void lane_insert(struct lane *l, struct segment *s)
{
    struct segment **at = &l->oldest;

    while (*at && (*at)->first < s->first)
        at = &(*at)->next;
    s->next = *at;
    *at = s;
    if (!s->next)
        l->newest = s;
}

static bool lane_of_name(const char *name, enum lane_id *ret_id, uint64_t *ret_first)
{
    uint64_t first = 0;

    if (strlen(name) != SEGMENT_NAME_LEN || name[1] != '-')
        return false;
    for (const char *p = name + 2; *p; p++) {
        if (*p >= '0' && *p <= '9')
            first = first << 4 | (uint64_t)(*p - '0');
        else if (*p >= 'a' && *p <= 'f')
            first = first << 4 | (uint64_t)(*p - 'a' + 10);
        else
            return false;
    }
    for (int i = 0; i < LANE_COUNT; i++) {
        if (name[0] == lane_letters[i]) {
            *ret_id = (enum lane_id)i;
            *ret_first = first;
            return first > 0 && first < UINT64_MAX / 2;
        }
    }
    return false;
}

static bool lanes_find(struct outbox *o, struct err *e)
{
    CLEANUP(dir_done) DIR *dir = NULL;
    const char *name;
    bool ok;

    if (!dir_list(o->dir_fd, &dir, e))
        return err_wrap(e, "the outbox");
    while ((name = dir_next(dir, &ok, e))) {
        enum lane_id id;
        uint64_t first;

        if (!lane_of_name(name, &id, &first))
            continue;

        struct segment *s = segment_new(id, first, e);

        if (!s)
            return false;
        lane_insert(&o->lanes[id], s);
    }
    return ok || err_wrap(e, "the outbox");
}

static void unlink_segment(struct outbox *o, struct lane *l, struct segment **at)
{
    struct segment *s = *at;

    unlinkat(o->dir_fd, s->name, 0);
    *at = s->next;
    if (l->newest == s) {
        struct segment *last = l->oldest;

        while (last && last->next)
            last = last->next;
        l->newest = last;
    }
    if (l->at == s) {
        l->at = s->next;
        l->at_offset = SEGMENT_HEAD_LEN;
        l->loaded = false;
    }
    o->bytes -= s->size;
    segment_free(s);
}

bool lanes_load(struct outbox *o, struct err *e)
{
    CLEANUP(buf_done) struct buf payload = BUF_INIT(OUTBOX_RECORD_MAX);

    if (!lanes_find(o, e))
        return false;
    for (int i = 0; i < LANE_COUNT; i++) {
        struct lane *l = &o->lanes[i];
        struct segment **at = &l->oldest;

        while (*at) {
            struct segment *s = *at;

            if (!segment_check(o, (enum lane_id)i, s, &payload, e))
                return false;
            o->bytes += s->size;
            if (s->first > o->next_seq)
                o->next_seq = s->first;
            if (s->count && s->last >= o->next_seq)
                o->next_seq = s->last + 1;
            if (s->count == 0 || s->last <= o->acked) {
                unlink_segment(o, l, at);
                continue;
            }
            segment_rest(l, s);
            at = &s->next;
        }
    }
    return true;
}

void lanes_done(struct outbox *o)
{
    for (int i = 0; i < LANE_COUNT; i++) {
        struct segment *s = o->lanes[i].oldest;

        while (s) {
            struct segment *next = s->next;

            segment_free(s);
            s = next;
        }
        o->lanes[i] = (struct lane){ .oldest = NULL };
    }
}

/* ------------------------------------------------------------------- writing */

static bool is_no_room(int os_errno)
{
    return os_errno == ENOSPC || os_errno == EDQUOT || os_errno == EFBIG;
}

/* All of the bytes or none: what a failed write left is cut off again. */
static enum lane_write write_at(struct outbox *o, struct segment *s, struct slice bytes, uint64_t offset,
                                struct err *e)
{
    size_t done = 0;

    while (done < bytes.len) {
        ssize_t n = o->io.pwrite(s->fd, bytes.at + done, bytes.len - done, (off_t)(offset + done));

        if (n > 0) {
            done += (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;

        bool no_room = n == 0 || is_no_room(errno);

        err_fail_os(e, "write to outbox file '%s'", s->name);
        if (ftruncate(s->fd, (off_t)offset) != 0)
            return LANE_WRITE_FAILED; /* what is left has a wrong CRC and is overwritten next */
        return no_room ? LANE_WRITE_NO_ROOM : LANE_WRITE_FAILED;
    }
    return LANE_WRITE_DONE;
}

static enum lane_write lane_new_segment(struct outbox *o, enum lane_id id, uint64_t first, struct err *e)
{
    struct lane *l = &o->lanes[id];
    struct segment *s = segment_new(id, first, e);

    if (!s)
        return LANE_WRITE_FAILED;
    s->fd = openat(o->dir_fd, s->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->fd < 0) {
        bool no_room = is_no_room(errno);

        err_fail_os(e, "make outbox file '%s'", s->name);
        segment_free(s);
        return no_room ? LANE_WRITE_NO_ROOM : LANE_WRITE_FAILED;
    }

    struct slice magic = SLICE_LIT(SEGMENT_MAGIC);
    enum lane_write w = write_at(o, s, magic, 0, e);

    if (w != LANE_WRITE_DONE) {
        unlinkat(o->dir_fd, s->name, 0);
        segment_free(s);
        return w;
    }

    struct segment *before = l->newest;

    lane_insert(l, s);
    if (before)
        segment_rest(l, before);
    o->bytes += s->size;
    o->dir_dirty |= id == LANE_EVENTS;
    return LANE_WRITE_DONE;
}

static bool record_encode(struct outbox *o, const struct outbox_record *r, struct slice payload,
                          struct err *e)
{
    struct buf *b = &o->scratch;

    buf_truncate(b, 0);
    if (!buf_append_le32(b, (uint32_t)payload.len, e) || !buf_append_le32(b, 0, e) ||
        !buf_append_le64(b, r->seq, e) || !buf_append_u8(b, (uint8_t)r->cls, e) ||
        !buf_append_u8(b, (uint8_t)(int8_t)r->level, e) || !buf_append_le16(b, 0, e) ||
        !buf_append(b, payload, e))
        return false;

    struct slice all = buf_slice(b);
    uint32_t crc = (uint32_t)crc32(crc32(0, NULL, 0), all.at + 8, (uInt)(all.len - 8));

    for (int i = 0; i < 4; i++)
        b->base[b->start + 4 + (size_t)i] = (uint8_t)(crc >> (8 * i));
    return true;
}

enum lane_write lane_append(struct outbox *o, enum lane_id id, const struct outbox_record *r,
                            struct slice payload, struct err *e)
{
    struct lane *l = &o->lanes[id];
    size_t len = RECORD_HEAD_LEN + payload.len;

    if (!record_encode(o, r, payload, e))
        return LANE_WRITE_FAILED;
    if (!l->newest || (l->newest->count > 0 && l->newest->size + len > o->segment_size)) {
        enum lane_write w = lane_new_segment(o, id, r->seq, e);

        if (w != LANE_WRITE_DONE)
            return w;
    }

    struct segment *s = l->newest;

    if (!segment_open(o, s, e))
        return LANE_WRITE_FAILED;

    enum lane_write w = write_at(o, s, buf_slice(&o->scratch), s->size, e);

    if (w != LANE_WRITE_DONE)
        return w;
    s->size += len;
    s->count++;
    s->last = r->seq;
    s->dirty = id == LANE_EVENTS;
    o->bytes += len;
    return LANE_WRITE_DONE;
}

/* ------------------------------------------------------------------ removing */

static uint64_t count_unacked(struct outbox *o, struct segment *s)
{
    uint64_t offset = SEGMENT_HEAD_LEN, count = 0;
    uint8_t bytes[RECORD_HEAD_LEN];
    struct record_head head;
    struct err e = ERR_INIT;

    if (s->count == 0 || s->first > o->acked || !segment_open(o, s, &e))
        return s->count;
    while (offset < s->size && read_exactly(s, bytes, sizeof(bytes), offset, &e) &&
           record_head_parse(bytes, &head)) {
        count += head.record.seq > o->acked;
        offset += RECORD_HEAD_LEN + head.len;
    }
    return count;
}

bool lane_drop_oldest(struct outbox *o, enum lane_id id)
{
    struct lane *l = &o->lanes[id];

    if (!l->oldest)
        return false;

    uint64_t count = count_unacked(o, l->oldest);

    o->dropped += count;
    o->dropped_ever += count;
    unlink_segment(o, l, &l->oldest);
    return true;
}

void lane_forget_acked(struct outbox *o, struct lane *l)
{
    while (l->oldest && l->oldest->count > 0 && l->oldest->last <= o->acked) {
        struct segment *s = l->oldest;

        if (s != l->newest || s->fd < 0 || ftruncate(s->fd, SEGMENT_HEAD_LEN) != 0) {
            unlink_segment(o, l, &l->oldest);
            continue;
        }
        /* The file stays for the next records: an empty one costs less than a new one. */
        o->bytes -= s->size - SEGMENT_HEAD_LEN;
        s->size = SEGMENT_HEAD_LEN;
        s->count = 0;
        if (l->at == s)
            lane_rewind(l);
    }
}

/* ------------------------------------------------------------------- reading */

void lane_rewind(struct lane *l)
{
    struct segment *was = l->at;

    l->at = NULL;
    l->at_offset = SEGMENT_HEAD_LEN;
    l->passed = 0;
    l->loaded = false;
    if (was)
        segment_rest(l, was);
}

/* To the segment that holds the byte at at_offset; false when all is read. */
static bool lane_advance(struct lane *l)
{
    if (!l->at) {
        l->at = l->oldest;
        l->at_offset = SEGMENT_HEAD_LEN;
    }
    while (l->at && l->at_offset >= l->at->size) {
        struct segment *read = l->at;

        if (!read->next)
            return false;
        l->at = read->next;
        l->at_offset = SEGMENT_HEAD_LEN;
        segment_rest(l, read);
    }
    return l->at != NULL;
}

/* What can't be read is gone: the segment ends here, so that what follows can still be delivered. */
static void lane_cut(struct outbox *o, struct lane *l)
{
    struct segment *s = l->at;

    o->bytes -= s->size - l->at_offset;
    s->size = l->at_offset;
    s->last = l->passed;
    l->loaded = false;
    o->torn++;
    lane_forget_acked(o, l);
}

enum outbox_step lane_load_next(struct outbox *o, struct lane *l, struct err *e)
{
    uint8_t bytes[RECORD_HEAD_LEN];
    struct record_head head;
    struct err why = ERR_INIT; /* the next time it is as bad, so the reason counts for nothing */

    if (l->loaded && l->next.seq > o->acked)
        return OUTBOX_READY;
    l->loaded = false;
    while (lane_advance(l)) {
        if (!segment_open(o, l->at, e))
            return OUTBOX_BROKEN;
        if (!read_exactly(l->at, bytes, sizeof(bytes), l->at_offset, &why) ||
            !record_head_parse(bytes, &head)) {
            err_fail(e, ERR_KIND_INTERNAL, "outbox file '%s' is damaged at byte %llu", l->at->name,
                     (unsigned long long)l->at_offset);
            lane_cut(o, l);
            return OUTBOX_BROKEN;
        }
        if (head.record.seq > o->acked) {
            l->next = head.record;
            l->next_len = head.len;
            l->loaded = true;
            return OUTBOX_READY;
        }
        l->at_offset += RECORD_HEAD_LEN + head.len;
        l->passed = head.record.seq;
    }
    return OUTBOX_NONE;
}

bool lane_take_next(struct outbox *o, struct lane *l, struct buf *payload, struct err *e)
{
    struct record_head head;
    struct err why = ERR_INIT;

    if (!segment_read(l->at, l->at_offset, &head, payload, &why)) {
        err_fail(e, ERR_KIND_INTERNAL, "outbox file '%s' is damaged at byte %llu", l->at->name,
                 (unsigned long long)l->at_offset);
        lane_cut(o, l);
        return false;
    }
    l->at_offset += RECORD_HEAD_LEN + head.len;
    l->passed = head.record.seq;
    l->loaded = false;
    return true;
}
