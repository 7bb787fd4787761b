/*
 * The head of a kernel that an operator gave the manager. What is said of it
 * lies within it and in order, and only the setup header is ever changed.
 */
#include <assert.h>

#include "manager/kernel_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct mgr_kernel_load load = { 512u << 20, 12345678, "q35" };
    static uint8_t head[MGR_KERNEL_HEAD_MAX];
    struct err e = ERR_INIT;
    struct mgr_pe pe;

    if (size > sizeof(head))
        return 0;
    if (mgr_pe_read(slice_of(data, size), size, &pe, &e)) {
        assert(pe.checksum + 4 <= pe.headers_len && pe.headers_len <= size);
        assert(!pe.certificate ||
               (pe.certificate >= pe.checksum + 4 && pe.certificate + 8 <= pe.headers_len));
        assert(pe.headers_len <= pe.hashed_len && pe.hashed_len <= size);
    }
    if (size)
        memcpy(head, data, size);
    if (!mgr_kernel_patch(head, size, &load, &e))
        assert(size == 0 || memcmp(head, data, size) == 0);
    else
        assert(memcmp(head, data, 0x210) == 0 && memcmp(head + 0x22c, data + 0x22c, size - 0x22c) == 0);
    return 0;
}
