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

/* after = H(before || digest) */
static bool check(const struct ev_measured *m, size_t i, const uint8_t *before, struct err *e)
{
    size_t len = ev_bank_len(m->bank[i]);
    uint8_t both[2 * EV_DIGEST_MAX];
    uint8_t want[HASH_LEN_MAX];
    enum hash_alg alg;

    if (!bank_hash(m->bank[i], &alg))
        return true;
    memcpy(both, before, len);
    memcpy(both + len, m->digest[i], len);
    if (!hash_bytes(alg, slice_of(both, 2 * len), want, e))
        return false;
    return ct_equal(slice_of(want, len), slice_of(m->value[i], len)) ||
           err_fail(e, ERR_KIND_UNVERIFIED,
                    "PCR %u of %s does not hold what was just extended into it: another program extends it, "
                    "or this is no TPM",
                    m->pcr, ev_bank_name(m->bank[i]));
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
        !ev_tpm_pcr_extend(t, pcr, m.bank, (const uint8_t(*)[EV_DIGEST_MAX])m.digest, m.count, e) ||
        !ev_tpm_pcr_read(t, pcr, m.bank, m.count, m.value, e))
        return false;
    for (size_t i = 0; i < m.count; i++)
        if (!check(&m, i, before[i], e))
            return false;
    *ret = m;
    return true;
}
