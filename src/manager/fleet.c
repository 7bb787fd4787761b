#include "manager/fleet.h"

#include "base/log.h"
#include "base/mem.h"
#include "google/protobuf/empty.pb-c.h"
#include "manager/environment.h"
#include "manager/policy.h"
#include "manager/sweep.h"
#include "proto/manager.pb-c.h"
#include "proto/pb.h"
#include "rpc/answer.h"

const uint64_t mgr_create_bucket_ms[MGR_BUCKET_COUNT] = { 100, 250, 500, 1000, 2500, 5000, 10000, 30000 };

/* One VM with the calls that wait for it. */
struct member {
    struct member *next;
    struct mgr_fleet *fleet;
    struct mgr_vm *vm;
    struct rpc_call *creating;         /* waits for CreateVm's answer */
    struct rpc_call *removing;         /* waits for RemoveVm's        */
    uint64_t creating_ms, removing_ms; /* since when            */
};

struct mgr_fleet {
    const struct mgr_vm_host *host;
    struct member *members;
    struct mgr_fleet_figures figures;
    void (*freed)(void *ctx); /* set once it was abandoned */
    void *freed_ctx;
};

static size_t count(const struct mgr_fleet *f)
{
    size_t n = 0;

    for (const struct member *m = f->members; m; m = m->next)
        n++;
    return n;
}

static struct member *find(const struct mgr_fleet *f, const char *id)
{
    for (struct member *m = f->members; m; m = m->next)
        if (m->vm && strcmp(mgr_vm_id(m->vm), id) == 0)
            return m;
    return NULL;
}

const struct mgr_vm *mgr_fleet_find(const struct mgr_fleet *f, const char *id)
{
    const struct member *m = find(f, id);

    return m ? m->vm : NULL;
}

void mgr_fleet_each(const struct mgr_fleet *f, void (*each)(const struct mgr_vm *vm, void *ctx), void *ctx)
{
    for (const struct member *m = f->members; m; m = m->next)
        if (m->vm)
            each(m->vm, ctx);
}

const struct mgr_vm_host *mgr_fleet_host(const struct mgr_fleet *f)
{
    return f->host;
}

static struct member *add(struct mgr_fleet *f, struct err *e)
{
    struct member *m = mem_new(sizeof(*m), e);

    if (!m)
        return NULL;
    m->fleet = f;
    m->next = f->members;
    f->members = m;
    return m;
}

static void drop(struct member *m)
{
    struct mgr_fleet *f = m->fleet;
    struct member **at = &f->members;

    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    mem_free(m);
}

/* ------------------------------------------------------------ what VMs tell */

/* The peers' manager answers every failure with code Unknown; clients know the text alone. */
static void refuse(struct rpc_call *c, const struct err *why)
{
    rpc_call_finishf(c, RPC_UNKNOWN, "%s", err_text(why));
}

static void note_failure(struct mgr_fleet *f, size_t step, const struct err *why)
{
    f->figures.create_failed++;
    f->figures.failed_by_kind[why->kind]++;
    f->figures.failed_at[step].count++;
    f->figures.failed_at[step].at_mono_ms = clock_mono_ms(f->host->clock);
    snprintf(f->figures.failed_at[step].text, sizeof(f->figures.failed_at[step].text), "%.*s",
             (int)sizeof(f->figures.failed_at[step].text) - 1, err_text(why));
}

static void note_call(struct mgr_fleet *f, enum mgr_method method, uint64_t began_ms)
{
    f->figures.calls[method].count++;
    f->figures.calls[method].seconds += (double)(clock_mono_ms(f->host->clock) - began_ms) / 1000;
}

static void answer_created(struct rpc_call *c, const struct mgr_vm *vm)
{
    Manager__CreateRes res = MANAGER__CREATE_RES__INIT;
    char port[8];

    snprintf(port, sizeof(port), "%u", mgr_vm_port(vm));
    res.forwarded_port = port;
    res.cvm_id = (char *)mgr_vm_id(vm);
    rpc_answer(c, &res.base);
}

static void on_created(struct mgr_vm *vm, const struct err *why, void *ctx)
{
    struct member *m = ctx;
    struct mgr_fleet *f = m->fleet;
    struct rpc_call *c = m->creating;
    uint64_t took = mgr_vm_age_ms(vm);

    m->creating = NULL;
    if (c)
        note_call(f, MGR_METHOD_RUN, m->creating_ms);
    if (why) {
        log_error("VM %s could not be made: %s", mgr_vm_id(vm), err_text(why));
        note_failure(f, mgr_vm_failed_step(vm), why);
        if (c)
            refuse(c, why);
        return;
    }
    f->figures.created++;
    f->figures.create_ms_sum += took;
    for (size_t i = 0; i < MGR_BUCKET_COUNT; i++)
        f->figures.create_ms_buckets[i] += took <= mgr_create_bucket_ms[i];
    log_info("VM %s runs; its agent is reached at port %u (%llu ms)", mgr_vm_id(vm), mgr_vm_port(vm),
             (unsigned long long)took);
    if (c)
        answer_created(c, vm);
    else
        mgr_vm_remove(vm, "whoever asked for it has gone");
}

