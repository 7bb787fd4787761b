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

struct daemon {
    uv_loop_t loop;
    uv_signal_t term, interrupt;
    bool stopping;
    void (*stop)(void *ctx);
    void *ctx;
};

/*
 * Opens the log and reads the settings. False when the program has to end now
 * with *ret_code: 0 after --help and --version, 2 for faults, which are told
 * on stderr. *ret_values is to be done in either case.
 */
bool daemon_config(const struct config_spec *spec, int argc, char **argv, void *ret_settings,
                   struct config_values *ret_values, int *ret_code) MUST_CHECK;

/*
 * Makes the loop and watches for signals. stop is called once, on the loop;
 * what it begins must leave the loop without anything to do. INTERNAL.
 */
bool daemon_open(struct daemon *d, void (*stop)(void *ctx), void *ctx, struct err *e) MUST_CHECK;

/* From now on a signal only ends the program at once: it goes down by itself. */
void daemon_is_stopping(struct daemon *d);

/* Runs until nothing is left to do, then takes the loop down. */
void daemon_run(struct daemon *d);

/* The exit code of a program that could not start: 2 for a wrong setting, else 1. */
int daemon_code_of(const struct err *e);

#endif
