/*
 * Logs and events as payloads: serialized cvms.ClientStreamMessage.
 */
#ifndef JOURNAL_RECORD_H
#define JOURNAL_RECORD_H

#include "base/buf.h"
#include "base/clock.h"

#define RECORD_PIECE_MAX 500 /* bytes of one log message, as every peer cuts them */

/* Stamps rise strictly, so (computation id, time, type) names one event of a process. */
struct record_clock {
    const struct clock *clock;
    int64_t last_ns;
};
int64_t record_stamp(struct record_clock *c);

/*
 * The next piece of a text: at most RECORD_PIECE_MAX bytes of valid UTF-8, cut
 * between characters. Bytes that are not UTF-8, and NUL, become U+FFFD.
 * *text moves past what was taken; false when nothing is left.
 * piece is replaced (BUF_INIT(RECORD_PIECE_MAX + 1)).
 */
bool record_piece(struct slice *text, struct buf *piece, struct err *e) MUST_CHECK;

struct record_log {
    int level; /* base/log.h; DEBUG, INFO, WARN or ERROR on the wire */
    const char *computation_id;
    struct slice message; /* one piece */
    int64_t time_ns;
};
/* Appends a ClientStreamMessage with agent_log. */
bool record_log_encode(const struct record_log *r, struct buf *payload, struct err *e) MUST_CHECK;

struct record_event {
    const char *type;   /* "ReceivingAlgorithm" */
    const char *status; /* "InProgress"         */
    const char *originator;
    const char *computation_id;
    struct slice details;
    int64_t time_ns;
};
/* Appends a ClientStreamMessage with agent_event. */
bool record_event_encode(const struct record_event *r, struct buf *payload, struct err *e) MUST_CHECK;

/*
 * log.LogEntry and log.EventEntry have the fields of AgentLog and AgentEvent
 * under the same numbers, so one becomes the other by its frame alone.
 */
enum record_kind { RECORD_OTHER, RECORD_LOG, RECORD_EVENT };

/* What a payload is; *ret_inner borrows the LogEntry or EventEntry in it. RECORD_OTHER: neither. */
enum record_kind record_unwrap(struct slice payload, struct slice *ret_inner);

/* Appends the ClientStreamMessage that holds a serialized LogEntry or EventEntry. */
bool record_wrap(enum record_kind kind, struct slice inner, struct buf *payload, struct err *e) MUST_CHECK;

#endif
