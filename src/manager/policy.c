#include "manager/policy.h"

#include <fcntl.h>
#include <jansson.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/stage.h"
#include "base/text.h"

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

/*
 * PCR 9 as OVMF measures a direct kernel boot: the command line with QEMU's
 * " initrd=initrd" as UTF-16 with its NUL, and the initramfs.
 */
static bool pcr9_events(const char *cmdline, const char *initrd_sha256, json_t *ret, struct err *e)
{
    CLEANUP(buf_done) struct buf wide = BUF_INIT(1 << 18);
    uint8_t digest[HASH_SHA256_LEN];
    char hex[2 * HASH_SHA256_LEN + 1];
    static const char suffix[] = " initrd=initrd";

    for (const char *c = cmdline; *c; c++)
        if (!buf_append_le16(&wide, (uint8_t)*c, e))
            return false;
    for (size_t i = 0; i < sizeof(suffix); i++)
        if (!buf_append_le16(&wide, (uint8_t)suffix[i], e))
            return false;
    if (!hash_bytes(HASH_SHA256, buf_slice(&wide), digest, e))
        return false;
    hex_encode(slice_of(digest, sizeof(digest)), hex);
    if (json_array_append_new(ret, json_string(hex)) != 0 ||
        json_array_append_new(ret, json_string(initrd_sha256)) != 0)
        return err_fail(e, ERR_KIND_LIMIT, "no memory");
    return true;
}

static bool put(json_t *root, const char *key, json_t *value, struct err *e)
{
    if (!value)
        return false; /* *e says why */
    return json_object_set_new(root, key, value) == 0 || err_fail(e, ERR_KIND_LIMIT, "no memory");
}

static bool put_boot(json_t *root, const struct mgr_vm_host *host, const struct mgr_vm *vm, struct err *e)
{
    const struct mgr_qemu_settings *q = &host->settings->qemu;
    const char *cmdline = argument(vm, "-append");
    json_t *pcr9 = json_array();

    if (!cmdline)
        cmdline = q->kernel_cmdline;
    if (!put(root, "kernel", file_facts(q->kernel_file, e), e) ||
        !put(root, "initrd", file_facts(q->rootfs_file, e), e) ||
        !put(root, "cmdline", json_string(cmdline), e)) {
        json_decref(pcr9);
        return false;
    }
    if (!pcr9_events(cmdline, json_string_value(json_object_get(json_object_get(root, "initrd"), "sha256")),
                     pcr9, e)) {
        json_decref(pcr9);
        return false;
    }
    return put(root, "pcr9_sha256_events", pcr9, e);
}

bool mgr_policy_facts(const struct mgr_vm_host *host, const struct mgr_vm *vm, struct buf *out, struct err *e)
{
    const struct mgr_qemu_settings *q = &host->settings->qemu;
    const char *platform = host->snp ? "snp" : host->tdx ? "tdx" : host->swtpm[0] ? "vtpm" : "none";
    bool measured = strcmp(q->boot, "measured") == 0;
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
    if (!q->enable_disk && !put_boot(root, host, vm, e))
        return err_wrap(e, "facts of VM %s", mgr_vm_id(vm));
    text = json_dumps(root, JSON_COMPACT);
    ok = text ? buf_append_str(out, text, e) : err_fail(e, ERR_KIND_LIMIT, "no memory");
    free(text);
    return ok;
}
