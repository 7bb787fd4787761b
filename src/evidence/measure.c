#include "evidence/measure.h"

#include "base/hash.h"

static bool digest_for(enum ev_bank bank, struct slice bytes, uint8_t ret[EV_DIGEST_MAX], struct err *e)
{
    uint8_t full[HASH_LEN_MAX];
    enum hash_alg alg = HASH_SHA3_256;

    switch (bank) {
    case EV_BANK_SHA1:
    case EV_BANK_SHA256:
    case EV_BANK_SM3_256: break;
    case EV_BANK_SHA384: alg = HASH_SHA3_384; break;
    case EV_BANK_SHA512: alg = HASH_SHA3_512; break;
    }
    if (!hash_bytes(alg, bytes, full, e))
        return false;
    memcpy(ret, full, ev_bank_len(bank));
    return true;
}

/* The hash a bank itself works with; false for those that nobody should rely on. */
static bool bank_hash(enum ev_bank bank, enum hash_alg *ret)
{
    switch (bank) {
    case EV_BANK_SHA256: *ret = HASH_SHA256; return true;
    case EV_BANK_SHA384: *ret = HASH_SHA384; return true;
    case EV_BANK_SHA512: *ret = HASH_SHA512; return true;
    case EV_BANK_SHA1:
    case EV_BANK_SM3_256: return false;
    }
    return false;
}

static bool has_strong(const struct ev_measured *m)
{
    enum hash_alg unused;

    for (size_t i = 0; i < m->count; i++)
        if (bank_hash(m->bank[i], &unused))
            return true;
    return false;
}

/* What a register must hold after the digest, H(before || digest); false for a bank that nobody relies on. */
static bool follows(const struct ev_measured *m, size_t i, const uint8_t *before, uint8_t ret[HASH_LEN_MAX],
                    struct err *e)
{
    size_t len = ev_bank_len(m->bank[i]);
    uint8_t both[2 * EV_DIGEST_MAX];
    enum hash_alg alg;

    if (!bank_hash(m->bank[i], &alg))
        return false;
    memcpy(both, before, len);
    memcpy(both + len, m->digest[i], len);
    return hash_bytes(alg, slice_of(both, 2 * len), ret, e);
}

/* Whether all banks to rely on hold what follows from before. */
static bool check(const struct ev_measured *m, const uint8_t (*before)[EV_DIGEST_MAX], struct err *e)
{
    for (size_t i = 0; i < m->count; i++) {
        size_t len = ev_bank_len(m->bank[i]);
        uint8_t want[HASH_LEN_MAX];

        if (follows(m, i, before[i], want, e) && !ct_equal(slice_of(want, len), slice_of(m->value[i], len)))
            return err_fail(
                e, ERR_KIND_UNVERIFIED,
                "PCR %u of %s does not hold what was just extended into it: another program extends "
                "it, or this is no TPM",
                m->pcr, ev_bank_name(m->bank[i]));
    }
    return e->kind == ERR_KIND_NONE;
}

static bool unchanged(const struct ev_measured *m, const uint8_t (*before)[EV_DIGEST_MAX])
{
    for (size_t i = 0; i < m->count; i++)
        if (!ct_equal(slice_of(before[i], ev_bank_len(m->bank[i])),
                      slice_of(m->value[i], ev_bank_len(m->bank[i]))))
            return false;
    return true;
}

/* Once and once only, also where it is not known whether it was done: a TPM does one command after another. */
static bool extend(struct ev_tpm *t, struct ev_measured *m, const uint8_t (*before)[EV_DIGEST_MAX],
                   struct err *e)
{
    for (;;) {
        bool done = ev_tpm_pcr_extend(t, m->pcr, m->bank, (const uint8_t(*)[EV_DIGEST_MAX])m->digest,
                                      m->count, e);

        if (!done && e->kind != ERR_KIND_CANCELLED)
            return false;
        err_clear(e);
        if (!ev_tpm_pcr_read(t, m->pcr, m->bank, m->count, m->value, e))
            return false;
        if (done || !unchanged(m, before))
            return check(m, before, e);
    }
}

bool ev_measure(struct ev_tpm *t, unsigned pcr, struct slice bytes, struct ev_measured *ret, struct err *e)
{
    struct ev_measured m = { .pcr = pcr };
    uint8_t before[EV_BANKS_MAX][EV_DIGEST_MAX];

    if (!ev_tpm_banks(t, pcr, m.bank, &m.count, &m.unknown, e))
        return false;
    if (!has_strong(&m))
        return err_fail(e, ERR_KIND_UNSUPPORTED, "the TPM has no active bank of SHA-256, SHA-384 or SHA-512");
    for (size_t i = 0; i < m.count; i++)
        if (!digest_for(m.bank[i], bytes, m.digest[i], e))
            return false;
    if (!ev_tpm_pcr_read(t, pcr, m.bank, m.count, before, e) ||
        !extend(t, &m, (const uint8_t(*)[EV_DIGEST_MAX])before, e))
        return false;
    *ret = m;
    return true;
}
