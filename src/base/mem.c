#include "base/mem.h"

#include <stdarg.h>

void *mem_new(size_t len, struct err *e)
{
    void *at = calloc(1, len ? len : 1);

    if (!at)
        err_fail(e, ERR_KIND_LIMIT, "no memory for %zu bytes", len);
    return at;
}

void *mem_new_array(size_t count, size_t size, struct err *e)
{
    size_t len;

    if (!size_mul(count, size, &len)) {
        err_fail(e, ERR_KIND_LIMIT, "no memory for %zu elements of %zu bytes", count, size);
        return NULL;
    }
    return mem_new(len, e);
}

void *mem_resize(void *at, size_t len, struct err *e)
{
    void *grown = realloc(at, len ? len : 1);

    if (!grown)
        err_fail(e, ERR_KIND_LIMIT, "no memory for %zu bytes", len);
    return grown;
}

char *mem_dup_slice(struct slice text, struct err *e)
{
    size_t len;

    if (!size_add(text.len, 1, &len)) {
        err_fail(e, ERR_KIND_LIMIT, "no memory for %zu bytes", text.len);
        return NULL;
    }

    char *copy = mem_new(len, e);

    if (copy && text.len)
        memcpy(copy, text.at, text.len);
    return copy;
}

char *mem_dup_str(const char *text, struct err *e)
{
    return mem_dup_slice(slice_of_str(text), e);
}

char *mem_format(struct err *e, const char *fmt, ...)
{
    va_list args;
    va_list again;

    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);

    char *text = n < 0 ? NULL : mem_new((size_t)n + 1, e);

    if (n < 0)
        err_fail(e, ERR_KIND_INTERNAL, "format '%s'", fmt);
    if (text)
        vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    return text;
}

void mem_free(void *at)
{
    free(at);
}

void mem_done(void *pointer_to_pointer)
{
    void *at;

    /* memcpy, because the variable may be a pointer of any type. */
    memcpy(&at, pointer_to_pointer, sizeof(at));
    free(at);
    at = NULL;
    memcpy(pointer_to_pointer, &at, sizeof(at));
}

void mem_wipe(void *at, size_t len)
{
    if (len)
        explicit_bzero(at, len);
}
