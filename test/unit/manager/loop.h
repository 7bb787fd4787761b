/*
 * A loop that runs until something has happened.
 */
#ifndef UNIT_MANAGER_LOOP_H
#define UNIT_MANAGER_LOOP_H

#include "unit/base/unit.h"

#include <uv.h>

/* Runs until *done; the test fails when it seems to hang. */
void loop_until(uv_loop_t *loop, const bool *done);

/* Runs until nothing is left, and closes the loop. */
void loop_end(uv_loop_t *loop);

#endif
