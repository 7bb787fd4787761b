#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/text.h"
#include "host/program.h"
#include "manager/http.h"
#include "manager/ports.h"

bool mgr_http_health(const struct mgr_http_view *v, struct buf *out, unsigned *ret_code, struct err *e)
{
    *ret_code = 200;
    return buf_append_str(out,
                          "{\"status\":\"pass\",\"version\":\"" COCOS_VERSION "\",\"commit\":\"\","
                          "\"description\":\"manager service\",\"build_time\":\"\",\"instance_id\":",
                          e) &&
           text_json_string(slice_of_str(v->instance_id), out, e) && buf_append_str(out, "}\n", e);
}

/* One thing VMs need, looked at now, and the steps of making one that fail when it fails. */
#define STEPS_OF_ONE 6
struct dependency {
    const char *name;
    const char *steps[STEPS_OF_ONE + 1];
    bool fine;
    char detail[512];
};

#define DEPENDENCIES_MAX 12
struct dependencies {
    struct dependency at[DEPENDENCIES_MAX];
    size_t count;
};

static struct dependency *add(struct dependencies *all, const char *name)
{
    struct dependency *d = &all->at[all->count++];

    *d = (struct dependency){ .name = name, .fine = true };
    return d;
}

static struct dependency *add_file(struct dependencies *all, const char *name, const char *path)
{
    struct dependency *d = add(all, name);
    struct err e = ERR_INIT;

    d->fine = access(path, R_OK) == 0;
    if (!d->fine)
        err_fail_os(&e, "%s", path);
    snprintf(d->detail, sizeof(d->detail), "%s", d->fine ? path : err_text(&e));
    return d;
}

static struct dependency *add_program(struct dependencies *all, const char *name, const char *program)
{
    struct dependency *d = add(all, name);

    d->fine = host_find_program(program, d->detail, sizeof(d->detail));
    if (!d->fine)
        snprintf(d->detail, sizeof(d->detail), "%s is not on PATH", program);
    return d;
}

static struct dependency *add_space(struct dependencies *all, const char *name, const char *dir)
{
    struct dependency *d = add(all, name);
    struct statvfs fs;
    char free_text[24] = "unknown space";

    d->fine = statvfs(dir, &fs) == 0 && fs.f_bavail > 0;
    if (d->fine)
        text_format_bytes((uint64_t)fs.f_bavail * fs.f_frsize, free_text);
    snprintf(d->detail, sizeof(d->detail), "%s: %s free", dir, d->fine ? free_text : "nothing");
    return d;
}

static void add_memory(struct dependencies *all, const struct mgr_http_view *v)
{
    struct dependency *d = add(all, "memory");
    uint64_t want = 0;
    uint64_t available = 0;
    uint64_t promised = 0;
    struct err e = ERR_INIT;

    d->steps[0] = "admission";
    d->fine = mgr_memory_bytes(v->settings->qemu.memory_size, &want, &e) &&
              mgr_memory_look(v->host->memory, &available, &promised, &e);
    if (!d->fine) {
        snprintf(d->detail, sizeof(d->detail), "%s", err_text(&e));
        return;
    }
    d->fine = available >= promised && available - promised >= want;
    snprintf(d->detail, sizeof(d->detail),
             "%llu MiB free, %llu MiB of them promised to VMs; one more takes %llu MiB",
             (unsigned long long)(available >> 20), (unsigned long long)(promised >> 20),
             (unsigned long long)(want >> 20));
}

static void add_ports(struct dependencies *all, const struct mgr_qemu_settings *q)
{
    struct dependency *d = add(all, "ports");
    struct mgr_port port = MGR_PORT_INIT;
    uint16_t first;
    uint16_t last;
    struct err e = ERR_INIT;

    d->steps[0] = "port";
    d->fine = mgr_port_range(q->host_fwd_range, &first, &last, &e) &&
              mgr_port_take(q->host_fwd_addr, first, last, &port, &e);
    if (d->fine)
        snprintf(d->detail, sizeof(d->detail), "%u is free in %s", port.number, q->host_fwd_range);
    else
        snprintf(d->detail, sizeof(d->detail), "%s", err_text(&e));
    mgr_port_release(&port);
}

