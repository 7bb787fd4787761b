#include <stdalign.h>

#include "base/mem.h"
#include "cvms/pool.h"

struct cvms_pool_block {
    struct cvms_pool_block *before;
    alignas(max_align_t) unsigned char at[];
};

void *cvms_pool_new(struct cvms_pool *p, size_t len, struct err *e)
{
    size_t total;
    struct cvms_pool_block *block;

    if (!size_add(len, sizeof(*block), &total)) {
        err_fail(e, ERR_KIND_LIMIT, "%zu bytes are more than there can be", len);
        return NULL;
    }
    block = mem_new(total, e);
    if (!block)
        return NULL;
    block->before = p->last;
    p->last = block;
    return block->at;
}

char *cvms_pool_text(struct cvms_pool *p, struct slice text, struct err *e)
{
    char *copy = cvms_pool_new(p, text.len + 1, e);

    if (copy && text.len > 0)
        memcpy(copy, text.at, text.len);
    return copy;
}

bool cvms_pool_split(struct cvms_pool *p, const char *text, bool escapes, char ***ret_items,
                     size_t *ret_count, struct err *e)
{
    size_t most = 1, count = 0, len = text ? strlen(text) : 0;
    char **items;
    char *to;

    for (size_t i = 0; i < len; i++)
        most += text[i] == ',';
    items = cvms_pool_new(p, most * sizeof(*items), e);
    to = items ? cvms_pool_new(p, len + 1, e) : NULL;
    if (!to)
        return false;

    if (len > 0)
        items[count++] = to;
    for (size_t i = 0; i < len; i++) {
        if (escapes && text[i] == '\\' && (text[i + 1] == ',' || text[i + 1] == '\\')) {
            *to++ = text[++i];
        } else if (text[i] == ',') {
            *to++ = '\0';
            items[count++] = to;
        } else {
            *to++ = text[i];
        }
    }
    *ret_items = items;
    *ret_count = count;
    return true;
}

void cvms_pool_done(struct cvms_pool *p)
{
    while (p->last) {
        struct cvms_pool_block *block = p->last;

        p->last = block->before;
        mem_free(block);
    }
}
