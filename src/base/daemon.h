/*
 * The frame of a program that serves until it is asked to stop: one loop,
 * SIGTERM and SIGINT, an exit code.
 *
 * The first signal asks the program to stop in its own order; a second one
 * ends it at once with status 1. SIGPIPE and SIGXFSZ are errors of calls, not
 * of the program.
 */
#ifndef BASE_DAEMON_H
#define BASE_DAEMON_H

#include <uv.h>

#include "base/config.h"

/* What a program does at the turns of its life; each with the ctx of daemon_serve. */
struct daemon_turns {
    /* Brings everything up. False with *e: what there is by then is taken down. */
    bool (*start)(void *ctx, struct err *e);

    /* The first signal: ends in order what was started. In the end take_down's work must be done too. */
    void (*stop)(void *ctx);

    /* Frees what there is, in whatever state of starting, so that the loop has nothing left to do. */
    void (*take_down)(void *ctx);
};

struct daemon {
    uv_loop_t loop;
    uv_signal_t term, interrupt;
    bool stopping;
    int code; /* that daemon_serve returns */
    const struct daemon_turns *turns;
    void *ctx;
};

/*
 * Opens the log and reads the settings. False when the program has to end now
 * with *ret_code: 0 after --help and --version, 2 for faults, which are told
 * on stderr. *ret_values is to be done in either case.
 */
bool daemon_config(const struct config_spec *spec, int argc, char **argv, void *ret_settings,
                   struct config_values *ret_values, int *ret_code) MUST_CHECK;

/* Likewise behind a config_read of the program's own; *e is what it said. */
bool daemon_has_settings(const char *program, enum config_outcome outcome, const struct err *e,
                         int *ret_code) MUST_CHECK;

/*
 * Makes the loop, watches for signals, starts, and runs until nothing is left
 * to do. Returns the exit code: d->code, or, when starting failed, which is
 * logged, 2 for a wrong setting (INVALID) and 1 for all else. turns must live
 * as long as *d.
 */
int daemon_serve(struct daemon *d, const struct daemon_turns *turns, void *ctx) MUST_CHECK;

/* What start began has failed after it returned: logs it, sets the exit code as above, takes down. */
void daemon_fail(struct daemon *d, const struct err *e);

/* From now on a signal only ends the program at once: it goes down by itself. */
void daemon_is_stopping(struct daemon *d);

#endif
