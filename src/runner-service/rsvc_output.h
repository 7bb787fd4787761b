/*
 * An algorithm's output on its way into the journal.
 */
#ifndef RUNNER_SERVICE_RSVC_OUTPUT_H
#define RUNNER_SERVICE_RSVC_OUTPUT_H

#include "base/child.h"
#include "journal/journal.h"

/*
 * Events are kept whatever happens, so an algorithm that floods stderr must
 * not make any number of them: so many at once, then one for each interval.
 */
#define RSVC_WARNINGS_AT_ONCE 1000
#define RSVC_WARNING_EVERY_MS 100

struct rsvc_output {
    struct journal *journal;
    int log_level;

    /* The start of a character that the end of a piece has cut, per stream. */
    uint8_t carry[2][3];
    size_t carry_len[2];

    uint64_t warnings_left, refilled_ms;
    uint64_t warnings_held; /* events not made                       */
    uint64_t warning_seq;   /* last record when one was made; 0: none */
};

/* A new run begins. */
void rsvc_output_begin(struct rsvc_output *o, struct journal *j, int log_level);

/* A piece of at most 1024 bytes. warn: stderr makes events (the algorithm's does, that of its setup not). */
void rsvc_output_add(struct rsvc_output *o, enum child_stream stream, bool warn, struct slice bytes);

/* The run has ended: what was held back goes out. */
void rsvc_output_end(struct rsvc_output *o);

/* How many bytes at the end of text are the start of a character that is not all there. 0 to 3. */
size_t rsvc_cut_character(struct slice text);

#endif
