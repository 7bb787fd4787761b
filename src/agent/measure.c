#include "agent/measure.h"

#include <unistd.h>

#include "agent/job.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

struct measure {
    const char *where;
    uint64_t timeout_ms;
    struct buf text;
    struct ev_measured result;
    struct job job;
    uv_timer_t timer;
    measure_done_fn done; /* NULL once it was told */
    void *ctx;
    bool job_over, timer_closed;
    struct measure **slot; /* NULL: its owner is gone */
};

const char *measure_tpm(const struct agent_config *cfg)
{
    static const char *const devices[] = { "/dev/tpmrm0", "/dev/tpm0" };

    if (strcmp(cfg->tpm, "none") == 0)
        return "";
    if (strcmp(cfg->tpm, "auto") != 0)
        return cfg->tpm;
    for (size_t i = 0; i < ARRAY_LEN(devices); i++)
        if (access(devices[i], F_OK) == 0)
            return devices[i];
    return "";
}

/* In the pool. */
static bool run(void *ctx, struct err *e)
{
    struct measure *m = ctx;
    struct ev_measured compat;
    struct ev_tpm *tpm;
    bool ok;

    if (!ev_tpm_open(m->where, m->timeout_ms, &tpm, e))
        return err_wrap(e, "measure the manifest");
    ok = ev_measure(tpm, MEASURE_PCR, buf_slice(&m->text), &m->result, e) &&
         ev_measure(tpm, MEASURE_PCR_COMPAT, buf_slice(&m->text), &compat, e);
    ev_tpm_close(tpm);
    return ok || err_wrap(e, "measure the manifest");
}

static void free_when_over(struct measure *m)
{
    if (!m->job_over || !m->timer_closed)
        return;
    if (m->slot)
        *m->slot = NULL;
    buf_done(&m->text);
    mem_free(m);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct measure *m = h->data;

    m->timer_closed = true;
    free_when_over(m);
}

static void tell(struct measure *m, const struct ev_measured *result, const struct err *why)
{
    measure_done_fn done = m->done;

    m->done = NULL;
    uv_close((uv_handle_t *)&m->timer, on_timer_closed);
    done(result, why, m->ctx);
}

static void job_done(void *ctx, bool ok, struct err *e)
{
    struct measure *m = ctx;

    m->job_over = true;
    if (m->done)
        tell(m, ok ? &m->result : NULL, e);
    else
        free_when_over(m);
}

static void too_late(uv_timer_t *timer)
{
    struct measure *m = timer->data;
    struct err why = ERR_INIT;

    err_fail(&why, ERR_KIND_TIMEOUT, "measure the manifest: TPM at %s: its driver does not come back",
             m->where);
    tell(m, NULL, &why);
}

bool measure_start(uv_loop_t *loop, const char *where, uint64_t timeout_ms, struct buf *take_text,
                   measure_done_fn done, void *ctx, struct measure **slot, struct err *e)
{
    struct measure *m;

    if (*slot) {
        buf_done(take_text);
        return err_fail(e, ERR_KIND_TIMEOUT,
                        "measure the manifest: the TPM at %s has not come back from an earlier attempt",
                        where);
    }
    m = mem_new(sizeof(*m), e);
    if (!m) {
        buf_done(take_text);
        return false;
    }
    *m = (struct measure){ .where = where,
                           .timeout_ms = timeout_ms,
                           .text = BUF_INIT(take_text->max),
                           .done = done,
                           .ctx = ctx,
                           .slot = slot };
    *slot = m;
    buf_move(&m->text, take_text);
    uv_timer_init(loop, &m->timer);
    m->timer.data = m;
    uv_timer_start(&m->timer, too_late, timeout_ms + MEASURE_KERNEL_MS, 0);
    job_start(loop, &m->job, run, job_done, m);
    return true;
}

void measure_leave(struct measure *m)
{
    if (m)
        m->slot = NULL;
}

void measure_say(const struct ev_measured *m, char ret[MEASURE_SAID_MAX])
{
    char digest[2 * EV_DIGEST_MAX + 1];
    char value[2 * EV_DIGEST_MAX + 1];
    size_t at = 0;

    while (at + 1 < m->count && m->bank[at] != EV_BANK_SHA256)
        at++;
    hex_encode(slice_of(m->digest[at], ev_bank_len(m->bank[at])), digest);
    hex_encode(slice_of(m->value[at], ev_bank_len(m->bank[at])), value);
    snprintf(ret, MEASURE_SAID_MAX,
             "manifest measured: PCR %u of %s is now %s, extended with %s (and PCR %d, for the Go peers)",
             m->pcr, ev_bank_name(m->bank[at]), value, digest, MEASURE_PCR_COMPAT);
}
