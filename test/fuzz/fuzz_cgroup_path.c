/*
 * mountinfo and cgroup of a process, each as text. A path that comes out is
 * absolute and has its end.
 */
#include <assert.h>

#include "host/cgroup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice all = slice_of(data, size);
    size_t cut = slice_find(all, 0);
    char path[HOST_CGROUP_MAX] = "";
    struct err e = ERR_INIT;
    bool ok = host_cgroup_path(slice_first(all, cut), slice_after(all, cut + 1), path, &e);

    assert(ok == (e.kind == ERR_KIND_NONE));
    assert(memchr(path, 0, sizeof(path)) && (ok || path[0] == '\0'));
    return 0;
}
