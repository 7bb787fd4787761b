/*
 * The outbox's inside: lanes of segment files, the acknowledgement file, the
 * ring of payloads seen, and flushing in the pool. See outbox.h for the formats.
 */
#ifndef JOURNAL_OUTBOX_INT_H
#define JOURNAL_OUTBOX_INT_H

#include "journal/outbox.h"

#define SEGMENT_MAGIC "COCOSJ1\n"
#define SEGMENT_HEAD_LEN 8
#define RECORD_HEAD_LEN 20
#define SEGMENT_NAME_LEN 18 /* "e-" and 16 hex digits */

enum lane_id { LANE_EVENTS, LANE_LOGS, LANE_DEBUG, LANE_COUNT };

struct segment {
    struct segment *next;
    uint64_t first; /* lowest sequence number it may hold                  */
    uint64_t last;  /* highest one it holds; below first: none             */
    uint64_t count; /* records, acknowledged ones too                      */
    uint64_t size;  /* bytes that are valid                                */
    int fd;         /* -1 when not open                                    */
    bool dirty;     /* of the events, written since it was last flushed    */
    char name[SEGMENT_NAME_LEN + 1];
};

struct lane {
    struct segment *oldest, *newest;

    /* Where reading goes on. at is NULL before the first segment. */
    struct segment *at;
    uint64_t at_offset;
    uint64_t passed; /* sequence number of the record before at_offset, 0: none */
    bool loaded;     /* next and next_len are of the record at at_offset */
    struct outbox_record next;
    uint32_t next_len;
};

#define SEEN_DIGEST_LEN 16
struct seen_entry {
    uint8_t digest[SEEN_DIGEST_LEN];
    bool from_before; /* seen by an earlier process */
    bool used;
};

struct flush_wait {
    struct flush_wait *next;
    void (*flushed)(bool ok, void *ctx);
    void *ctx;
};

struct flush_job; /* one round in the pool */

struct outbox {
    uv_loop_t *loop;
    uv_async_t wake; /* unreferenced: a quiet outbox keeps no loop alive */
    struct outbox_io io;
    int dir_fd, lock_fd, acked_fd, seen_fd;
    uint64_t bytes_max, segment_size;
    bool (*note)(uint64_t dropped, struct buf *payload, void *ctx);
    void *note_ctx;

    struct lane lanes[LANE_COUNT];
    uint64_t bytes; /* of all segments */
    uint64_t next_seq;
    uint64_t acked;
    uint64_t dropped; /* not yet told */
    uint64_t dropped_ever, torn, duplicates;
    uint32_t ack_writes;
    bool have_reserve;
    bool disk_was_full;
    bool noting;
    struct buf scratch; /* one record on its way out */

    struct seen_entry *seen;
    size_t seen_count, seen_at;
    uint64_t seen_number;

    void (*ready)(void *ctx);
    void *ready_ctx;
    bool ready_due;

    bool dir_dirty;
    bool events_dirty; /* flushed without being asked */
    struct flush_wait *waits, **waits_end;
    struct flush_job *flushing;

    bool closing, wake_closed;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* ----------------------------------------------------------- outbox_file.c */

/* Finds and checks all segments in the directory. */
bool lanes_load(struct outbox *o, struct err *e) MUST_CHECK;
void lanes_done(struct outbox *o);

/* What a write came to when it failed: a full disk may be helped. */
enum lane_write { LANE_WRITE_FAILED, LANE_WRITE_NO_ROOM, LANE_WRITE_DONE };
enum lane_write lane_append(struct outbox *o, enum lane_id id, const struct outbox_record *r,
                            struct slice payload, struct err *e);

/* Removes the oldest segment of a lane; counts its records that are not acknowledged as dropped.
 * False when the lane holds nothing. */
bool lane_drop_oldest(struct outbox *o, enum lane_id id);

/* Removes what lies wholly at or below o->acked. */
void lane_forget_acked(struct outbox *o, struct lane *l);

/* Makes l->next the next record above o->acked. */
enum outbox_step lane_load_next(struct outbox *o, struct lane *l, struct err *e);
/* Reads its payload and moves behind it. A broken one ends its segment. */
bool lane_take_next(struct outbox *o, struct lane *l, struct buf *payload, struct err *e) MUST_CHECK;
void lane_rewind(struct lane *l);

/* Closes the file if nobody is going to use it soon. */
void segment_rest(struct lane *l, struct segment *s);

/* ---------------------------------------------------------- outbox_acked.c */

/* Reads, or makes, the file `acked`. */
bool acked_load(struct outbox *o, struct err *e) MUST_CHECK;
bool acked_write(struct outbox *o, struct err *e) MUST_CHECK;

/* Likewise the ring of payloads seen, of o->seen_count entries. */
bool seen_load(struct outbox *o, struct err *e) MUST_CHECK;
/* True when the payload is a second delivery. */
bool seen_before(struct outbox *o, enum outbox_class cls, const uint8_t *digest);
void seen_add(struct outbox *o, const uint8_t *digest, bool from_before);
bool seen_digest(struct slice payload, uint8_t ret[SEEN_DIGEST_LEN], struct err *e) MUST_CHECK;

bool reserve_make(struct outbox *o);
/* True when there was one to give back. */
bool reserve_release(struct outbox *o);

/* ---------------------------------------------------------- outbox_flush.c */

/* Starts a round when one is wanted and none is under way. On the loop, from o->wake. */
void flush_run(struct outbox *o);
void flush_tell_all(struct outbox *o, bool ok);

/* ---------------------------------------------------------------- outbox.c */
void outbox_close_step(struct outbox *o);

#endif
