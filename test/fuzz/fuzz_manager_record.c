/*
 * A VM's record, from a disk. What is trusted names a process and a
 * directory that may be acted upon.
 */
#include <assert.h>
#include <string.h>

#include "manager/record.h"

#define ID "6f1c0f0e-0000-4000-8000-000000000001"
#define BOOT "0b0b0b0b-0000-4000-8000-000000000003"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = ERR_INIT;
    struct mgr_record r;

    if (!mgr_record_read(slice_of(data, size), ID, BOOT, &r, &e)) {
        assert(e.kind != ERR_KIND_NONE);
        return 0;
    }
    assert(strcmp(r.id, ID) == 0 && strlen(r.start_id) == MGR_ID_LEN);
    assert(r.dir[0] == '/' && strcmp(strrchr(r.dir, '/') + 1, ID) == 0);
    assert(r.qemu.pid > 1 && r.swtpm.pid != 1 && r.swtpm.pid >= 0 && r.agent_port > 0);
    return 0;
}
