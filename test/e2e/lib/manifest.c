/* What the guest's TPM must hold, computed from the manifest: docs/PROTOCOL-EXTENSIONS.md, section 8. */

#include "base/hash.h"
#include "base/stage.h"
#include "base/text.h"
#include "e2e/lib/cast.h"
#include "e2e/lib/e2e_int.h"

#define MANIFEST_MAX ((size_t)1024 * 1024)

/* PCR 15 of sha256 after the first manifest of a machine: SHA-256(32 zero bytes || SHA3-256(J)). */
static void predict(struct slice manifest, char ret[2 * HASH_SHA256_LEN + 1])
{
    uint8_t both[HASH_SHA256_LEN + HASH_SHA3_256_LEN] = { 0 };
    uint8_t value[HASH_SHA256_LEN];
    struct err e = ERR_INIT;

    if (!hash_bytes(HASH_SHA3_256, manifest, both + HASH_SHA256_LEN, &e) ||
        !hash_bytes(HASH_SHA256, slice_of(both, sizeof(both)), value, &e))
        e2e_fail("%s", err_text(&e));
    hex_encode(slice_of(value, sizeof(value)), ret);
}

void cast_measured(struct cast *c)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(MANIFEST_MAX);
    struct e2e_process said = c->cvms;
    struct slice manifest;
    struct err e = ERR_INIT;
    char path[2 * E2E_PATH];
    char want[2 * HASH_SHA256_LEN + 1];
    char got[2 * HASH_SHA256_LEN + 1];

    snprintf(path, sizeof(path), "%s/manifest.json", e2e.out); /* what cvms-test prints for its flags */
    if (!stage_read_file(path, &text, &e))
        e2e_fail("%s", err_text(&e));
    manifest = buf_slice(&text);
    if (slice_ends(manifest, "\n"))
        manifest.len--;
    predict(manifest, want);
    said.seen = 0; /* the log may have come before what was waited for */
    e2e_line(&said, 10000, "manifest measured: PCR 15 of sha256 is now ([0-9a-f]{64}),", got, sizeof(got));
    if (strcmp(got, want) != 0)
        e2e_fail("PCR 15 is %s, and %s follows from the manifest, %s", got, want, path);
    e2e_mark("manifest measured as predicted");
}
