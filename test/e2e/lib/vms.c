/* The manager and its VMs, by RPC. */

#include "e2e/lib/e2e.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
#include <uv.h>

#include "base/buf.h"
#include "base/key.h"
#include "base/stage.h"
#include "e2e/lib/e2e_int.h"
#include "proto/extensions.pb-c.h"
#include "proto/manager.pb-c.h"
#include "proto/pb.h"
#include "rpc/client.h"

static void call_done(const struct rpc_status *status, struct buf *reply, void *ctx)
{
    struct e2e_call *c = ctx;

    c->status = *status;
    buf_move(&c->reply, reply);
    c->done = true;
}

void e2e_call_manager(const char *method, const ProtobufCMessage *request, unsigned within_ms,
                      struct e2e_call *c)
{
    struct rpc_client_config cfg = { .target = e2e.manager };
    struct buf body = BUF_INIT(8 << 20);
    struct rpc_client *client;
    struct err e = ERR_INIT;
    uv_loop_t loop;

    *c = (struct e2e_call){ .reply = BUF_INIT(8 << 20) };
    uv_loop_init(&loop);
    if (!rpc_client_new(&loop, &cfg, &client, &e) || !pb_encode(request, &body, &e) ||
        !rpc_client_unary(client, method, NULL, &body, e2e_ms(within_ms), call_done, c, &e))
        e2e_fail("%s: %s", method, err_text(&e));
    while (!c->done)
        uv_run(&loop, UV_RUN_ONCE);
    rpc_client_free(client, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    buf_done(&body);
}

static void need_ok(const struct e2e_call *c, const char *method)
{
    if (c->status.code != RPC_OK)
        e2e_fail("%s: %s: %s", method, rpc_code_name(c->status.code), c->status.message);
}

void e2e_key(const char *name)
{
    struct err e = ERR_INIT;
    CLEANUP(key_done) struct key *k = key_generate(KEY_ED25519, &e);
    struct secret private_pem = SECRET_INIT(4096);
    CLEANUP(buf_done) struct buf public_pem = BUF_INIT(4096);
    char file[64];

    if (!k || !key_private_pem(k, &private_pem, &e) || !key_public_pem(k, &public_pem, &e))
        e2e_fail("make a key: %s", err_text(&e));
    snprintf(file, sizeof(file), "%s.pem", name);
    e2e_write(file, buf_str(&private_pem.bytes, &e), 0600);
    snprintf(file, sizeof(file), "%s.pub.pem", name);
    e2e_write(file, buf_str(&public_pem, &e), 0644);
    secret_done(&private_pem);
}

/*
 * The TSC is no clock here: under emulation on a busy host the kernel measures
 * it against the PIT, and has been wrong by a factor of 30. Its other clocks
 * (HPET; with KVM the host's) are right.
 */
static const char fast_cmdline[] =
    "MANAGER_QEMU_KERNEL_CMDLINE=console=ttyS0 quiet panic=-1 cryptomgr.notests rodata=off "
    "no_timer_check tsc=unstable cocos.ip=10.0.2.15/24 cocos.gateway=10.0.2.2";

/* The address by DHCP, and the firmware's event log on the console. */
static const char measured_cmdline[] =
    "MANAGER_QEMU_KERNEL_CMDLINE=console=ttyS0 quiet panic=-1 cryptomgr.notests rodata=off "
    "no_timer_check tsc=unstable cocos.event-log=console";

static const char *tool(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value && value[0] ? value : otherwise;
}

#define PLAIN \
    "MANAGER_QEMU_ENABLE_SEV_SNP=false", "MANAGER_QEMU_ENABLE_TDX=false", "MANAGER_QEMU_ENABLE_GPU=false"

/*
 * What kind of VM: a plain one that boots fast, also on a host with a TEE,
 * unless the stories of one are run (make e2e-snp, make e2e-tdx). Firmware of
 * a TEE takes a packed kernel only, and needs room. The measured boot is that
 * of plain VMs.
 */
static const struct kind {
    const char *tee, *kernel;
    const char *words[5];
} kinds[] = {
    { "", "vmlinux", { PLAIN, "MANAGER_QEMU_BOOT=fast", "MANAGER_QEMU_MEMORY_SIZE=512M" } },
    { "snp",
      "vmlinuz",
      { "MANAGER_QEMU_ENABLE_SEV_SNP=true", "MANAGER_QEMU_ENABLE_TDX=false", "MANAGER_QEMU_ENABLE_GPU=false",
        "MANAGER_QEMU_CPU=EPYC-v4", "MANAGER_QEMU_MEMORY_SIZE=2048M" } },
    { "tdx",
      "vmlinuz",
      { "MANAGER_QEMU_ENABLE_SEV_SNP=false", "MANAGER_QEMU_ENABLE_TDX=true", "MANAGER_QEMU_ENABLE_GPU=false",
        "MANAGER_QEMU_CPU=host", "MANAGER_QEMU_MEMORY_SIZE=2048M" } },
};

static const struct kind measured_kind = {
    "", "vmlinuz", { PLAIN, "MANAGER_QEMU_BOOT=measured", "MANAGER_QEMU_MEMORY_SIZE=512M" }
};

static const struct kind *kind_of_vms(bool measured)
{
    const char *tee = getenv("STORY_TEE");

    if (measured)
        return &measured_kind;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(tee ? tee : "", kinds[i].tee) == 0)
            return &kinds[i];
    e2e_fail("STORY_TEE is '%s': snp or tdx is wanted", tee);
}

