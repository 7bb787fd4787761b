/*
 * JSON from outside, read strictly (jansson behind it): duplicate keys, NaN,
 * numbers out of range, depth above the limit, trailing bytes and a byte
 * order mark are refused. Case PB-6.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>

#include "base/buf.h"

#define JSON_DEPTH_MAX 32

/* The root value, to be freed with json_decref; NULL with *e naming line and column. */
json_t *json_read(struct slice text, struct err *e) MUST_CHECK;

/* For CLEANUP on a `json_t *`. */
void json_done(json_t **root);

#endif
