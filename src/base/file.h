/*
 * Files and directories as the kernel hands them out: in pieces, and
 * interrupted.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <dirent.h>

#include "base/err.h"

/* One piece of at most max bytes, max above 0. *ret_len is 0 at the end, and only there. */
bool file_read(int fd, uint8_t *at, size_t max, size_t *ret_len, struct err *e) MUST_CHECK;

/* All len bytes from offset on; *ret_len is less only when the file ends before. */
bool file_pread(int fd, uint64_t offset, uint8_t *at, size_t len, size_t *ret_len, struct err *e) MUST_CHECK;

/* A list of the names in the directory dir_fd, from the first, for dir_done; dir_fd is not touched. */
bool dir_list(int dir_fd, DIR **ret, struct err *e) MUST_CHECK;

/* The next name but "." and ".."; NULL at the end, where *ret_ok is true, or on failure. */
const char *dir_next(DIR *dir, bool *ret_ok, struct err *e);

void dir_done(DIR **dir);

#endif
