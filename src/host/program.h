/* Programs of this machine. */
#ifndef HOST_PROGRAM_H
#define HOST_PROGRAM_H

#include "base/attr.h"

/* Finds a program on PATH, or checks a path; ret holds len bytes. */
bool host_find_program(const char *name, char *ret, size_t len);

/* The same, as an absolute path without links; ret holds PATH_MAX bytes. */
bool host_program_path(const char *name, char *ret);

#endif
