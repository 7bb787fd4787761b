#include "manager/predict.h"

#include "base/buf.h"

#define CMDLINE_MAX ((size_t)256 * 1024)

bool mgr_pcr_fold(struct mgr_pcr *pcr, struct err *e)
{
    uint8_t both[2 * HASH_SHA256_LEN] = { 0 };

    for (size_t i = 0; i < pcr->count; i++) {
        memcpy(both + HASH_SHA256_LEN, pcr->events[i], HASH_SHA256_LEN);
        if (!hash_bytes(HASH_SHA256, slice_of(both, sizeof(both)), both, e))
            return false;
    }
    memcpy(pcr->value, both, HASH_SHA256_LEN);
    return true;
}

/* As UTF-16 with a NUL, behind it what QEMU tells its firmware to add. */
bool mgr_predict_pcr9(const char *cmdline, const uint8_t initrd[HASH_SHA256_LEN], struct mgr_pcr *ret,
                      struct err *e)
{
    static const char suffix[] = " initrd=initrd";
    CLEANUP(buf_done) struct buf wide = BUF_INIT(2 * CMDLINE_MAX);
    struct mgr_pcr pcr = { .count = 2 };

    for (const char *c = cmdline; *c; c++)
        if (!buf_append_le16(&wide, (uint8_t)*c, e))
            return false;
    for (size_t i = 0; i < sizeof(suffix); i++)
        if (!buf_append_le16(&wide, (uint8_t)suffix[i], e))
            return false;
    if (!hash_bytes(HASH_SHA256, buf_slice(&wide), pcr.events[0], e))
        return false;
    memcpy(pcr.events[1], initrd, HASH_SHA256_LEN);
    if (!mgr_pcr_fold(&pcr, e))
        return false;
    *ret = pcr;
    return true;
}

/* The kernel is measured when it is loaded, before the firmware starts it; then boot options begin, and firmware ends. */
bool mgr_predict_pcr4(const uint8_t kernel[HASH_SHA256_LEN], struct mgr_pcr *ret, struct err *e)
{
    static const char action[] = "Calling EFI Application from Boot Option";
    static const uint8_t separator[4] = { 0 };
    struct mgr_pcr pcr = { .count = 3 };

    memcpy(pcr.events[0], kernel, HASH_SHA256_LEN);
    if (!hash_bytes(HASH_SHA256, slice_of_str(action), pcr.events[1], e) ||
        !hash_bytes(HASH_SHA256, slice_of(separator, sizeof(separator)), pcr.events[2], e) ||
        !mgr_pcr_fold(&pcr, e))
        return false;
    *ret = pcr;
    return true;
}
