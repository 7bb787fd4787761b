/*
 * Command lines for tests of cvms-test, read as the program reads them, in a
 * folder with keys and files.
 */
#ifndef UNIT_CVMS_UNIT_H
#define UNIT_CVMS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cvms/order.h"

#define UNIT_ARGS_MAX 24

/* Sets *o from the arguments (NULL-terminated, without the program's name) and env ("K=V", may be NULL). */
void unit_read(const char *const *args, const char *const *env, struct cvms_options *o,
               struct config_values *values);

/*
 * A new current folder: pub.pem, b.pem, c.pem (Ed25519), bad.pem is no
 * key at all; algo "algo\n", one.csv "1\n", two.csv "2\n"; dir/ with the two
 * files of the zip vector; m.json, a manifest; fifo, a FIFO. Group setup and teardown.
 */
int unit_dir_setup(void **state);
int unit_dir_teardown(void **state);

/* Writes a file into the current folder. */
void unit_write(const char *path, const char *text);

#endif
