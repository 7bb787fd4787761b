/*
 * The one door to the heap. Every allocation of this project, and those of
 * the libraries that let us choose, passes here, so that running out of
 * memory can be tried on purpose.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base/err.h"
#include "base/slice.h"

/* len zeroed bytes (at least one), or NULL with *e set to LIMIT. Free with mem_free. */
void *mem_new(size_t len, struct err *e) MUST_CHECK;

/* count * size zeroed bytes, refused when the product overflows. */
void *mem_new_array(size_t count, size_t size, struct err *e) MUST_CHECK;

/* Grows or shrinks; on failure NULL, *e set, and the old block stays valid. */
void *mem_resize(void *at, size_t len, struct err *e) MUST_CHECK;

/* A NUL-terminated copy. Bytes after an embedded NUL are copied too. */
char *mem_dup_slice(struct slice text, struct err *e) MUST_CHECK;
char *mem_dup_str(const char *text, struct err *e) MUST_CHECK;

/* "a formatted string" on the heap; NULL with *e set when memory is short. */
char *mem_format(struct err *e, const char *fmt, ...) PRINTF(2, 3) MUST_CHECK;

/* Accepts NULL. */
void mem_free(void *at);

/* For CLEANUP(mem_done) on a `char *` or any other heap pointer variable. */
void mem_done(void *pointer_to_pointer);

/* Overwrites so that the compiler can't drop it. */
void mem_wipe(void *at, size_t len);

#endif