void e2e_manager(struct e2e_process *p, const char *flavour, const char *extra)
{
    bool measured = strcmp(flavour, "measured") == 0;
    const struct kind *kind = kind_of_vms(measured);
    char kernel[2 * E2E_PATH];
    char initrd[2 * E2E_PATH];
    char qemu[E2E_PATH + 64];
    char swtpm[E2E_PATH + 64];
    char run[E2E_PATH + 64];
    char state[E2E_PATH + 64];

    snprintf(run, sizeof(run), "COCOS_RUN_DIR=%s/r", e2e.dir);
    snprintf(state, sizeof(state), "COCOS_STATE_DIR=%s/s", e2e.dir);
    snprintf(kernel, sizeof(kernel), "MANAGER_QEMU_DISK_IMG_KERNEL_FILE=%s/guest/%s", e2e.guest_build,
             kind->kernel);
    snprintf(initrd, sizeof(initrd), "MANAGER_QEMU_DISK_IMG_ROOTFS_FILE=%s/guest/initrd-%s.cpio",
             e2e.guest_build, measured ? "minimal" : flavour);
    snprintf(qemu, sizeof(qemu), "MANAGER_QEMU_BIN_PATH=%s", tool("E2E_QEMU", "qemu-system-x86_64"));
    snprintf(swtpm, sizeof(swtpm), "MANAGER_SWTPM=%s", kind->tee[0] ? "auto" : tool("E2E_SWTPM", "auto"));
    e2e_start(p, "cocos-manager", run, state, kernel, initrd, qemu, swtpm,
              measured ? measured_cmdline : fast_cmdline, kind->words[0], kind->words[1], kind->words[2],
              kind->words[3], kind->words[4], "MANAGER_GRPC_PORT=0", "MANAGER_HTTP_PORT=0",
              "MANAGER_LOG_LEVEL=debug", "MANAGER_QEMU_SMP_COUNT=1", "MANAGER_QEMU_SMP_MAXCPUS=1",
              "MANAGER_QEMU_HOST_FWD_ADDR=127.0.0.1", extra ? extra : "LANG=C.UTF-8", NULL);
    e2e_line(p, 20000, "\"msg\":\"ready\",\"addr\":\"([^\"]*)\"", e2e.manager, sizeof(e2e.manager));
}

void e2e_create(struct e2e_vm *vm, const char *cvms_port, const char *ttl)
{
    e2e_create_with(vm, cvms_port, ttl, "");
}

