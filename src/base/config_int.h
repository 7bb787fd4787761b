/*
 * Shared by config.c and config_help.c.
 */
#ifndef BASE_CONFIG_INT_H
#define BASE_CONFIG_INT_H

#include "base/config.h"

/* The flag that name was most likely meant to be, without dashes; NULL when none is near. */
const char *config_nearest(const struct config_spec *spec, struct slice name);

#endif
