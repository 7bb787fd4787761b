/*
 * Progress bars: how far, how fast, how long still.
 *
 *   "\r" + spaces + "\r" + "📦 Uploading data [███░░░]  [41%] 512.0 MiB/s, 3s left"
 *
 * Rendering is a pure function of what is known; the bar only adds the clock
 * and the terminal. A line never reaches the last column, so no terminal
 * wraps it; a narrow one loses the time left, the rate, the blocks and then
 * the description, in that order.
 */
#ifndef CLI_BAR_H
#define CLI_BAR_H

#include "base/buf.h"

struct cli_bar_view {
    const char *what; /* "Uploading data"                      */
    uint64_t done;    /* bytes; at most total                  */
    uint64_t total;   /* bytes; 0 counts as all done           */
    uint64_t rate;    /* bytes per second; 0: not known yet    */
    unsigned columns; /* of the terminal; 0: 80                */
    bool colour;
};

/* Appends one drawing, without a newline. */
bool cli_bar_render(const struct cli_bar_view *v, struct buf *out, struct err *e) MUST_CHECK;

struct cli_bar {
    struct cli_bar_view view;
    bool shown; /* false: everything below is done but drawing */
    bool drawn;
    uint64_t last_ms;   /* of the last drawing */
    uint64_t sample_ms; /* of the last sample of the rate */
    uint64_t sample_done;
};

/* what is borrowed. shown false: nothing is ever written. */
void cli_bar_begin(struct cli_bar *b, const char *what, uint64_t total, bool shown, bool colour,
                   uint64_t now_ms);

/*
 * Moves the bar to done bytes; draws when it is time to. INVALID "progress
 * update exceeds total bytes: ..." when that is more than the total.
 */
bool cli_bar_move(struct cli_bar *b, uint64_t done, uint64_t now_ms, struct err *e) MUST_CHECK;

/* Draws a last time and ends the line, if anything has been drawn. May be repeated. */
void cli_bar_end(struct cli_bar *b);

#endif
