/*
 * A Linux kernel (bzImage) as firmware measures it: QEMU's loader writes into
 * its setup header where the initramfs will lie, and the firmware takes the
 * Authenticode hash of the result, as of any PE program.
 *
 * The parser is pure and reads the first bytes of the file alone.
 */
#ifndef MANAGER_KERNEL_IMAGE_H
#define MANAGER_KERNEL_IMAGE_H

#include "base/err.h"
#include "base/hash.h"
#include "base/slice.h"

#define MGR_KERNEL_HEAD_MAX ((size_t)64 * 1024) /* a bzImage has its headers in the first page */
#define MGR_KERNEL_SECTIONS_MAX 96              /* the PE specification's limit                */

/* Which bytes of a PE file its Authenticode hash covers: all but these two holes and the tail. */
struct mgr_pe {
    size_t checksum;     /* of the four bytes that are left out                            */
    size_t certificate;  /* of the eight bytes that tell where signatures are; 0: there is no such entry */
    size_t headers_len;  /* what lies before the first section; within the head            */
    uint64_t hashed_len; /* of the file without the signatures at its end                  */
};

/*
 * head is the start of a file of file_len bytes, at least MGR_KERNEL_HEAD_MAX
 * of them or all. INVALID: no PE file, or one whose parts overlap or leave
 * it. UNSUPPORTED: its sections have gaps, so that the hash would need more
 * than an order of bytes.
 */
bool mgr_pe_read(struct slice head, uint64_t file_len, struct mgr_pe *ret, struct err *e) MUST_CHECK;

struct mgr_kernel_load {
    uint64_t memory_len; /* of the VM, bytes             */
    uint64_t initrd_len; /* of the initramfs, bytes      */
    const char *machine; /* QEMU's machine, with options */
};

/*
 * Changes the setup header in head as QEMU does (x86_load_linux: loader, heap,
 * address of the command line, address and length of the initramfs).
 * INVALID: no bzImage, or the initramfs does not fit. UNSUPPORTED: a kernel
 * that is older than boot protocol 2.12, or a machine whose memory layout is
 * not known here (known: q35).
 */
bool mgr_kernel_patch(uint8_t *head, size_t head_len, const struct mgr_kernel_load *l,
                      struct err *e) MUST_CHECK;

/*
 * The SHA-256 Authenticode hash of the kernel open at fd, from its start; as
 * loaded by QEMU with l, or as the file is when l is NULL.
 */
bool mgr_kernel_hash(int fd, const struct mgr_kernel_load *l, uint8_t ret[HASH_SHA256_LEN],
                     struct err *e) MUST_CHECK;

#endif
