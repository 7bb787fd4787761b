/*
 * Shared by the files of stage.
 */
#ifndef BASE_STAGE_INT_H
#define BASE_STAGE_INT_H

#include "base/stage.h"

#define STAGE_PREFIX ".cocos-staged."
#define STAGE_NAME_MAX 255

struct open_how;

/* openat2 until it knows; -1 with errno. */
int stage_openat2(int dir_fd, const char *path, const struct open_how *how);

/* A fresh name that begins with STAGE_PREFIX; ret holds 48 bytes. */
bool stage_temp_name(char ret[48], struct err *e) MUST_CHECK;

/* fsync, with EINVAL and EROFS of directories that can't be flushed let pass. */
bool stage_sync_dir(int dir_fd, struct err *e) MUST_CHECK;

#endif
