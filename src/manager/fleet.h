/*
 * All VMs of a manager, and the service ManagerService.
 */
#ifndef MANAGER_FLEET_H
#define MANAGER_FLEET_H

#include "manager/vm.h"
#include "rpc/server.h"

struct mgr_fleet;

/*
 * Adopts or sweeps what an earlier manager left, and is then ready for calls.
 * host is borrowed until mgr_fleet_free.
 */
bool mgr_fleet_new(const struct mgr_vm_host *host, struct mgr_fleet **ret, struct err *e) MUST_CHECK;

/* manager.ManagerService; its service context is the fleet. */
const struct rpc_service *mgr_fleet_service(void);

/* cocos_c.v1.VirtualMachines, likewise. */
const struct rpc_service *mgr_vms_service(void);

const struct mgr_vm_host *mgr_fleet_host(const struct mgr_fleet *f);

/* Lets go of all VMs, which run on; those still being made are ended. freed comes when none is left. */
void mgr_fleet_abandon(struct mgr_fleet *f, void (*freed)(void *ctx), void *ctx);
void mgr_fleet_free(struct mgr_fleet *f);

/* Calls each() for every VM. */
void mgr_fleet_each(const struct mgr_fleet *f, void (*each)(const struct mgr_vm *vm, void *ctx), void *ctx);
const struct mgr_vm *mgr_fleet_find(const struct mgr_fleet *f, const char *id);

/* Figures for health and metrics. */
#define MGR_KIND_COUNT (ERR_KIND_INTERNAL + 1)
#define MGR_BUCKET_COUNT 8
extern const uint64_t mgr_create_bucket_ms[MGR_BUCKET_COUNT];

/* Calls that were answered, as our peers' manager counts them. */
enum mgr_method { MGR_METHOD_RUN, MGR_METHOD_STOP, MGR_METHOD_POLICY, MGR_METHOD_INFO };
#define MGR_METHOD_COUNT 4

struct mgr_fleet_figures {
    struct {
        uint64_t count;
        double seconds;
    } calls[MGR_METHOD_COUNT];
    size_t by_state[MGR_VM_STOPPING + 1];
    uint64_t created, create_failed, ended;
    uint64_t failed_by_kind[MGR_KIND_COUNT];
    uint64_t create_ms_sum;
    uint64_t create_ms_buckets[MGR_BUCKET_COUNT]; /* cumulative, by mgr_create_bucket_ms */
    /* By the place of the step in which a VM failed to be made: how often, and what was said the last time. */
    struct {
        uint64_t count;
        char text[256]; /* "" never */
        uint64_t at_mono_ms;
    } failed_at[MGR_STEPS_MAX];
};
void mgr_fleet_figures(const struct mgr_fleet *f, struct mgr_fleet_figures *ret);

#endif
