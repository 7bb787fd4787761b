/*
 * Memory that the VMs of this manager were promised.
 *
 * A VM takes its memory bit by bit: what the host has free says nothing of
 * what VMs that are being made, or that run, will take yet. Each holds a claim
 * from its admission to its end; what of it is not resident counts against
 * the next one. Case MG-3.
 */
#ifndef MANAGER_MEMORY_H
#define MANAGER_MEMORY_H

#include <sys/types.h>

#include "base/err.h"

struct mgr_claim {
    struct mgr_claim *next;
    uint64_t bytes;
    pid_t pid; /* whose resident memory is part of it; 0: none is yet */
};

struct mgr_memory {
    const char *root; /* before /proc/meminfo, "" but in tests */
    struct mgr_claim *first;
};

/*
 * Claims so many bytes; c lives until it is released. LIMIT when the host has
 * not that much beyond what others were promised: then nothing is claimed.
 */
bool mgr_memory_claim(struct mgr_memory *m, struct mgr_claim *c, uint64_t bytes, struct err *e) MUST_CHECK;

/* Likewise without asking: for a VM that runs already. */
void mgr_memory_hold(struct mgr_memory *m, struct mgr_claim *c, uint64_t bytes, pid_t pid);

/* What is free on the host, and what of it was promised. */
bool mgr_memory_look(const struct mgr_memory *m, uint64_t *ret_free, uint64_t *ret_promised,
                     struct err *e) MUST_CHECK;

/* Accepts a claim that was never made, or was released. */
void mgr_memory_release(struct mgr_memory *m, struct mgr_claim *c);

#endif