static void on_ended(struct mgr_vm *vm, const char *cause, void *ctx)
{
    struct member *m = ctx;
    struct mgr_fleet *f = m->fleet;
    Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;

    log_info("VM %s ended: %s", mgr_vm_id(vm), cause);
    f->figures.ended++;
    if (m->removing) {
        note_call(f, MGR_METHOD_STOP, m->removing_ms);
        rpc_answer(m->removing, &empty.base);
    }
    drop(m);
    if (f->freed && !f->members)
        f->freed(f->freed_ctx);
}

static const struct mgr_vm_events vm_events = { on_created, on_ended };

/* A caller that goes away must not leave us with his call. */
static void call_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                        void *ctx)
{
    struct mgr_fleet *f = ctx;

    (void)status;
    (void)trailers;
    for (struct member *m = f->members; m; m = m->next) {
        if (m->creating == c)
            m->creating = NULL;
        if (m->removing == c)
            m->removing = NULL;
    }
}

static const struct rpc_call_events call_events = { .closed = call_closed };

/* ------------------------------------------------------------------- methods */

static void create_vm(struct rpc_call *c, struct slice request, void *service)
{
    struct mgr_fleet *f = service;
    uint64_t max = f->host->settings->max_vms;
    uint64_t ttl_ms = 0;
    struct err e = ERR_INIT;
    struct member *m;
    CLEANUP(pb_done)
    Manager__CreateReq *req = (Manager__CreateReq *)pb_decode(&manager__create_req__descriptor, request, NULL,
                                                              &e);

    if (!req || !mgr_request_check(req, &ttl_ms, &e)) {
        rpc_call_finishf(c, RPC_INVALID_ARGUMENT, "%s", err_text(&e));
        return;
    }
    if (max && count(f) >= max) {
        err_fail(&e, ERR_KIND_LIMIT, "maximum number of VMs exceeded");
        note_failure(f, 0, &e);
        note_call(f, MGR_METHOD_RUN, clock_mono_ms(f->host->clock));
        refuse(c, &e);
        return;
    }
    m = add(f, &e);
    if (!m) {
        refuse(c, &e);
        return;
    }
    m->creating = c;
    m->creating_ms = clock_mono_ms(f->host->clock);
    rpc_call_on(c, &call_events, f);
    if (!mgr_vm_create(f->host, req, ttl_ms, &vm_events, m, &m->vm, &e)) {
        note_failure(f, 0, &e);
        drop(m);
        refuse(c, &e);
    }
}

static void remove_vm(struct rpc_call *c, struct slice request, void *service)
{
    struct mgr_fleet *f = service;
    struct err e = ERR_INIT;
    CLEANUP(pb_done)
    Manager__RemoveReq *req = (Manager__RemoveReq *)pb_decode(&manager__remove_req__descriptor, request, NULL,
                                                              &e);
    struct member *m = req ? find(f, req->cvm_id) : NULL;

    if (!req) {
        rpc_call_finishf(c, RPC_INVALID_ARGUMENT, "%s", err_text(&e));
    } else if (!m) {
        rpc_call_finishf(c, RPC_UNKNOWN, "entity not found");
    } else if (m->removing) {
        rpc_call_finishf(c, RPC_UNKNOWN, "VM %s is being removed already", req->cvm_id);
    } else {
        m->removing = c;
        m->removing_ms = clock_mono_ms(f->host->clock);
        rpc_call_on(c, &call_events, f);
        mgr_vm_remove(m->vm, "its removal was asked for");
    }
}

static void cvm_info(struct rpc_call *c, struct slice request, void *service)
{
    struct mgr_fleet *f = service;
    const struct mgr_settings *s = f->host->settings;
    struct err e = ERR_INIT;
    CLEANUP(pb_done)
    Manager__CVMInfoReq *req = (Manager__CVMInfoReq *)pb_decode(&manager__cvminfo_req__descriptor, request,
                                                                NULL, &e);
    Manager__CVMInfoRes res = MANAGER__CVMINFO_RES__INIT;
    uint64_t began_ms = clock_mono_ms(f->host->clock);

    if (!req) {
        rpc_call_finishf(c, RPC_INVALID_ARGUMENT, "%s", err_text(&e));
        return;
    }
    res.id = req->id;
    res.ovmf_version = (char *)s->qemu.ovmf_version;
    res.cpu_num = (int32_t)s->qemu.smp_count;
    res.cpu_type = (char *)(f->host->cpu[0] ? f->host->cpu : s->qemu.cpu);
    res.eos_version = (char *)s->eos_version;
    note_call(f, MGR_METHOD_INFO, began_ms);
    rpc_answer(c, &res.base);
}

