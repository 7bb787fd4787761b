/*
 * What the journal's tests share: a private directory, and running a loop until
 * something has happened.
 */
#ifndef UNIT_JOURNAL_UNIT_H
#define UNIT_JOURNAL_UNIT_H

#include <uv.h>

#include "journal/outbox.h"
#include "unit/base/patience.h"
#include "unit/base/unit.h"

/* A new directory beneath TMPDIR; removed with all that is in it. */
void temp_dir_make(char ret[256]);
void temp_dir_remove(const char *dir);

/* Runs the loop until *done is true; fails the test after ten seconds. */
void run_until(uv_loop_t *loop, const bool *done);

/* Opens, fails the test when that fails; closes and waits for it. */
struct outbox *open_or_fail(uv_loop_t *loop, const struct outbox_config *cfg);
void close_and_wait(uv_loop_t *loop, struct outbox *o);

/* Closes what is left of the loop's own. */
void loop_done(uv_loop_t *loop);

#endif
