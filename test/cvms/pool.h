/*
 * Memory with one lifetime: what one computation request is made of.
 */
#ifndef CVMS_POOL_H
#define CVMS_POOL_H

#include "base/err.h"
#include "base/slice.h"

struct cvms_pool {
    struct cvms_pool_block *last;
};
#define CVMS_POOL_INIT \
    {                  \
        NULL           \
    }

/* len zeroed bytes that live until cvms_pool_done; NULL with *e set to LIMIT. */
void *cvms_pool_new(struct cvms_pool *p, size_t len, struct err *e) MUST_CHECK;

/* A NUL-terminated copy. */
char *cvms_pool_text(struct cvms_pool *p, struct slice text, struct err *e) MUST_CHECK;

/*
 * The items of a comma separated list, in order; empty ones count. NULL and
 * "" have none. With escapes, "\," is a comma that does not separate and "\\"
 * a backslash.
 */
bool cvms_pool_split(struct cvms_pool *p, const char *text, bool escapes, char ***ret_items,
                     size_t *ret_count, struct err *e) MUST_CHECK;

void cvms_pool_done(struct cvms_pool *p);

#endif
