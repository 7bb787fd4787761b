/*
 * One algorithm or dataset as a user describes it, and what follows from the
 * description: its hash, its name, its type.
 */
#ifndef CVMS_RESOURCE_H
#define CVMS_RESOURCE_H

#include "base/hash.h"
#include "cvms/faults.h"
#include "cvms/pool.h"

struct cvms_resource { /* all texts; NULL or "": not given */
    const char *name;
    const char *path;
    const char *hash;
    const char *url;
    const char *type;
    const char *kbs_path;
    const char *kbs_url;
    const char *decompress;
    const char *key;
};

/*
 * Reads "name=..,path=..,hash=..,url=..,type=..,kbs-path=..,kbs-url=..,
 * decompress=..,key=..". "\," is a comma inside a value. What is wrong with
 * the text becomes faults; false only when memory is short.
 */
bool cvms_resource_parse(const char *text, struct cvms_pool *pool, struct cvms_resource *ret,
                         struct cvms_faults *f, struct err *e) MUST_CHECK;

/*
 * SHA3-256 of a file, or of the deterministic zip of a directory, as the
 * upload will be. MISSING when there is nothing at path; INVALID for
 * anything else than a file or a directory.
 */
bool cvms_path_hash(const char *path, uint8_t ret[HASH_SHA3_256_LEN], struct err *e) MUST_CHECK;

/* The name that an upload of path gets: "iris" for "/data/iris/"; "." and ".." get the directory's. */
char *cvms_path_name(const char *path, struct cvms_pool *pool, struct err *e) MUST_CHECK;

/* "s3", "gcs", "https", "http" by the scheme of the URL, else "oci-image". */
const char *cvms_url_type(const char *url);

#endif
