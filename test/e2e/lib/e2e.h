/*
 * What every end-to-end story stands on: processes with their output, a
 * manager with VMs, and the words to say what must happen.
 *
 * A story runs in directories of its own. Everything it waits for has a
 * deadline; the first thing that does not happen ends the story with what was
 * waited for and where to look. When it ends, all processes are ended, and each
 * has to end in order.
 *
 * test/e2e/run.py gives the story its directories, and judges what it leaves: a
 * process, a sanitizer report, a core dump, damage in a log or on a console.
 */
#ifndef E2E_H
#define E2E_H

#include <sys/types.h>

#include "base/attr.h"

#define E2E_PATH 256

struct e2e_process {
    pid_t pid; /* 0: not running                       */
    char name[32];
    char log[E2E_PATH]; /* its stdout and stderr, in the bundle */
    long seen;          /* bytes of the log that were waited over */
    int sent;           /* the last signal that the story sent it */
};

struct e2e_vm {
    char id[40];
    char port[8];
};

/*
 * Opens the story. The runner gives, in the environment: E2E_BUILD (host
 * programs), E2E_GUEST_BUILD (guest and algorithms), E2E_OUT (the bundle),
 * E2E_DIR (private), E2E_SCALE (of deadlines, percent), E2E_QEMU and E2E_SWTPM.
 */
void e2e_begin(const char *story);

/* Everything ends; the verdict is on stdout as one TAP line; returns the exit code of main. */
int e2e_end(void);

/* Ends the story as failed. printf-like. */
void e2e_fail(const char *fmt, ...) PRINTF(1, 2) __attribute__((noreturn));

/* Ends the story as skipped: this machine lacks what it is about. printf-like. */
void e2e_skip(const char *fmt, ...) PRINTF(1, 2) __attribute__((noreturn));

/* The story has failed; it goes on, to its end. */
void e2e_complain(const char *fmt, ...) PRINTF(1, 2);

/*
 * Damage that the story does on purpose: lines of logs and consoles that match
 * this regular expression don't fail it.
 */
void e2e_allow(const char *regex);

/* Names a moment of the run, for the timeline and times.json. */
void e2e_mark(const char *what);

/* "name" beneath the story's private directory; valid until the story ends. */
const char *e2e_file(const char *name);
/* The same, with content written to it. */
const char *e2e_write(const char *name, const char *text, unsigned mode);

/*
 * Starts build/<program> with the NULL-terminated words; env is "K=v" words in
 * front of the first word without '='.
 */
void e2e_start(struct e2e_process *p, const char *program, ...);

/*
 * Waits until a line of its log that was not waited over matches the extended
 * regular expression; what its first group matched goes to ret (or NULL).
 */
void e2e_line(struct e2e_process *p, unsigned within_ms, const char *regex, char *ret, size_t len);

/*
 * How many lines of its log match, counting those once whose first group
 * matched the same: what is delivered again is no second event.
 */
unsigned e2e_count(const struct e2e_process *p, const char *regex);

void e2e_signal(struct e2e_process *p, int signal);
/* Waits for its end; returns the exit code, or -signal. A signal that the story did not send ends the story. */
int e2e_wait(struct e2e_process *p, unsigned within_ms);

/* Runs cocos-cli to its end; its output is in cli.log. Returns the exit code. */
int e2e_cli(const char *agent_port, ...);
/* True when the output of the last e2e_cli matched. */
bool e2e_cli_said(const char *regex);

/* ------------------------------------------------- the usual cast of a story */

/* Keys that the story's users hold: <name>.pem and <name>.pub.pem in its directory. */
void e2e_key(const char *name);

/*
 * A manager with fast-booting VMs of this flavour ("minimal", "python"), or
 * with "measured": VMs that boot minimal through OVMF. extra is "K=v" or NULL.
 */
void e2e_manager(struct e2e_process *p, const char *flavour, const char *extra);

/* A VM whose agent connects to the CVMS at this port of the host. ttl as Go duration, or "". */
void e2e_create(struct e2e_vm *vm, const char *cvms_port, const char *ttl);
/* Likewise with a word of its own on the kernel's command line: parameters of a key broker. */
void e2e_create_with(struct e2e_vm *vm, const char *cvms_port, const char *ttl, const char *kbs_params);
void e2e_remove(const struct e2e_vm *vm);
/* True while the manager lists it. */
bool e2e_listed(const struct e2e_vm *vm);
/* Waits until the manager does not list it any more. */
void e2e_gone(const struct e2e_vm *vm, unsigned within_ms);

/* Milliseconds since the story began, by a clock that does not jump. */
unsigned e2e_now_ms(void);

/* Milliseconds, longer under emulation, sanitizers and load. */
unsigned e2e_ms(unsigned ms);

#endif
