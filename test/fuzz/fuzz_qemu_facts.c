/*
 * Lines of a program that was asked as QEMU is, whatever it is. The
 * conversation goes one way, ends, and its texts stay texts.
 */
#include <assert.h>

#include "host/qemu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum host_qemu_step step = HOST_QEMU_GREETING;
    struct host_qemu_facts facts = { .version = "" };
    struct slice left = slice_of(data, size);
    bool ok = true;

    while (ok && left.len) {
        enum host_qemu_step before = step;
        struct slice line = slice_first(left, slice_find(left, '\n'));
        const char *next = NULL;
        struct err e = ERR_INIT;

        ok = host_qemu_take_line(line, &step, &facts, &next, &e);
        assert(ok == (e.kind == ERR_KIND_NONE));
        assert(ok ? step == before || step == before + 1 : step == before);
        assert((next != NULL) ==
               (step != before)); /* each answer brings the next question, and nothing else does */
        left = slice_after(left, line.len + 1);
    }
    assert(memchr(facts.version, 0, sizeof(facts.version)) &&
           memchr(facts.machines, 0, sizeof(facts.machines)) &&
           memchr(facts.sev_why, 0, sizeof(facts.sev_why)));
    assert(!host_qemu_has_machine(&facts, ""));
    return 0;
}
