#include "evidence/tpm.h"

#include <errno.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/stage.h"
#include "evidence/tpm_int.h"

/* ------------------------------------------------------------------ banks */

static const struct bank {
    enum ev_bank id;
    const char *name;
    size_t len;
} banks_known[] = {
    { EV_BANK_SHA1, "sha1", 20 },     { EV_BANK_SHA256, "sha256", 32 },   { EV_BANK_SHA384, "sha384", 48 },
    { EV_BANK_SHA512, "sha512", 64 }, { EV_BANK_SM3_256, "sm3_256", 32 },
};

static const struct bank *bank_of(unsigned id)
{
    for (size_t i = 0; i < ARRAY_LEN(banks_known); i++)
        if ((unsigned)banks_known[i].id == id)
            return &banks_known[i];
    return NULL;
}

const char *ev_bank_name(enum ev_bank bank)
{
    const struct bank *b = bank_of(bank);

    return b ? b->name : "unknown";
}

size_t ev_bank_len(enum ev_bank bank)
{
    const struct bank *b = bank_of(bank);

    return b ? b->len : 0;
}

/* ------------------------------------------------------------------ errors */

/* What people meet; the rest has its number. Spec: TPM 2.0 part 2, table 16. */
static const char *code_meaning(TSS2_RC rc)
{
    switch (rc) {
    case TPM2_RC_INITIALIZE: return " (it was not started: TPM2_Startup is missing)";
    case TPM2_RC_FAILURE: return " (it is in failure mode until it is reset)";
    case TPM2_RC_LOCALITY: return " (not allowed from this locality)";
    case TPM2_RC_LOCKOUT: return " (it is locked out)";
    default: return "";
    }
}

static bool refused(const struct ev_tpm *t, TSS2_RC rc, const char *what, struct err *e)
{
    if (t->link.why.kind != ERR_KIND_NONE)
        *e = t->link.why;
    else if ((rc & TSS2_RC_LAYER_MASK) == TSS2_TPM_RC_LAYER)
        err_fail(e, ERR_KIND_UNAVAILABLE, "it answers with error 0x%x%s", (unsigned)rc, code_meaning(rc));
    else
        err_fail(e, ERR_KIND_INVALID, "its answer makes no sense (tpm2-tss: 0x%x)", (unsigned)rc);
    return err_wrap(e, "TPM at %s: %s", t->name, what);
}

static bool nonsense(const struct ev_tpm *t, const char *what, struct err *e)
{
    err_fail(e, ERR_KIND_INVALID, "its answer is to another question");
    return err_wrap(e, "TPM at %s: %s", t->name, what);
}

/* ------------------------------------------------------------------ open and close */

static TSS2_RC begin(struct ev_tpm *t)
{
    return Esys_Initialize(&t->esys, (TSS2_TCTI_CONTEXT *)(void *)&t->link, NULL);
}

/*
 * After a failure: ESYS can be used again only from its beginning. True when
 * it was the driver that gave up, and there is time to ask once more: it
 * measures by the guest's clock, which runs fast on a host with much to do.
 */
static bool again(struct ev_tpm *t)
{
    if (t->link.why.os_errno != ETIME || clock_mono_ms(clock_system()) >= t->link.until_ms)
        return false;
    Esys_Finalize(&t->esys);
    return begin(t) == TSS2_RC_SUCCESS;
}

static bool open_on(int fd, const char *name, uint64_t until_ms, struct ev_tpm **ret, struct err *e)
{
    struct ev_tpm *t = mem_new(sizeof(*t), e);
    TSS2_RC rc;

    if (!t) {
        fd_done(&fd);
        return false;
    }
    t->fd = fd;
    snprintf(t->name, sizeof(t->name), "%s", name);
    tpm_link_init(&t->link, fd, until_ms);
    rc = begin(t);
    if (rc != TSS2_RC_SUCCESS) {
        refused(t, rc, "begin", e);
        ev_tpm_close(t);
        return false;
    }
    *ret = t;
    return true;
}

bool ev_tpm_open(const char *where, uint64_t timeout_ms, struct ev_tpm **ret, struct err *e)
{
    uint64_t until_ms = clock_mono_ms(clock_system()) + timeout_ms;
    int fd;

    if (!tpm_link_connect(where, until_ms, &fd, e))
        return err_wrap(e, "TPM at %s", where);
    return open_on(fd, where, until_ms, ret, e);
}

bool ev_tpm_open_fd(int take_fd, const char *name, uint64_t timeout_ms, struct ev_tpm **ret, struct err *e)
{
    return open_on(take_fd, name, clock_mono_ms(clock_system()) + timeout_ms, ret, e);
}

void ev_tpm_close(struct ev_tpm *t)
{
    if (!t)
        return;
    if (t->esys)
        Esys_Finalize(&t->esys);
    fd_done(&t->fd);
    mem_free(t);
}

/* ------------------------------------------------------------------ registers */

