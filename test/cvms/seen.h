/*
 * Which messages have been seen before.
 *
 * An agent that does not know whether a message arrived sends it again; the
 * second delivery is recognised by what identifies the message. Remembers
 * at least the last CVMS_SEEN_MIN ones, in memory that does not grow.
 */
#ifndef CVMS_SEEN_H
#define CVMS_SEEN_H

#include "base/err.h"
#include "base/slice.h"

#define CVMS_SEEN_MIN ((size_t)32768)
#define CVMS_PRINT_LEN 16

struct cvms_print {
    uint8_t at[CVMS_PRINT_LEN];
};

struct cvms_seen {
    struct cvms_print *now;    /* table of the newest, NULL before the first */
    struct cvms_print *before; /* table of those before                      */
    size_t now_count;
};
#define CVMS_SEEN_INIT \
    {                  \
        NULL, NULL, 0  \
    }

/* What the parts, in this order, are known by. */
bool cvms_print_of(const struct slice *parts, size_t count, struct cvms_print *ret, struct err *e) MUST_CHECK;

enum cvms_seen_answer { CVMS_SEEN_FAILED, CVMS_SEEN_NEW, CVMS_SEEN_AGAIN };

/* Remembers the print. FAILED sets *e when memory is short. */
enum cvms_seen_answer cvms_seen_add(struct cvms_seen *s, const struct cvms_print *print,
                                    struct err *e) MUST_CHECK;

void cvms_seen_done(struct cvms_seen *s);

#endif