static void look(const struct mgr_http_view *v, struct dependencies *all)
{
    static const char *const qemu_steps[] = { "qemu", "attach", "run" };
    static const char *const disk_steps[] = { "space", "directory", "shares", "disk", "cgroup" };
    const struct mgr_qemu_settings *q = &v->settings->qemu;
    const struct mgr_vm_host *h = v->host;
    bool measured = strcmp(q->boot, "measured") == 0;
    struct dependency *d = add_program(all, "qemu", q->bin_path);

    memcpy(d->steps, qemu_steps, sizeof(qemu_steps));
    if (h->swtpm[0])
        add_program(all, "swtpm", h->swtpm)->steps[0] = "tpm";
    if (!q->enable_disk) {
        add_file(all, "kernel", q->kernel_file);
        add_file(all, "initrd", q->rootfs_file);
    }
    if (h->snp || h->tdx || measured)
        add_file(all, "firmware",
                 h->snp   ? q->igvm_file
                 : h->tdx ? q->ovmf_file
                          : q->ovmf_code_file)
            ->steps[0] = "firmware";
    d = add_space(all, "disk", h->vms_dir);
    memcpy(d->steps, disk_steps, sizeof(disk_steps));
    add_space(all, "records", v->settings->state_dir)->steps[0] = "record";
    add_memory(all, v);
    add_ports(all, q);
    d = add(all, "kvm");
    snprintf(d->detail, sizeof(d->detail), "%s", h->kvm ? "used" : v->kvm_reason);
}

/* The latest error of these steps, "" none; NULL stands for all steps. */
static const char *last_error(const struct mgr_fleet_figures *f, const char *const *steps)
{
    const char *text = "";
    uint64_t latest = 0;

    for (size_t i = 0; mgr_vm_step_name(i); i++) {
        bool ours = !steps;

        for (size_t k = 0; steps && steps[k]; k++)
            ours |= strcmp(steps[k], mgr_vm_step_name(i)) == 0;
        if (!ours || !f->failed_at[i].text[0] || f->failed_at[i].at_mono_ms < latest)
            continue;
        latest = f->failed_at[i].at_mono_ms;
        text = f->failed_at[i].text;
    }
    return text;
}

static bool put_dependency(const struct mgr_fleet_figures *f, const struct dependency *d, bool first,
                           struct buf *out, struct err *e)
{
    return buf_format(out, e, "%s{\"name\":\"%s\",\"ok\":%s,\"detail\":", first ? "" : ",", d->name,
                      d->fine ? "true" : "false") &&
           text_json_string(slice_of_str(d->detail), out, e) && buf_append_str(out, ",\"last_error\":", e) &&
           text_json_string(slice_of_str(last_error(f, d->steps)), out, e) && buf_append_str(out, "}", e);
}

bool mgr_http_ready(const struct mgr_http_view *v, struct buf *out, unsigned *ret_code, struct err *e)
{
    struct dependencies all = { .count = 0 };
    struct mgr_fleet_figures figures;
    bool fine = true;

    mgr_fleet_figures(v->fleet, &figures);
    look(v, &all);
    for (size_t i = 0; i < all.count; i++)
        fine = fine && all.at[i].fine;
    *ret_code = fine ? 200 : 503;
    if (!buf_format(out, e, "{\"ready\":%s,\"dependencies\":[", fine ? "true" : "false"))
        return false;
    for (size_t i = 0; i < all.count; i++)
        if (!put_dependency(&figures, &all.at[i], i == 0, out, e))
            return false;
    return buf_append_str(out, "],\"last_error\":", e) &&
           text_json_string(slice_of_str(last_error(&figures, NULL)), out, e) &&
           buf_append_str(out, "}\n", e);
}

static bool put_states(const struct mgr_fleet_figures *f, struct buf *out, struct err *e)
{
    if (!buf_append_str(out, "# HELP cocos_manager_vms VMs by state.\n# TYPE cocos_manager_vms gauge\n", e))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(f->by_state); i++)
        if (!buf_format(out, e, "cocos_manager_vms{state=\"%s\"} %zu\n",
                        mgr_vm_state_name((enum mgr_vm_state)i), f->by_state[i]))
            return false;
    return true;
}

