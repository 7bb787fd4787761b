/*
 * JSON from outside. What is accepted is no deeper than promised, and means
 * the same when it is written out and read again.
 */
#include <assert.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t depth_of(const json_t *v)
{
    size_t deepest = 0;
    const char *key;
    json_t *child;
    size_t i;

    if (json_is_array(v)) {
        json_array_foreach(v, i, child) deepest = larger(depth_of(child), deepest);
    } else if (json_is_object(v)) {
        json_object_foreach((json_t *)(uintptr_t)v, key, child) deepest = larger(depth_of(child), deepest);
    } else {
        return 0;
    }
    return deepest + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = ERR_INIT;
    CLEANUP(json_done) json_t *root = NULL;
    CLEANUP(json_done) json_t *again = NULL;
    char *text;

    if (size > 4096)
        return 0;
    root = json_read(slice_of(data, size), &e);
    assert((root == NULL) == (e.kind != ERR_KIND_NONE));
    assert(slice_is_utf8(slice_of_str(err_text(&e))));
    if (!root)
        return 0;
    assert(json_is_object(root) || json_is_array(root));
    assert(depth_of(root) <= JSON_DEPTH_MAX);
    text = json_dumps(root, JSON_COMPACT);
    assert(text);
    again = json_read(slice_of_str(text), &e);
    free(text);
    assert(again && json_equal(root, again));
    return 0;
}
