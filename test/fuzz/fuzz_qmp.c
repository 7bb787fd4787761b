/*
 * A line of QMP, from a QEMU that a guest may have taken over. Whatever it
 * is, it is of one kind, and what that kind promises is there.
 */
#include <assert.h>

#include "manager/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = ERR_INIT;
    struct qmp_line l = qmp_line_read(slice_of(data, size), &e);

    assert((l.kind == QMP_BROKEN) == (e.kind != ERR_KIND_NONE));
    assert(l.kind != QMP_EVENT || l.event);
    assert(l.kind != QMP_ERROR || l.error);
    assert(l.kind != QMP_RETURN || l.data);
    qmp_line_done(&l);
    return 0;
}
