#include "host/tee.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/stage.h"

#define CPUINFO_MAX ((size_t)16 << 20) /* of a machine with thousands of CPUs */

/* What each of them needs. */
static const struct kind {
    const char *name;
    const char *flag; /* of the CPU, as Linux names it */
    const char *cpu;  /* that has it                   */
    const char *parameter;
    const char *module; /* what has to be done for the parameter to be Y */
    const char *device; /* NULL: none of its own                         */
    const char *driver; /* what makes the device                         */
} kinds[HOST_TEE_COUNT] = {
    [HOST_TEE_SNP] = { "SEV-SNP", "sev_snp",
                       "an EPYC 7003 or later with SNP enabled in the firmware, and Linux 6.11 or later",
                       "/sys/module/kvm_amd/parameters/sev_snp", "kvm_amd with sev=1 sev_snp=1", "/dev/sev",
                       "the secure processor's driver (ccp)" },
    [HOST_TEE_TDX] = { "TDX", "tdx_host_platform",
                       "a 5th generation Xeon or later with TDX enabled in the firmware, and Linux 6.16 or "
                       "later",
                       "/sys/module/kvm_intel/parameters/tdx", "kvm_intel with tdx=1", NULL, NULL },
};

const char *host_tee_name(enum host_tee tee)
{
    return kinds[tee].name;
}

static void add(struct host_tee_state *s, const char *fmt, ...) PRINTF(2, 3);

static void add(struct host_tee_state *s, const char *fmt, ...)
{
    size_t used = strlen(s->why);
    va_list args;

    if (used) {
        snprintf(s->why + used, sizeof(s->why) - used, "; ");
        used = strlen(s->why);
    }
    va_start(args, fmt);
    vsnprintf(s->why + used, sizeof(s->why) - used, fmt, args);
    va_end(args);
}

static bool read_file(const char *root, const char *path, struct buf *ret, struct err *e)
{
    char full[PATH_MAX];
    int n = snprintf(full, sizeof(full), "%s%s", root, path);

    if (n < 0 || (size_t)n >= sizeof(full))
        return err_fail(e, ERR_KIND_INVALID, "'%s' is too long", root);
    return stage_read_file(full, ret, e);
}

/* The value of the first line "key<tab>: value", or an empty slice. */
static struct slice value_of(struct slice text, const char *key)
{
    while (text.len) {
        struct slice line = slice_first(text, slice_find(text, '\n'));
        size_t colon = slice_find(line, ':');

        if (slice_starts(line, key) && colon < line.len)
            return slice_after(line, colon + 2);
        text = slice_after(text, line.len + 1);
    }
    return SLICE_EMPTY;
}

static bool has_word(struct slice words, const char *word)
{
    while (words.len) {
        struct slice first = slice_first(words, slice_find(words, ' '));

        if (slice_equal_str(first, word))
            return true;
        words = slice_after(words, first.len + 1);
    }
    return false;
}

static void look_at_cpu(const struct kind *k, const char *root, struct host_tee_state *ret)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(CPUINFO_MAX);
    struct err e = ERR_INIT;
    struct slice model;

    if (!read_file(root, "/proc/cpuinfo", &text, &e)) {
        add(ret, "%s", err_text(&e));
        return;
    }
    if (has_word(value_of(buf_slice(&text), "flags"), k->flag))
        return;
    model = value_of(buf_slice(&text), "model name");
    add(ret, "/proc/cpuinfo: '%.*s' has no flag %s: %s is needed",
        (int)(model.len < 60 ? model.len : (size_t)60), model.len ? (const char *)model.at : "", k->flag,
        k->cpu);
}

static void look_at_module(const struct kind *k, const char *root, struct host_tee_state *ret)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
    struct err e = ERR_INIT;
    struct slice value;

    if (!read_file(root, k->parameter, &text, &e)) {
        add(ret, "%s: %s: %s is needed", k->parameter,
            e.os_errno == ENOENT ? "is not there" : strerror(e.os_errno), k->module);
        return;
    }
    value = slice_first(buf_slice(&text), slice_find(buf_slice(&text), '\n'));
    /* Linux writes a bool as Y or N, and an int that says the same as a number. */
    if (!slice_equal_str(value, "Y") && !slice_equal_str(value, "1"))
        add(ret, "%s is '%.*s', not Y: %s is needed", k->parameter,
            (int)(value.len < 16 ? value.len : (size_t)16), value.len ? (const char *)value.at : "",
            k->module);
}

static void look_at_device(const struct kind *k, const char *root, struct host_tee_state *ret)
{
    char full[PATH_MAX];
    int n = snprintf(full, sizeof(full), "%s%s", root, k->device ? k->device : "");

    if (!k->device)
        return;
    if (n < 0 || (size_t)n >= sizeof(full) || access(full, F_OK) != 0)
        add(ret, "%s is not there: %s is needed", k->device, k->driver);
}

static void look_at_qemu(enum host_tee tee, const struct host_qemu_facts *q, struct host_tee_state *ret)
{
    if (tee == HOST_TEE_TDX && !q->tdx_guest)
        add(ret, "QEMU %s has no object tdx-guest: 10.1 or later is needed (MANAGER_QEMU_BIN_PATH)",
            q->version);
    if (tee == HOST_TEE_SNP && !q->sev_snp_guest)
        add(ret, "QEMU %s has no object sev-snp-guest: 9.1 or later is needed (MANAGER_QEMU_BIN_PATH)",
            q->version);
    if (tee == HOST_TEE_SNP && !q->igvm_cfg)
        add(ret, "QEMU %s has no object igvm-cfg: one built with IGVM is needed (MANAGER_QEMU_BIN_PATH)",
            q->version);
    if (tee == HOST_TEE_SNP && !q->sev)
        add(ret, "query-sev-capabilities: QEMU says '%s': KVM and /dev/sev that it may open are needed",
            q->sev_why);
}

void host_tee_look(enum host_tee tee, const char *root, const struct host_qemu_facts *qemu,
                   struct host_tee_state *ret)
{
    const struct kind *k = &kinds[tee];

    *ret = (struct host_tee_state){ .why = "" };
    look_at_cpu(k, root, ret);
    look_at_module(k, root, ret);
    look_at_device(k, root, ret);
    ret->host = !ret->why[0];
    if (!qemu)
        return;

    size_t before = strlen(ret->why);

    look_at_qemu(tee, qemu, ret);
    ret->qemu = strlen(ret->why) == before && ret->host;
}
