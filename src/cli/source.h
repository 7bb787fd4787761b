/*
 * What is to be uploaded or hashed: a file, or a directory as its zip.
 *
 * A directory is zipped while it is read, so neither a temporary file nor the
 * archive in memory is needed; its length is known beforehand. Reading blocks
 * and belongs in the pool.
 */
#ifndef CLI_SOURCE_H
#define CLI_SOURCE_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/hash.h"

struct cli_source {
    const char *path; /* as given, borrowed                     */
    char *name;       /* last component of the path, owned      */
    int fd;           /* of the file or the directory; -1: none */
    bool is_dir;
    uint64_t len; /* bytes there were when it was opened    */
};
#define CLI_SOURCE_INIT          \
    {                            \
        NULL, NULL, -1, false, 0 \
    }

/* Opens and measures. INVALID for anything that is neither a regular file nor a directory. */
bool cli_source_open(const char *path, struct cli_source *ret, struct err *e) MUST_CHECK;
void cli_source_done(struct cli_source *s);

typedef bool (*cli_source_sink)(struct slice bytes, void *ctx, struct err *e);

/*
 * Hands all bytes from the start to sink, a piece at a time. INVALID when they
 * are more or fewer than s->len: somebody is writing to it. May be repeated.
 */
bool cli_source_read(struct cli_source *s, cli_source_sink sink, void *ctx, struct err *e) MUST_CHECK;

/* Progress of a reading in the pool, for the loop to look at and to end it early. */
struct cli_gauge {
    _Atomic uint64_t done; /* bytes */
    atomic_bool stop;
};

/* SHA3-256 of all bytes. gauge may be NULL; CANCELLED when it said stop. */
bool cli_source_hash(struct cli_source *s, struct cli_gauge *gauge, uint8_t ret[HASH_SHA3_256_LEN],
                     struct err *e) MUST_CHECK;

#endif
