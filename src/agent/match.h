/*
 * Which dataset of the manifest an upload is.
 *
 * By hash first, then by name (wire sheet, section 4.4), and only among the
 * datasets of the provider who signed. Does no I/O. Case AG-4.
 */
#ifndef AGENT_MATCH_H
#define AGENT_MATCH_H

#include "agent/auth.h"

enum match {
    MATCH_FOUND,        /* *ret_index is the dataset                                       */
    MATCH_NONE_PENDING, /* every dataset has been received                                 */
    MATCH_WRONG_NAME,   /* the content is declared, under another name: *ret_index is its  */
    MATCH_WRONG_HASH,   /* the name is declared, with another content: *ret_index is its   */
    MATCH_NOT_YOURS,    /* declared, and another provider's                                */
    MATCH_UNDECLARED,
};

/* pending has one flag per dataset of the manifest; name is "" when none was sent. */
enum match match_dataset(const struct mf *m, const struct auth *a, const bool *pending,
                         const struct auth_grant *grant, const uint8_t hash[HASH_SHA3_256_LEN],
                         struct slice name, size_t *ret_index) MUST_CHECK;

#endif
