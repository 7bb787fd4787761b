/*
 * What is wrong with a command line, collected so that a user hears all of it
 * at once.
 */
#ifndef CVMS_FAULTS_H
#define CVMS_FAULTS_H

#include "base/buf.h"

#define CVMS_FAULTS_TEXT_MAX ((size_t)64 * 1024)

struct cvms_faults {
    struct buf text; /* one fault a line; faults that do not fit are only counted */
    size_t count;
};
#define CVMS_FAULTS_INIT                  \
    {                                     \
        BUF_INIT(CVMS_FAULTS_TEXT_MAX), 0 \
    }

void cvms_fault(struct cvms_faults *f, const char *fmt, ...) PRINTF(2, 3);

/* The fault is that *e happened while doing what the words say: "words: error". */
void cvms_fault_err(struct cvms_faults *f, const struct err *e, const char *fmt, ...) PRINTF(3, 4);

void cvms_faults_done(struct cvms_faults *f);

#endif
