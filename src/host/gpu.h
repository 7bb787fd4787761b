/*
 * GPUs that can be given to a VM. Wire sheet, section 10.2: the first NVIDIA
 * device, a display or 3D controller, that is bound to vfio-pci.
 */
#ifndef HOST_GPU_H
#define HOST_GPU_H

#include "base/err.h"

#define HOST_BDF_LEN 12 /* "0000:41:00.0" */

struct host_gpu {
    char bdf[HOST_BDF_LEN + 1];
    bool vfio;       /* bound to vfio-pci, so a VM can have it         */
    char driver[32]; /* what it is bound to, "" nothing                */
    char group[16];  /* number of its IOMMU group, "" without an IOMMU */
};

/*
 * Finds a GPU by its files beneath <root>/sys (root is "" but in tests). want
 * is an address with or without domain, or "" for the first one that a VM can
 * have, in the order of addresses.
 *
 * MISSING: no such device, or none that could be searched for: then the text
 * names the NVIDIA devices there are and what they are bound to. INVALID: want
 * is no PCI address.
 */
bool host_gpu_find(const char *root, const char *want, struct host_gpu *ret, struct err *e) MUST_CHECK;

/* INVALID unless text is a PCI address ("41:00.0", "0000:41:00.0"); ret holds HOST_BDF_LEN + 1 bytes. */
bool host_bdf_parse(const char *text, char *ret, struct err *e) MUST_CHECK;

#endif
