/* The step "disk": a VM's own copy of the image it boots from. Wire sheet, section 10.3. */

#include <stdlib.h>

#include "base/json.h"
#include "manager/vm_int.h"

#define GIB ((json_int_t)1 << 30)
#define GIB_MAX 65536 /* of an image: 64 TiB */

enum { COMMAND_INFO, COMMAND_CONVERT, COMMAND_RESIZE, COMMAND_COUNT };

static const char *const command_names[COMMAND_COUNT] = { "info", "convert", "resize" };

static enum step_result run_command(struct mgr_vm *vm, struct err *e);

/* What qemu-img says is JSON of its own making, but its content comes from the image. */
static bool read_info(struct mgr_vm *vm, struct err *e)
{
    CLEANUP(json_done) json_t *root = json_read(buf_slice(&vm->disk.said), e);
    const json_t *data;
    json_int_t size;

    if (!root)
        return err_wrap(e, "failed to parse qemu-img JSON");
    size = json_integer_value(json_object_get(root, "virtual-size"));
    data = json_object_get(json_object_get(root, "format-specific"), "data");
    /* Either would have QEMU read files of the image's choosing. Case MG-12. */
    if (json_object_get(root, "backing-filename"))
        return err_fail(e, ERR_KIND_DENIED, "image %s has a backing file: only one that is whole is taken",
                        vm->disk.source);
    if (json_object_get(data, "data-file"))
        return err_fail(e, ERR_KIND_DENIED, "image %s has a data file: only one that is whole is taken",
                        vm->disk.source);
    if (size <= 0 || size > GIB_MAX * GIB)
        return err_fail(e, ERR_KIND_INVALID, "invalid virtual size: %lld", (long long)size);
    vm->disk.gib = (uint64_t)((size + GIB - 1) / GIB);
    return true;
}

static void keep_output(struct child *c, enum child_stream stream, struct slice bytes, void *ctx)
{
    struct mgr_vm *vm = ctx;
    struct err full = ERR_INIT;

    (void)c;
    (void)stream;
    if (!buf_append(&vm->disk.said, bytes, &full))
        err_clear(&full); /* JSON that was cut is refused; of an error the beginning will do */
}

static bool check_exit(const struct mgr_vm *vm, const struct child_exit *how, struct err *e)
{
    struct slice said = slice_first(buf_slice(&vm->disk.said),
                                    vm->disk.said.len < 400 ? vm->disk.said.len : 400);

    if (!how->by_signal && how->number == 0)
        return true;
    while (said.len && said.at[said.len - 1] == '\n')
        said.len--;
    return err_fail(e, ERR_KIND_UNAVAILABLE, "qemu-img %s failed: %s %d : %.*s",
                    command_names[vm->disk.command], how->by_signal ? "signal" : "exit status", how->number,
                    (int)said.len, (const char *)said.at);
}

static void on_exit_of_command(struct child *c, const struct child_exit *how, void *ctx)
{
    struct mgr_vm *vm = ctx;
    struct err e = ERR_INIT;

    child_free(c);
    vm->disk.child = NULL;
    if (!check_exit(vm, how, &e) || (vm->disk.command == COMMAND_INFO && !read_info(vm, &e))) {
        mgr_vm_fail(vm, &e);
        return;
    }
    vm->disk.command++;
    if (vm->disk.command == COMMAND_COUNT)
        mgr_vm_step_done(vm);
    else if (run_command(vm, &e) == STEP_FAILED)
        mgr_vm_fail(vm, &e);
}

static enum step_result run_command(struct mgr_vm *vm, struct err *e)
{
    static const char *const env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                       "LANG=C.UTF-8", NULL };
    const char *format = vm->host->settings->qemu.disk_format;
    char size[32];
    const char *const info[] = { "qemu-img", "info", "-f", "qcow2", "--output=json", vm->disk.source, NULL };
    const char *const convert[] = { "qemu-img",      "convert",       "-f", "qcow2", "-O", format,
                                    vm->disk.source, vm->record.disk, NULL };
    const char *const resize[] = { "qemu-img", "resize", "-f", format, vm->record.disk, size, NULL };
    const char *const *const argvs[COMMAND_COUNT] = { info, convert, resize };
    const struct child_spec spec = {
        .argv = argvs[vm->disk.command],
        .env = env,
        .on_output = keep_output,
        .on_exit = on_exit_of_command,
        .ctx = vm,
    };

    snprintf(size, sizeof(size), "%lluG", (unsigned long long)vm->disk.gib + 1);
    buf_done(&vm->disk.said);
    vm->disk.said = (struct buf)BUF_INIT(MGR_DISK_SAID_MAX);
    return child_spawn(vm->host->loop, &spec, &vm->disk.child, e) ? STEP_WAIT : STEP_FAILED;
}

enum step_result mgr_vm_disk_copy(struct mgr_vm *vm, struct err *e)
{
    const struct mgr_qemu_settings *q = &vm->host->settings->qemu;
    char name[16];

    if (!q->enable_disk)
        return STEP_DONE;
    /* An absolute path can't be taken for a protocol ("nbd:...") or an option. */
    if (!realpath(q->src_disk_file, vm->disk.source)) {
        err_fail_os(e, "open %s", q->src_disk_file);
        return STEP_FAILED;
    }
    snprintf(name, sizeof(name), "disk.%.8s", q->disk_format);
    mgr_vm_path(vm, name, vm->record.disk);
    vm->disk.command = COMMAND_INFO;
    return run_command(vm, e);
}

enum step_result mgr_vm_disk_stop(struct mgr_vm *vm)
{
    child_free(vm->disk.child); /* the copy goes with the directory */
    vm->disk.child = NULL;
    return STEP_DONE;
}
