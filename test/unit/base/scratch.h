/*
 * A private directory for a test, and programs of the system run in it.
 */
#ifndef UNIT_BASE_SCRATCH_H
#define UNIT_BASE_SCRATCH_H

#include "unit.h"

#include "base/buf.h"

/* A new directory, which becomes the current one. Removed by scratch_leave. */
void scratch_enter(void);
void scratch_leave(void);

/* Both for cmocka, as setup and teardown of a test. */
int scratch_setup(void **state);
int scratch_teardown(void **state);

/* The directory, as a descriptor that lives until scratch_leave. */
int scratch_fd(void);

/* Runs a program of PATH to its end with its output thrown away; its exit code, 128 + n for a signal. */
int scratch_run(const char *const *argv);

/* Likewise for a line of shell. */
int scratch_sh(const char *line);

/* A whole file, appended to out; the test fails when there is none. */
void scratch_read(const char *name, struct buf *out);

/* Makes the file with these bytes and this mode. */
void scratch_write(const char *name, struct slice bytes, unsigned mode);

/* True when something of that name is there (a dangling link counts). */
bool scratch_has(const char *name);

/* Names in a directory but "." and "..". */
size_t scratch_count(const char *name);

#endif