static bool selects(const TPMS_PCR_SELECTION *s, unsigned pcr)
{
    return pcr / 8 < s->sizeofSelect && s->pcrSelect[pcr / 8] & 1u << pcr % 8;
}

bool ev_tpm_banks(struct ev_tpm *t, unsigned pcr, enum ev_bank ret[EV_BANKS_MAX], size_t *ret_count,
                  size_t *ret_unknown, struct err *e)
{
    TPMS_CAPABILITY_DATA *data = NULL;
    TPMI_YES_NO more;
    size_t count = 0;
    size_t unknown = 0;
    TSS2_RC rc;

    do
        rc = Esys_GetCapability(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_PCRS, 0, 1, &more,
                                &data);
    while (rc != TSS2_RC_SUCCESS && again(t));
    if (rc != TSS2_RC_SUCCESS)
        return refused(t, rc, "ask for its banks", e);
    if (data->capability != TPM2_CAP_PCRS) {
        Esys_Free(data);
        return nonsense(t, "ask for its banks", e);
    }
    for (size_t i = 0; i < data->data.assignedPCR.count; i++) {
        const TPMS_PCR_SELECTION *s = &data->data.assignedPCR.pcrSelections[i];
        const struct bank *b = bank_of(s->hash);

        if (!selects(s, pcr))
            continue;
        if (b && count < EV_BANKS_MAX)
            ret[count++] = b->id;
        else
            unknown++;
    }
    Esys_Free(data);
    *ret_count = count;
    *ret_unknown = unknown;
    return true;
}

static TPML_PCR_SELECTION selection(unsigned pcr, const enum ev_bank *banks, size_t count)
{
    TPML_PCR_SELECTION want = { .count = (UINT32)count };

    for (size_t i = 0; i < count; i++) {
        want.pcrSelections[i] = (TPMS_PCR_SELECTION){ .hash = (TPMI_ALG_HASH)banks[i], .sizeofSelect = 3 };
        want.pcrSelections[i].pcrSelect[pcr / 8] = (uint8_t)(1u << pcr % 8);
    }
    return want;
}

/* Values come in the order asked for, perhaps not all of them. Returns how many banks they are of. */
static size_t take_values(const TPML_PCR_SELECTION *got, const TPML_DIGEST *values, unsigned pcr,
                          const enum ev_bank *banks, size_t count, uint8_t (*ret)[EV_DIGEST_MAX])
{
    size_t taken = 0;

    for (size_t i = 0; i < got->count && taken < count && taken < values->count; i++) {
        const TPM2B_DIGEST *value = &values->digests[taken];

        if (!selects(&got->pcrSelections[i], pcr))
            continue;
        if (got->pcrSelections[i].hash != banks[taken] || value->size != ev_bank_len(banks[taken]))
            break;
        memcpy(ret[taken++], value->buffer, value->size);
    }
    return taken;
}

bool ev_tpm_pcr_read(struct ev_tpm *t, unsigned pcr, const enum ev_bank *banks, size_t count,
                     uint8_t (*ret)[EV_DIGEST_MAX], struct err *e)
{
    for (size_t done = 0, taken; done < count; done += taken) {
        TPML_PCR_SELECTION want = selection(pcr, banks + done, count - done);
        TPML_PCR_SELECTION *got = NULL;
        TPML_DIGEST *values = NULL;
        UINT32 updates;
        TSS2_RC rc;

        do
            rc = Esys_PCR_Read(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &want, &updates, &got,
                               &values);
        while (rc != TSS2_RC_SUCCESS && again(t));
        if (rc != TSS2_RC_SUCCESS)
            return refused(t, rc, "read a PCR", e);
        taken = take_values(got, values, pcr, banks + done, count - done, ret + done);
        Esys_Free(got);
        Esys_Free(values);
        if (taken == 0) {
            err_fail(e, ERR_KIND_MISSING, "it gives no PCR %u of %s", pcr, ev_bank_name(banks[done]));
            return err_wrap(e, "TPM at %s", t->name);
        }
    }
    return true;
}

bool ev_tpm_pcr_extend(struct ev_tpm *t, unsigned pcr, const enum ev_bank *banks,
                       const uint8_t (*digests)[EV_DIGEST_MAX], size_t count, struct err *e)
{
    TPML_DIGEST_VALUES values = { .count = (UINT32)count };
    TSS2_RC rc;

    for (size_t i = 0; i < count; i++) {
        values.digests[i].hashAlg = (TPMI_ALG_HASH)banks[i];
        memcpy(&values.digests[i].digest, digests[i], ev_bank_len(banks[i]));
    }
    rc = Esys_PCR_Extend(t->esys, ESYS_TR_PCR0 + pcr, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &values);
    if (rc == TSS2_RC_SUCCESS)
        return true;
    refused(t, rc, "extend a PCR", e);
    if (again(t))
        e->kind = ERR_KIND_CANCELLED;
    return false;
}
