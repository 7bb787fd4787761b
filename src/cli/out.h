/*
 * What the program says, and where.
 *
 * Sentences for people go to stderr, progress bars to stdout; with --json one
 * object goes to stdout at the end, whatever the outcome. Text that came from
 * a peer is made safe for a terminal here, in one place.
 */
#ifndef CLI_OUT_H
#define CLI_OUT_H

#include <jansson.h>

#include "base/buf.h"
#include "rpc/rpc.h"

enum cli_colour { CLI_PLAIN, CLI_RED, CLI_GREEN, CLI_YELLOW, CLI_BLUE, CLI_CYAN };

struct cli_out {
    bool json;        /* one object at the end, no bars                        */
    bool verbose;     /* errors as they came, not their short form             */
    bool colour;      /* stdout and stderr are terminals and NO_COLOR is unset */
    bool bars;        /* stdout is a terminal                                  */
    const char *peer; /* who errors come from: "agent" or "manager" */
    json_t *record;   /* members of the object; NULL when json is false        */
};

/* env is an environ-style array, read for NO_COLOR. Looks at fds 1 and 2. */
bool cli_out_init(struct cli_out *o, bool json, bool verbose, char *const *env, struct err *e) MUST_CHECK;
void cli_out_done(struct cli_out *o);

/* One line on stderr. */
void cli_out_say(struct cli_out *o, enum cli_colour colour, const char *fmt, ...) PRINTF(3, 4);

/*
 * "<what>: <why> ❌ " in red on stderr, and as "error" in the record. Returns
 * 1, the exit status of an operation that failed. what may be a whole sentence
 * with why NULL.
 */
int cli_out_fail(struct cli_out *o, const char *what, const char *why);

/* A line of advice below an error, on stderr only. */
void cli_out_hint(struct cli_out *o, const char *fmt, ...) PRINTF(2, 3);

/*
 * A call's status as people shall read it: the short form of code 7 and 14, or
 * "rpc error: code = Unknown desc = text"; with verbose always the latter. A
 * manager checks no signatures, so its code 7 has no short form.
 */
bool cli_out_status(const struct cli_out *o, const struct rpc_status *status, struct buf *out,
                    struct err *e) MUST_CHECK;

/* Members of the record; nothing happens without --json. */
void cli_out_str(struct cli_out *o, const char *key, const char *value);
void cli_out_u64(struct cli_out *o, const char *key, uint64_t value);
void cli_out_bool(struct cli_out *o, const char *key, bool value);
void cli_out_json(struct cli_out *o, const char *key, json_t *take_value); /* NULL: out of memory, said */

/* What was asked for, on stdout as it is; nothing with --json. False when stdout can't take it, said already. */
bool cli_out_print(struct cli_out *o, struct slice text) MUST_CHECK;

/* The record on stdout, with "exit_status". Returns exit_status, or 1 when stdout can't take it. */
int cli_out_end(struct cli_out *o, const char *command, int exit_status);

#endif
