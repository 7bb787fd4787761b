/*
 * cmocka with what it needs, and tables whose rows are tests of their own.
 */
#ifndef UNIT_BASE_UNIT_H
#define UNIT_BASE_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/attr.h"

/* Adds a test per row of table, which has a name; check gets the row as its state. */
#define UNIT_ROWS(tests, count, table, check)                       \
    for (size_t row_ = 0; row_ < ARRAY_LEN(table); row_++)          \
        (tests)[(count)++] = (struct CMUnitTest)                    \
        {                                                           \
            (table)[row_].name, (check), NULL, NULL, &(table)[row_] \
        }

#endif