static bool put_durations(const struct mgr_fleet_figures *f, struct buf *out, struct err *e)
{
    if (!buf_append_str(out,
                        "# HELP cocos_manager_create_seconds Time from a request to a running VM.\n"
                        "# TYPE cocos_manager_create_seconds histogram\n",
                        e))
        return false;
    for (size_t i = 0; i < MGR_BUCKET_COUNT; i++)
        if (!buf_format(out, e, "cocos_manager_create_seconds_bucket{le=\"%g\"} %llu\n",
                        (double)mgr_create_bucket_ms[i] / 1000, (unsigned long long)f->create_ms_buckets[i]))
            return false;
    return buf_format(out, e,
                      "cocos_manager_create_seconds_bucket{le=\"+Inf\"} %llu\n"
                      "cocos_manager_create_seconds_sum %.3f\n"
                      "cocos_manager_create_seconds_count %llu\n",
                      (unsigned long long)f->created, (double)f->create_ms_sum / 1000,
                      (unsigned long long)f->created);
}

static bool put_failures(const struct mgr_fleet_figures *f, struct buf *out, struct err *e)
{
    if (!buf_append_str(out,
                        "# HELP cocos_manager_create_failures_total VMs that could not be made, by reason.\n"
                        "# TYPE cocos_manager_create_failures_total counter\n",
                        e))
        return false;
    for (size_t i = ERR_KIND_INVALID; i < MGR_KIND_COUNT; i++)
        if (!buf_format(out, e, "cocos_manager_create_failures_total{reason=\"%s\"} %llu\n",
                        err_kind_name((enum err_kind)i), (unsigned long long)f->failed_by_kind[i]))
            return false;
    if (!buf_append_str(
            out,
            "# HELP cocos_manager_create_failed_steps_total VMs that could not be made, by the step "
            "that failed.\n"
            "# TYPE cocos_manager_create_failed_steps_total counter\n",
            e))
        return false;
    for (size_t i = 0; mgr_vm_step_name(i); i++)
        if (!buf_format(out, e, "cocos_manager_create_failed_steps_total{step=\"%s\"} %llu\n",
                        mgr_vm_step_name(i), (unsigned long long)f->failed_at[i].count))
            return false;
    return true;
}

/* The names that our peers' manager has; what is called microseconds is in seconds there as well. */
static bool put_calls(const struct mgr_fleet_figures *f, struct buf *out, struct err *e)
{
    static const char *const names[MGR_METHOD_COUNT] = { [MGR_METHOD_RUN] = "Run",
                                                         [MGR_METHOD_STOP] = "Stop",
                                                         [MGR_METHOD_POLICY] = "FetchAttestationPolicy",
                                                         [MGR_METHOD_INFO] = "ReturnCVMInfo" };

    if (!buf_append_str(out,
                        "# HELP manager_api_request_count Number of requests received.\n"
                        "# TYPE manager_api_request_count counter\n",
                        e))
        return false;
    for (size_t i = 0; i < MGR_METHOD_COUNT; i++)
        if (!buf_format(out, e, "manager_api_request_count{method=\"%s\"} %llu\n", names[i],
                        (unsigned long long)f->calls[i].count))
            return false;
    if (!buf_append_str(out,
                        "# HELP manager_api_request_latency_microseconds Duration of requests, in seconds.\n"
                        "# TYPE manager_api_request_latency_microseconds summary\n",
                        e))
        return false;
    for (size_t i = 0; i < MGR_METHOD_COUNT; i++)
        if (!buf_format(out, e,
                        "manager_api_request_latency_microseconds_sum{method=\"%s\"} %.3f\n"
                        "manager_api_request_latency_microseconds_count{method=\"%s\"} %llu\n",
                        names[i], f->calls[i].seconds, names[i], (unsigned long long)f->calls[i].count))
            return false;
    return true;
}

bool mgr_http_metrics(const struct mgr_http_view *v, struct buf *out, unsigned *ret_code, struct err *e)
{
    struct mgr_fleet_figures f;

    mgr_fleet_figures(v->fleet, &f);
    *ret_code = 200;
    return put_states(&f, out, e) && put_durations(&f, out, e) && put_failures(&f, out, e) &&
           put_calls(&f, out, e) &&
           buf_format(out, e,
                      "# HELP cocos_manager_vms_ended_total VMs that have ended.\n"
                      "# TYPE cocos_manager_vms_ended_total counter\n"
                      "cocos_manager_vms_ended_total %llu\n",
                      (unsigned long long)f.ended);
}