void e2e_create_with(struct e2e_vm *vm, const char *cvms_port, const char *ttl, const char *kbs_params)
{
    Manager__CreateReq req = MANAGER__CREATE_REQ__INIT;
    struct err e = ERR_INIT;
    char url[64];
    struct e2e_call c;

    snprintf(url, sizeof(url), "10.0.2.2:%s", cvms_port);
    req.agent_log_level = "debug";
    req.agent_cvm_server_url = url;
    req.ttl = (char *)ttl;
    req.aa_kbs_params = (char *)kbs_params;
    e2e_mark("create VM");
    e2e_call_manager("/manager.ManagerService/CreateVm", &req.base, 60000, &c);
    need_ok(&c, "CreateVm");

    CLEANUP(pb_done)
    Manager__CreateRes *res = (Manager__CreateRes *)pb_decode(&manager__create_res__descriptor,
                                                              buf_slice(&c.reply), NULL, &e);

    if (!res)
        e2e_fail("CreateVm: %s", err_text(&e));
    snprintf(vm->id, sizeof(vm->id), "%.39s", res->cvm_id);
    snprintf(vm->port, sizeof(vm->port), "%.7s", res->forwarded_port);
    buf_done(&c.reply);
    if (e2e.vm_count < ARRAY_LEN(e2e.vms))
        e2e.vms[e2e.vm_count++] = *vm;
    e2e_mark("VM runs");
}

void e2e_remove(const struct e2e_vm *vm)
{
    Manager__RemoveReq req = MANAGER__REMOVE_REQ__INIT;
    struct e2e_call c;

    req.cvm_id = (char *)vm->id;
    e2e_mark("remove VM");
    e2e_call_manager("/manager.ManagerService/RemoveVm", &req.base, 60000, &c);
    need_ok(&c, "RemoveVm");
    buf_done(&c.reply);
    e2e_mark("VM removed");
}

bool e2e_listed(const struct e2e_vm *vm)
{
    CocosC__V1__ListRequest req = COCOS_C__V1__LIST_REQUEST__INIT;
    struct err e = ERR_INIT;
    struct e2e_call c;
    bool listed = false;

    e2e_call_manager("/cocos_c.v1.VirtualMachines/List", &req.base, 20000, &c);
    need_ok(&c, "List");

    CLEANUP(pb_done)
    CocosC__V1__ListResponse *res = (CocosC__V1__ListResponse *)pb_decode(
        &cocos_c__v1__list_response__descriptor, buf_slice(&c.reply), NULL, &e);

    for (size_t i = 0; res && i < res->n_vms; i++)
        listed |= strcmp(res->vms[i]->id, vm->id) == 0;
    buf_done(&c.reply);
    return listed;
}

void e2e_gone(const struct e2e_vm *vm, unsigned within_ms)
{
    char regex[80];

    snprintf(regex, sizeof(regex), "VM %s ended", vm->id);
    for (size_t i = 0; i < e2e.process_count; i++) {
        struct e2e_process manager = *e2e.processes[i];

        if (strcmp(manager.name, "cocos-manager") != 0)
            continue;
        manager.seen = 0; /* it may have been said before */
        e2e_line(&manager, within_ms, regex, NULL, 0);
    }
    if (e2e_listed(vm))
        e2e_fail("VM %s has ended and is still listed", vm->id);
}

/* A removal that may fail: the VM may have ended, and the manager too. */
static void remove_if_there(const struct e2e_vm *vm)
{
    Manager__RemoveReq req = MANAGER__REMOVE_REQ__INIT;
    struct e2e_call c;

    req.cvm_id = (char *)vm->id;
    e2e_call_manager("/manager.ManagerService/RemoveVm", &req.base, 60000, &c);
    buf_done(&c.reply);
}

void e2e_manager_stop(void)
{
    bool runs = false;

    for (size_t i = 0; i < e2e.process_count; i++)
        runs |= strcmp(e2e.processes[i]->name, "cocos-manager") == 0 && e2e_runs(e2e.processes[i]);
    for (size_t i = 0; runs && i < e2e.vm_count; i++)
        remove_if_there(&e2e.vms[i]);
    e2e.vm_count = 0;
}
