/*
 * What every end-to-end story stands on: processes with their output, a
 * manager with VMs, and the words to say what must happen.
 *
 * A story runs in directories of its own. Everything it waits for has a
 * deadline; the first thing that does not happen ends the story with what was
 * waited for and where to look. When it ends, all processes end, the bundle
 * (logs, consoles, times) is complete, and nothing of it may still run.
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
};

struct e2e_vm {
    char id[40];
    char port[8];
};

/* Opens the story: argv[0] names it. E2E_BUILD, E2E_OUT and E2E_SCALE come from the runner. */
void e2e_begin(const char *story);

/* Everything ends; the verdict is on stdout as one TAP line; returns the exit code of main. */
int e2e_end(void);

/* Ends the story as failed. printf-like. */
void e2e_fail(const char *fmt, ...) PRINTF(1, 2) __attribute__((noreturn));

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

void e2e_signal(struct e2e_process *p, int signal);
/* Waits for its end; returns the exit code, or -signal. */
int e2e_wait(struct e2e_process *p, unsigned within_ms);

/* Runs cocos-cli to its end; its output is in cli.log. Returns the exit code. */
int e2e_cli(const char *agent_port, ...);
/* True when the output of the last e2e_cli matched. */
bool e2e_cli_said(const char *regex);

/* ------------------------------------------------- the usual cast of a story */

/* Keys that the story's users hold: <name>.pem and <name>.pub.pem in its directory. */
void e2e_key(const char *name);

/* A manager with fast-booting VMs of this flavour ("minimal", "python"). extra is "K=v" or NULL. */
void e2e_manager(struct e2e_process *p, const char *flavour, const char *extra);

/* A VM whose agent connects to the CVMS at this port of the host. ttl as Go duration, or "". */
void e2e_create(struct e2e_vm *vm, const char *cvms_port, const char *ttl);
void e2e_remove(const struct e2e_vm *vm);
/* True while the manager lists it. */
bool e2e_listed(const struct e2e_vm *vm);
/* Waits until the manager does not list it any more. */
void e2e_gone(const struct e2e_vm *vm, unsigned within_ms);
/* The console of the VM into the bundle; done for all VMs before the manager ends. */
void e2e_save_console(const struct e2e_vm *vm);

/* Milliseconds, longer under emulation and sanitizers. */
unsigned e2e_ms(unsigned ms);

#endif
