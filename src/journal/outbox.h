/*
 * Records that wait on disk until someone has them.
 *
 * A queue in a directory: records are appended with rising sequence numbers,
 * read in that order, and removed when they are acknowledged. What has been
 * appended survives kill -9 at any instant; events and replies are flushed to
 * the disk as well. Memory is bounded: records live in files, one at a time is
 * read back. A payload is a serialized cvms.ClientStreamMessage and opaque here.
 *
 * Events and replies, logs, and debug logs are kept in files of their own
 * (lanes), so that when room runs out, by bytes_max or on the disk, whole files
 * of the oldest debug logs can go first, then of other logs. Events and replies
 * are never dropped. How many records went is told by a record that is appended
 * when there is room again. Case AG-15.
 *
 * One thread, that of the loop; one reader; one process per directory (locked).
 *
 * Files, all numbers little-endian:
 *
 *   lock              held with flock while the outbox is open
 *   acked             two slots of 32 bytes, written in turn: "COCOSACK", u64
 *                     sequence number acknowledged, u64 records dropped and not
 *                     yet told, u32 count of writes, u32 CRC-32 of the 28 bytes
 *                     before. The valid slot with the higher count holds.
 *   reserve           room given back when the disk is full, so that events fit
 *   <lane>-<first>    a segment: lane is e, l or d, first the 16 hex digits of
 *                     the lowest sequence number it may hold. "COCOSJ1\n", then
 *                     records: u32 payload length, u32 CRC-32 of what follows,
 *                     u64 sequence number, u8 class, i8 level, u16 zero, payload.
 *
 * A record that is cut off or whose CRC is wrong ends its segment; what stands
 * behind it is dropped, what stands before is kept.
 */
#ifndef JOURNAL_OUTBOX_H
#define JOURNAL_OUTBOX_H

#include <sys/types.h>
#include <uv.h>

#include "base/buf.h"

enum outbox_class { OUTBOX_EVENT = 1, OUTBOX_REPLY = 2, OUTBOX_LOG = 3 };

#define OUTBOX_BYTES_MAX_DEFAULT ((uint64_t)64 * 1024 * 1024)
#define OUTBOX_RECORD_MAX ((size_t)4 * 1024 * 1024 - 1024) /* bytes of one payload */

/* The system calls that can find the disk full; a test gives its own. NULL members: the real ones. */
struct outbox_io {
    ssize_t (*pwrite)(int fd, const void *at, size_t len, off_t offset);
    int (*fdatasync)(int fd); /* called in the pool */
};

struct outbox_config {
    const char *dir;            /* made (0700) when missing                                         */
    uint64_t bytes_max;         /* on disk, 0: OUTBOX_BYTES_MAX_DEFAULT                             */
    size_t dedup;               /* how many of the latest records are remembered so that a second
                              delivery of one is dropped; 0: none. See outbox_append.          */
    const struct outbox_io *io; /* borrowed; NULL: the real ones                               */

    /* Makes the payload of the log record that tells how many records were dropped. NULL: not told. */
    bool (*note)(uint64_t dropped, struct buf *payload, void *ctx);
    void *note_ctx;
};

struct outbox;

/* Reads what is there. UNAVAILABLE when another process has the directory. */
bool outbox_open(uv_loop_t *loop, const struct outbox_config *cfg, struct outbox **ret,
                 struct err *e) MUST_CHECK;

/*
 * Writes what is left to write and lets go; `closed` (may be NULL) comes when
 * the loop has. Flushes still waited for are told false. Accepts NULL, which
 * closes at once.
 */
void outbox_close(struct outbox *o, void (*closed)(void *ctx), void *ctx);

/*
 * Appends a record. level counts for OUTBOX_LOG only (base/log.h). *ret_seq may be NULL.
 *
 * With dedup: an event whose payload is among the latest ones, and a log that
 * was among them when the outbox was opened (so a sender that did not hear
 * our answer before we died may send it again), are not appended again; that
 * is a success, with the sequence number 0.
 *
 * LIMIT: too long, or no room although every log has been dropped. A log that
 * finds no room is itself dropped and counted; that is a success too, 0.
 */
bool outbox_append(struct outbox *o, enum outbox_class cls, int level, struct slice payload,
                   uint64_t *ret_seq, struct err *e) MUST_CHECK;

/*
 * `flushed` comes once, on a later turn of the loop, when every event and
 * reply appended before is on the disk (true), or could not be brought there
 * (false). They are flushed without being asked as well; many share one flush.
 * Logs are left to the kernel: they survive us, but not a power failure.
 */
bool outbox_flush(struct outbox *o, void (*flushed)(bool ok, void *ctx), void *ctx, struct err *e) MUST_CHECK;

/* ------------------------------------------------------------------ reading */

struct outbox_record {
    uint64_t seq;
    enum outbox_class cls;
    int level;
};

enum outbox_step { OUTBOX_BROKEN, OUTBOX_NONE, OUTBOX_READY };

/*
 * The next record behind the one read before; its payload replaces what is in
 * *payload (BUF_INIT(OUTBOX_RECORD_MAX)). OUTBOX_BROKEN: *e is set, a file
 * could not be read.
 */
enum outbox_step outbox_next(struct outbox *o, struct outbox_record *ret, struct buf *payload,
                             struct err *e) MUST_CHECK;

/* Reading starts again at the first record that is not acknowledged. */
void outbox_rewind(struct outbox *o);

/* Records up to and with seq are delivered: they are forgotten, now and after a restart. */
bool outbox_ack(struct outbox *o, uint64_t seq, struct err *e) MUST_CHECK;

/* `ready` comes on a later turn of the loop after records have been appended. NULL takes it away. */
void outbox_on_ready(struct outbox *o, void (*ready)(void *ctx), void *ctx);

/* True when every record is acknowledged. */
bool outbox_is_empty(const struct outbox *o);

struct outbox_stats {
    uint64_t records;      /* waiting, about: a lane counts what it holds     */
    uint64_t bytes;        /* on disk                                         */
    uint64_t acked;        /* sequence number                                 */
    uint64_t last;         /* sequence number, the highest given              */
    uint64_t dropped;      /* records, not yet told                           */
    uint64_t dropped_ever; /* records, since the outbox was opened            */
    uint64_t torn;         /* segments found cut off when it was opened       */
    uint64_t duplicates;   /* records not appended because they were there    */
};
void outbox_stats(const struct outbox *o, struct outbox_stats *ret);

#endif
