/* cocos_c.v1.VirtualMachines: what VMs there are, and what their consoles say. */

#include "base/log.h"
#include "base/mem.h"
#include "manager/console.h"
#include "manager/fleet.h"
#include "proto/extensions.pb-c.h"
#include "proto/pb.h"
#include "rpc/answer.h"

struct list {
    const struct mgr_vm_host *host;
    CocosC__V1__VirtualMachine *rows;
    CocosC__V1__VirtualMachine **at;
    size_t count;
    size_t room;
};

static void count_one(const struct mgr_vm *vm, void *ctx)
{
    struct list *l = ctx;

    (void)vm;
    l->room++;
}

static void add_one(const struct mgr_vm *vm, void *ctx)
{
    struct list *l = ctx;
    CocosC__V1__VirtualMachine *row = &l->rows[l->count];

    cocos_c__v1__virtual_machine__init(row);
    row->id = (char *)mgr_vm_id(vm);
    row->state = (char *)mgr_vm_state_name(mgr_vm_state(vm));
    row->agent_port = mgr_vm_port(vm);
    row->age_ms = mgr_vm_age_ms(vm);
    row->accelerator = l->host->kvm ? "kvm" : "tcg";
    l->at[l->count++] = row;
}

static void list_vms(struct rpc_call *c, struct slice request, void *service)
{
    struct mgr_fleet *f = service;
    struct list l = { .host = mgr_fleet_host(f) };
    CocosC__V1__ListResponse res = COCOS_C__V1__LIST_RESPONSE__INIT;
    struct err e = ERR_INIT;

    (void)request; /* ListRequest has no fields */
    mgr_fleet_each(f, count_one, &l);
    l.rows = mem_new_array(l.room, sizeof(*l.rows), &e);
    l.at = l.rows ? mem_new_array(l.room, sizeof(CocosC__V1__VirtualMachine *), &e) : NULL;
    if (l.at) {
        mgr_fleet_each(f, add_one, &l);
        res.n_vms = l.count;
        res.vms = l.at;
        rpc_answer(c, &res.base);
    } else {
        rpc_call_finishf(c, RPC_RESOURCE_EXHAUSTED, "%s", err_text(&e));
    }
    mem_free(l.at);
    mem_free(l.rows);
}

static void console(struct rpc_call *c, struct slice request, void *service)
{
    struct err e = ERR_INIT;
    CocosC__V1__ConsoleResponse res = COCOS_C__V1__CONSOLE_RESPONSE__INIT;
    CLEANUP(buf_done) struct buf tail = BUF_INIT(MGR_CONSOLE_RING);
    CLEANUP(pb_done)
    CocosC__V1__ConsoleRequest *req = (CocosC__V1__ConsoleRequest *)pb_decode(
        &cocos_c__v1__console_request__descriptor, request, NULL, &e);
    const struct mgr_vm *vm = req ? mgr_fleet_find(service, req->id) : NULL;

    if (!req) {
        rpc_call_finishf(c, RPC_INVALID_ARGUMENT, "%s", err_text(&e));
    } else if (!vm) {
        rpc_call_finishf(c, RPC_NOT_FOUND, "no VM has the id '%s'", req->id);
    } else if (!mgr_vm_console(vm, req->bytes ? req->bytes : MGR_CONSOLE_RING, &tail, &e)) {
        rpc_call_finishf(c, RPC_INTERNAL, "%s", err_text(&e));
    } else {
        res.tail = pb_bytes(buf_slice(&tail));
        rpc_answer(c, &res.base);
    }
}

static const struct rpc_method methods[] = {
    { .name = "List", .allow = RPC_ALLOW_ANYONE, .unary = list_vms },
    { .name = "Console", .allow = RPC_ALLOW_ANYONE, .unary = console },
};

const struct rpc_service *mgr_vms_service(void)
{
    static const struct rpc_service service = { "cocos_c.v1.VirtualMachines", methods, ARRAY_LEN(methods) };

    return &service;
}
