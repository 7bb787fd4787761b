/*
 * What a service of the guest tells: its logs and events, into an outbox.
 *
 * The one object a program needs: it stamps, cuts and encodes records, keeps
 * them in an outbox, and takes the program's own log when asked to. How they
 * leave is the business of collector.h (to the log forwarder) or
 * stream_sender.h (on a CVMS stream).
 */
#ifndef JOURNAL_JOURNAL_H
#define JOURNAL_JOURNAL_H

#include "journal/outbox.h"
#include "journal/record.h"

struct journal_config {
    const char *dir;           /* of the outbox: "$COCOS_STATE_DIR/agent/journal"       */
    const char *originator;    /* of events: "agent", "computation-runner"; borrowed    */
    uint64_t bytes_max;        /* 0: OUTBOX_BYTES_MAX_DEFAULT                           */
    size_t dedup;              /* as in outbox.h                                        */
    const struct clock *clock; /* borrowed; NULL: the system's                          */
};

struct journal;

bool journal_open(uv_loop_t *loop, const struct journal_config *cfg, struct journal **ret,
                  struct err *e) MUST_CHECK;

/* As outbox_close; gives the program's log back first if it was taken. */
void journal_close(struct journal *j, void (*closed)(void *ctx), void *ctx);

/* Borrowed while the journal lives. */
struct outbox *journal_outbox(struct journal *j);

/* The computation that logs and events from now on belong to; "" for none. Copied, cut at 255 bytes. */
void journal_set_computation(struct journal *j, const char *computation_id);

/*
 * A log in pieces of RECORD_PIECE_MAX bytes. From any thread: from another one than
 * the loop's it is handed over, and dropped and counted when more than 1 MiB
 * waits. Never fails: what finds no room is dropped and counted.
 */
void journal_log(struct journal *j, int level, struct slice message);

/*
 * An event of the current computation; journal_event_for names another one, and
 * another originator (NULL: the journal's). LIMIT when no room is left at all.
 */
bool journal_event(struct journal *j, const char *type, const char *status, struct err *e) MUST_CHECK;
bool journal_event_for(struct journal *j, const char *computation_id, const char *originator,
                       const char *type, const char *status, struct err *e) MUST_CHECK;

/*
 * For who notes elsewhere first what he is going to tell, and after a crash
 * tells it again as the same event: a stamp for it, and the event at that stamp.
 */
int64_t journal_stamp(struct journal *j);
bool journal_event_at(struct journal *j, const char *computation_id, const char *originator, const char *type,
                      const char *status, int64_t time_ns, struct err *e) MUST_CHECK;

/* From now on every record of this program's log also goes into the journal. */
void journal_take_log(struct journal *j);

#endif
