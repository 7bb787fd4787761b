/*
 * Shared by the files of stage.
 */
#ifndef BASE_STAGE_INT_H
#define BASE_STAGE_INT_H

#include "base/stage.h"

#define STAGE_PREFIX ".cocos-staged."
#define STAGE_NAME_MAX 255

/* A fresh name that begins with STAGE_PREFIX; ret holds 48 bytes. */
bool stage_temp_name(char ret[48], struct err *e) MUST_CHECK;

/* fsync, with EINVAL and EROFS of directories that can't be flushed let pass. */
bool stage_sync_dir(int dir_fd, struct err *e) MUST_CHECK;

/*
 * Opens path beneath dir_fd as openat2 does: never outside of it, and through no link, or with follow
 * through links that stay beneath it. -1 with errno: EXDEV leads outside, ELOOP has a link. Where the
 * kernel has no openat2, by stage_walk, which does the same name by name.
 */
int stage_openat(int dir_fd, const char *path, int flags, mode_t mode, bool follow) MUST_CHECK;
int stage_walk(int dir_fd, const char *path, int flags, mode_t mode, bool follow) MUST_CHECK;

#endif
