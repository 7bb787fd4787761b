/*
 * Files that become visible only when they are whole.
 *
 * A staged file is written under a temporary name beneath a directory fd,
 * flushed, and renamed to its final name in one step. One that is not
 * committed is removed. Paths are resolved beneath the directory and never
 * through a symbolic link: by openat2, or name by name where there is none.
 */
#ifndef BASE_STAGE_H
#define BASE_STAGE_H

#include <sys/types.h>

#include "base/buf.h"

/* A close for CLEANUP on an `int fd` that may be -1. */
void fd_done(int *fd);

/* Makes path and its parents (mode), and opens it. The caller closes *ret_fd. */
bool stage_dir_open(const char *path, mode_t mode, int *ret_fd, struct err *e) MUST_CHECK;

/* Opens what lies beneath dir_fd. flags as for open(2); O_CLOEXEC is added. */
bool stage_open_beneath(int dir_fd, const char *path, int flags, mode_t mode, int *ret_fd,
                        struct err *e) MUST_CHECK;

/* INVALID unless name can be one path component: not empty, ".", "..", over 255 bytes, with '/' or
 * control bytes, not UTF-8, or starting with the prefix of our own temporary names. Case AG-7. */
bool stage_name_check(struct slice name, struct err *e) MUST_CHECK;

struct stage_file {
    int dir_fd;   /* own copy; -1 when the struct is empty */
    int fd;       /* -1 when committed or empty            */
    uint64_t len; /* bytes written                         */
    char temp[48];
};
#define STAGE_FILE_INIT \
    {                   \
        -1, -1, 0, ""   \
    }

/* A new empty temporary file beneath dir_fd, mode 0600, named ".cocos-staged.<random>". */
bool stage_file_begin(int dir_fd, struct stage_file *ret, struct err *e) MUST_CHECK;
bool stage_file_write(struct stage_file *f, struct slice bytes, struct err *e) MUST_CHECK;

/*
 * Flushes to disk, sets the mode, renames to name beneath dir_fd (replacing a
 * file of that name only when replace is true) and flushes the directory.
 * On failure the temporary file is removed.
 */
bool stage_file_commit(struct stage_file *f, const char *name, mode_t mode, bool replace,
                       struct err *e) MUST_CHECK;

/* Likewise without flushing, for what nobody wants after a crash of the machine: big and short-lived. */
bool stage_file_place(struct stage_file *f, const char *name, mode_t mode, bool replace,
                      struct err *e) MUST_CHECK;

/* Removes what was not committed. */
void stage_file_done(struct stage_file *f);

/* Removes all files beneath dir_fd that an interrupted process left staged. */
bool stage_sweep(int dir_fd, struct err *e) MUST_CHECK;

/* Removes name beneath dir_fd with all that is in it; a missing name is fine. Follows no link. */
bool stage_remove_tree(int dir_fd, const char *name, struct err *e) MUST_CHECK;

/* A whole small file, LIMIT above out->max. */
bool stage_read_file(const char *path, struct buf *out, struct err *e) MUST_CHECK;
bool stage_read_fd(int fd, struct buf *out, struct err *e) MUST_CHECK;

/* write(2) until all of it is out. */
bool stage_write_all(int fd, struct slice bytes, struct err *e) MUST_CHECK;

#endif