static void attestation_policy(struct rpc_call *c, struct slice request, void *service)
{
    struct mgr_fleet *f = service;
    struct err e = ERR_INIT;
    CLEANUP(pb_done)
    Manager__AttestationPolicyReq *req = (Manager__AttestationPolicyReq *)pb_decode(
        &manager__attestation_policy_req__descriptor, request, NULL, &e);
    Manager__AttestationPolicyRes res = MANAGER__ATTESTATION_POLICY_RES__INIT;
    CLEANUP(buf_done) struct buf facts = BUF_INIT(1 << 20);
    uint64_t began_ms = clock_mono_ms(f->host->clock);
    struct member *m = req ? find(f, req->id) : NULL;

    if (!req) {
        rpc_call_finishf(c, RPC_INVALID_ARGUMENT, "%s", err_text(&e));
    } else if (!m) {
        rpc_call_finishf(c, RPC_UNKNOWN, "computationId %s not found", req->id);
    } else if (!mgr_policy_facts(f->host, m->vm, &facts, &e)) {
        refuse(c, &e);
    } else {
        res.id = req->id;
        res.info = pb_bytes(buf_slice(&facts));
        note_call(f, MGR_METHOD_POLICY, began_ms);
        rpc_answer(c, &res.base);
    }
}

/* Who may call is decided by the transport: with a client CA, whoever shows a certificate of it. */
static const struct rpc_method methods[] = {
    { .name = "CreateVm", .allow = RPC_ALLOW_ANYONE, .unary = create_vm },
    { .name = "RemoveVm", .allow = RPC_ALLOW_ANYONE, .unary = remove_vm },
    { .name = "CVMInfo", .allow = RPC_ALLOW_ANYONE, .unary = cvm_info },
    { .name = "AttestationPolicy", .allow = RPC_ALLOW_ANYONE, .unary = attestation_policy },
};

const struct rpc_service *mgr_fleet_service(void)
{
    static const struct rpc_service service = { "manager.ManagerService", methods, ARRAY_LEN(methods) };

    return &service;
}

/* -------------------------------------------------- what an earlier manager left */

static void adopt_one(const struct mgr_record *r, void *ctx)
{
    struct mgr_fleet *f = ctx;
    struct err e = ERR_INIT;
    struct member *m = add(f, &e);

    if (!m) {
        log_error("VM %s: %s", r->id, err_text(&e));
    } else if (!mgr_vm_adopt(f->host, r, &vm_events, m, &m->vm, &e)) {
        log_error("VM %s: %s", r->id, err_text(&e));
        drop(m); /* then it is swept */
    } else if (mgr_vm_state(m->vm) == MGR_VM_RUNNING) {
        log_info("VM %s of an earlier manager runs on; port %u", r->id, r->agent_port);
    }
}

static void refused_one(const char *name, const struct err *why, void *ctx)
{
    (void)ctx;
    log_warn("record %s is not trusted and was removed: %s", name, err_text(why));
}

static bool is_member(const char *id, void *ctx)
{
    return find(ctx, id) != NULL;
}

static void swept_one(const char *id, unsigned killed, void *ctx)
{
    (void)ctx;
    log_warn("what was left of VM %s is gone (%u processes ended)", id, killed);
}

bool mgr_fleet_new(const struct mgr_vm_host *host, struct mgr_fleet **ret, struct err *e)
{
    struct mgr_fleet *f = mem_new(sizeof(*f), e);
    struct err swept = ERR_INIT;

    if (!f)
        return false;
    f->host = host;
    if (!mgr_record_all(host->records_fd, adopt_one, refused_one, f, e)) {
        mem_free(f); /* it fails before the first record is read */
        return false;
    }
    /* VMs were adopted by now. What can't be removed harms none of them; the operator has to look at it. */
    if (!mgr_sweep(host->vms_dir, is_member, swept_one, f, &swept))
        log_error("%s", err_text(&swept));
    *ret = f;
    return true;
}

void mgr_fleet_abandon(struct mgr_fleet *f, void (*freed)(void *ctx), void *ctx)
{
    struct member *next;

    for (struct member *m = f->members; m; m = next) {
        next = m->next;
        if (mgr_vm_state(m->vm) == MGR_VM_RUNNING) {
            mgr_vm_abandon(m->vm);
            drop(m);
        }
    }
    f->freed = freed;
    f->freed_ctx = ctx;
    /* on_ended drops members, maybe at once: look for the first one each time. */
    for (struct member *m = f->members; m; m = next) {
        next = m->next;
        mgr_vm_remove(m->vm, "the manager ends");
        if (!f->members)
            return; /* on_ended has told */
    }
    if (!f->members)
        freed(ctx);
}

void mgr_fleet_free(struct mgr_fleet *f)
{
    mem_free(f);
}

void mgr_fleet_figures(const struct mgr_fleet *f, struct mgr_fleet_figures *ret)
{
    *ret = f->figures;
    for (const struct member *m = f->members; m; m = m->next)
        if (m->vm)
            ret->by_state[mgr_vm_state(m->vm)]++;
}
