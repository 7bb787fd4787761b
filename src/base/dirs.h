/*
 * The directories of the programs in a guest, which one variable each moves
 * elsewhere, for tests and for running without root.
 */
#ifndef BASE_DIRS_H
#define BASE_DIRS_H

#include <sys/types.h>

#include "base/config.h"

struct dirs {
    const char *run;   /* COCOS_RUN_DIR   */
    const char *state; /* COCOS_STATE_DIR */
    const char *work;  /* COCOS_WORK_DIR  */
};

extern const struct config_rows dirs_rows;

/* Path of a socket: given, or when that is NULL or "" name in the run directory. The caller frees it. */
char *dirs_socket(const struct dirs *d, const char *given, const char *name, struct err *e) MUST_CHECK;

/* "unix:" and that path, to listen on; a run directory that it needs is made. The caller frees it. */
char *dirs_listen(const struct dirs *d, const char *given, const char *name, struct err *e) MUST_CHECK;

/*
 * Mode of a socket as octal digits, like 0600: INVALID beyond 0777 or when its own user could not use
 * it; env is the variable that text is of. *ret_same_user: nobody but that user and root may connect.
 */
bool dirs_socket_mode(const char *env, const char *text, mode_t *ret, bool *ret_same_user,
                      struct err *e) MUST_CHECK;

#endif
