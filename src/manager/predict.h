/*
 * What a measured boot (OVMF, direct kernel) will be measured as, computed
 * from the files it is made of, before any VM runs.
 *
 * PCR 9 holds the kernel's command line and the initramfs, PCR 4 the kernel
 * as QEMU loads it. The firmware's own PCRs can't be had from its file: OVMF
 * measures itself unpacked and with what it keeps in memory, which depends on
 * memory size and CPUs. They are the same in every boot with the same
 * settings, and so are taken from one boot on a trusted host.
 */
#ifndef MANAGER_PREDICT_H
#define MANAGER_PREDICT_H

#include "base/err.h"
#include "base/hash.h"
#include "manager/kernel_image.h"

#define MGR_PCR_EVENTS_MAX 3

/* A PCR of the SHA-256 bank: the digests it is extended with, in order, and its value behind them. */
struct mgr_pcr {
    size_t count;
    uint8_t events[MGR_PCR_EVENTS_MAX][HASH_SHA256_LEN];
    uint8_t value[HASH_SHA256_LEN];
};

/* Sets value from events: each extends what the ones before it made of 32 zero bytes. */
bool mgr_pcr_fold(struct mgr_pcr *pcr, struct err *e) MUST_CHECK;

/* initrd is the SHA-256 of the initramfs' file. */
bool mgr_predict_pcr9(const char *cmdline, const uint8_t initrd[HASH_SHA256_LEN], struct mgr_pcr *ret,
                      struct err *e) MUST_CHECK;

/* kernel is the Authenticode hash of the kernel as QEMU loads it: mgr_kernel_hash. */
bool mgr_predict_pcr4(const uint8_t kernel[HASH_SHA256_LEN], struct mgr_pcr *ret, struct err *e) MUST_CHECK;

#endif
