/*
 * Zip archives: one deterministic form to write, any honest one to read.
 *
 * The form written is byte-equal to what the Go peers make of a directory in
 * UTC (wire sheet, section 11.6): stored, data descriptors, sorted by path,
 * times at 1970. So its hash names the content. Case AR-18.
 *
 * Reading walks the central directory through a cursor and inflates with zlib.
 * libarchive is not used here: it would pull libxml2 and 31 MB of ICU tables
 * into the guest image, whose whole budget is 16 MB.
 */
#ifndef BASE_ZIP_H
#define BASE_ZIP_H

#include <stdatomic.h>

#include "base/buf.h"

/* Where the bytes go; false stops with *e. */
typedef bool (*zip_sink_fn)(struct slice bytes, void *ctx, struct err *e);

struct zip_stats {
    uint64_t bytes; /* of the archive            */
    uint64_t entries;
};

/*
 * Writes the archive of all files beneath dir_fd, in constant memory but for
 * the list of names. Symbolic links to files are followed when they stay
 * beneath dir_fd, as the peers do; one that leads outside is DENIED. ret may be NULL.
 */
bool zip_write_dir(int dir_fd, zip_sink_fn sink, void *ctx, struct zip_stats *ret, struct err *e) MUST_CHECK;

/* The size in bytes the archive of dir_fd will have now, without reading the files. */
bool zip_measure_dir(int dir_fd, uint64_t *ret_len, struct err *e) MUST_CHECK;

struct zip_limits {
    uint64_t bytes;            /* unpacked, in all; 0: 64 GiB          */
    uint64_t entries;          /* 0: 100000                            */
    uint64_t ratio;            /* unpacked / packed, above 1 MiB; 0: 1000 */
    uint64_t depth;            /* directories; 0: 64                   */
    const atomic_bool *cancel; /* looked at all the time; true ends with CANCELLED; NULL: never */
};

/*
 * Unpacks the archive in fd (seekable) beneath dest_dir_fd. All or nothing:
 * the tree is built in a staged directory beneath dest_dir_fd and moved into
 * place when whole. Absolute names, "..", links, devices, names that are not
 * UTF-8, overlapping entries, or a local header that contradicts the central
 * directory refuse the whole archive. Files are 0644 (0755 when executable).
 * limits may be NULL.
 */
bool zip_unpack(int fd, int dest_dir_fd, const struct zip_limits *limits, struct zip_stats *ret,
                struct err *e) MUST_CHECK;

#endif
