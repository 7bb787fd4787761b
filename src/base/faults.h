/*
 * Faults of one input, collected so that all are told at once.
 *
 * As many as an error's text has room for are named; the rest is counted.
 */
#ifndef BASE_FAULTS_H
#define BASE_FAULTS_H

#include "base/err.h"

struct faults {
    size_t count;
    size_t unnamed; /* of these, how many did not fit */
    size_t len;
    char text[ERR_TEXT_SIZE - 128];
};
#define FAULTS_INIT \
    {               \
        0, 0, 0, "" \
    }

void faults_add(struct faults *f, const char *fmt, ...) PRINTF(2, 3);

/* True when there are none; else *e is INVALID: "a; b; and 3 more faults". */
bool faults_none(const struct faults *f, struct err *e) MUST_CHECK;

#endif
