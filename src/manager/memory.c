#include "manager/memory.h"

#include <limits.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/stage.h"
#include "base/text.h"

/* "MemAvailable:    1234 kB" */
static bool memory_available(const char *root, uint64_t *ret, struct err *e)
{
    static const char key[] = "MemAvailable:";
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    char path[PATH_MAX];
    struct slice left;

    snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    if (!stage_read_file(path, &text, e))
        return false;
    for (left = buf_slice(&text); left.len; left = slice_after(left, slice_find(left, '\n') + 1)) {
        struct slice number;
        uint64_t kib;

        if (!slice_starts(left, key))
            continue;
        number = slice_after(left, sizeof(key) - 1);
        while (number.len && number.at[0] == ' ')
            number = slice_after(number, 1);
        if (!text_parse_u64(slice_first(number, slice_find(number, ' ')), 0, UINT64_MAX / 1024, &kib, e))
            return err_wrap(e, "%s: MemAvailable", path);
        *ret = kib * 1024;
        return true;
    }
    return err_fail(e, ERR_KIND_INTERNAL, "%s has no MemAvailable", path);
}

/* Bytes of a process that are in memory; 0 when it is gone. Second number of /proc/PID/statm, in pages. */
static uint64_t resident(pid_t pid)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
    struct err e = ERR_INIT;
    char path[64];
    struct slice field;
    uint64_t pages;

    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    if (pid <= 0 || !stage_read_file(path, &text, &e))
        return 0;

    struct cursor at = cursor_of(buf_slice(&text));

    if (!cursor_until(&at, ' ', &field) || !cursor_until(&at, ' ', &field) ||
        !text_parse_u64(field, 0, UINT64_MAX >> 20, &pages, &e))
        return 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* What those who hold claims will take yet. */
static uint64_t promised(const struct mgr_memory *m)
{
    uint64_t sum = 0;

    for (const struct mgr_claim *c = m->first; c; c = c->next) {
        uint64_t there = resident(c->pid);

        sum += c->bytes > there ? c->bytes - there : 0;
    }
    return sum;
}

bool mgr_memory_look(const struct mgr_memory *m, uint64_t *ret_free, uint64_t *ret_promised, struct err *e)
{
    if (!memory_available(m->root, ret_free, e))
        return false;
    *ret_promised = promised(m);
    return true;
}

bool mgr_memory_claim(struct mgr_memory *m, struct mgr_claim *c, uint64_t bytes, struct err *e)
{
    uint64_t others;
    uint64_t available;

    if (!mgr_memory_look(m, &available, &others, e))
        return false;
    if (bytes > available || others > available - bytes)
        return err_fail(
            e, ERR_KIND_LIMIT,
            "a VM has %llu MiB of memory (MANAGER_QEMU_MEMORY_SIZE), %llu MiB are free on this host, "
            "and %llu MiB of them belong to other VMs: remove one, or make them smaller",
            (unsigned long long)(bytes >> 20), (unsigned long long)(available >> 20),
            (unsigned long long)(others >> 20));
    mgr_memory_hold(m, c, bytes, 0);
    return true;
}

void mgr_memory_hold(struct mgr_memory *m, struct mgr_claim *c, uint64_t bytes, pid_t pid)
{
    *c = (struct mgr_claim){ m->first, bytes, pid };
    m->first = c;
}

void mgr_memory_release(struct mgr_memory *m, struct mgr_claim *c)
{
    struct mgr_claim **at = &m->first;

    while (*at && *at != c)
        at = &(*at)->next;
    if (*at)
        *at = c->next;
}
