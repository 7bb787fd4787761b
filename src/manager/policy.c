#include "manager/policy.h"

#include <fcntl.h>
#include <jansson.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/stage.h"
#include "base/text.h"
#include "manager/predict.h"

/* {"path":…,"sha256":…,"bytes":n} of a file. */
static json_t *file_facts(const char *path, struct err *e)
{
    CLEANUP(fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t digest[HASH_SHA256_LEN];
    char hex[2 * HASH_SHA256_LEN + 1];
    uint64_t len;

    if (fd < 0) {
        err_fail_os(e, "open %s", path);
        return NULL;
    }
    if (!hash_fd(HASH_SHA256, fd, digest, &len, e)) {
        err_wrap(e, "%s", path);
        return NULL;
    }
    hex_encode(slice_of(digest, sizeof(digest)), hex);
    return json_pack("{s:s, s:s, s:I}", "path", path, "sha256", hex, "bytes", (json_int_t)len);
}

/* The argument behind a flag of the VM's command line. */
static const char *argument(const struct mgr_vm *vm, const char *flag)
{
    const struct mgr_argv *a = mgr_vm_argv(vm);

    for (size_t i = 0; i + 1 < a->count; i++)
        if (strcmp(a->at[i], flag) == 0)
            return a->at[i + 1];
    return NULL;
}

static bool put(json_t *root, const char *key, json_t *value, struct err *e)
{
    if (!value)
        return e->kind != ERR_KIND_NONE ? false : err_fail(e, ERR_KIND_LIMIT, "no memory");
    return json_object_set_new(root, key, value) == 0 || err_fail(e, ERR_KIND_LIMIT, "no memory");
}

static json_t *digest_json(const uint8_t digest[HASH_SHA256_LEN])
{
    char hex[2 * HASH_SHA256_LEN + 1];

    hex_encode(slice_of(digest, HASH_SHA256_LEN), hex);
    return json_string(hex);
}

/* Its digests as pcr<number>_sha256_events of root, its value as <number> of values. */
static bool put_pcr(json_t *root, json_t *values, const char *number, const struct mgr_pcr *pcr,
                    struct err *e)
{
    json_t *events = json_array();
    char key[32];

    for (size_t i = 0; i < pcr->count; i++)
        if (json_array_append_new(events, digest_json(pcr->events[i])) != 0) {
            json_decref(events);
            return err_fail(e, ERR_KIND_LIMIT, "no memory");
        }
    snprintf(key, sizeof(key), "pcr%s_sha256_events", number);
    return put(root, key, events, e) && put(values, number, digest_json(pcr->value), e);
}

static bool predict_pcr4(const struct mgr_qemu_settings *q, uint64_t initrd_len, struct mgr_pcr *ret,
                         struct err *e)
{
    CLEANUP(fd_done) int fd = open(q->kernel_file, O_RDONLY | O_CLOEXEC);
    struct mgr_kernel_load load = { .initrd_len = initrd_len, .machine = q->machine };
    uint8_t kernel[HASH_SHA256_LEN];

    if (fd < 0)
        return err_fail_os(e, "open");
    return mgr_memory_bytes(q->memory_size, &load.memory_len, e) && mgr_kernel_hash(fd, &load, kernel, e) &&
           mgr_predict_pcr4(kernel, ret, e);
}

/* A kernel that can't be predicted still boots: then the facts say why they lack PCR 4. */
static bool put_prediction(json_t *root, const struct mgr_qemu_settings *q, const char *cmdline,
                           struct err *e)
{
    const json_t *initrd = json_object_get(root, "initrd");
    CLEANUP(buf_done) struct buf digest = BUF_INIT(HASH_SHA256_LEN);
    CLEANUP(json_done) json_t *values = json_object();
    struct err why = ERR_INIT;
    struct mgr_pcr pcr4;
    struct mgr_pcr pcr9;

    if (!hex_decode(slice_of_str(json_string_value(json_object_get(initrd, "sha256"))), &digest, e) ||
        !mgr_predict_pcr9(cmdline, buf_slice(&digest).at, &pcr9, e) || !put_pcr(root, values, "9", &pcr9, e))
        return false;
    if (strstr(cmdline, "vga=")) /* QEMU takes it from the command line into the kernel's header */
        err_fail(&why, ERR_KIND_UNSUPPORTED, "the command line sets vga=");
    if (why.kind != ERR_KIND_NONE ||
        !predict_pcr4(q, (uint64_t)json_integer_value(json_object_get(initrd, "bytes")), &pcr4, &why)) {
        if (!put(root, "pcr4_unpredicted", json_string(err_text(&why)), e))
            return false;
    } else if (!put_pcr(root, values, "4", &pcr4, e)) {
        return false;
    }
    return put(root, "pcrs_sha256", json_incref(values), e);
}

/* measured: by the firmware, as it says in the event log. */
static bool put_boot(json_t *root, const struct mgr_vm_host *host, const struct mgr_vm *vm, bool measured,
                     struct err *e)
{
    const struct mgr_qemu_settings *q = &host->settings->qemu;
    const char *cmdline = argument(vm, "-append");

    if (!cmdline)
        cmdline = q->kernel_cmdline;
    return put(root, "kernel", file_facts(q->kernel_file, e), e) &&
           put(root, "initrd", file_facts(q->rootfs_file, e), e) &&
           put(root, "cmdline", json_string(cmdline), e) &&
           (!measured || put_prediction(root, q, cmdline, e));
}

bool mgr_policy_facts(const struct mgr_vm_host *host, const struct mgr_vm *vm, struct buf *out, struct err *e)
{
    const struct mgr_qemu_settings *q = &host->settings->qemu;
    const char *platform = host->snp ? "snp" : host->tdx ? "tdx" : host->swtpm[0] ? "vtpm" : "none";
    bool measured = strcmp(q->boot, "measured") == 0 && !host->snp && !host->tdx;
    const char *firmware = host->snp ? q->igvm_file : host->tdx ? q->ovmf_file : q->ovmf_code_file;
    CLEANUP(json_done)
    json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:b}", "vm", mgr_vm_id(vm), "platform", platform,
                             "boot", q->boot, "memory", q->memory_size, "cpus", (json_int_t)q->smp_count,
                             "cpu", host->cpu[0] ? host->cpu : q->cpu, "kvm", host->kvm);
    char *text;
    bool ok;

    if (!root)
        return err_fail(e, ERR_KIND_LIMIT, "no memory");
    if ((measured || host->snp || host->tdx) && !put(root, "firmware", file_facts(firmware, e), e))
        return err_wrap(e, "facts of VM %s", mgr_vm_id(vm));
    if (!q->enable_disk && !put_boot(root, host, vm, measured, e))
        return err_wrap(e, "facts of VM %s", mgr_vm_id(vm));
    text = json_dumps(root, JSON_COMPACT);
    ok = text ? buf_append_str(out, text, e) : err_fail(e, ERR_KIND_LIMIT, "no memory");
    free(text);
    return ok;
}
