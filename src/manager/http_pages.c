#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/text.h"
#include "host/program.h"
#include "manager/http.h"

bool mgr_http_health(const struct mgr_http_view *v, struct buf *out, unsigned *ret_code, struct err *e)
{
    *ret_code = 200;
    return buf_append_str(out,
                          "{\"status\":\"pass\",\"version\":\"" COCOS_VERSION "\",\"commit\":\"\","
                          "\"description\":\"manager service\",\"build_time\":\"\",\"instance_id\":",
                          e) &&
           text_json_string(slice_of_str(v->instance_id), out, e) && buf_append_str(out, "}\n", e);
}

/* One thing VMs need, looked at now. */
struct dependency {
    const char *name;
    bool fine;
    char detail[512];
};

static void check_file(struct dependency *d, const char *name, const char *path)
{
    struct err e = ERR_INIT;

    d->name = name;
    d->fine = access(path, R_OK) == 0;
    if (!d->fine)
        err_fail_os(&e, "%s", path);
    snprintf(d->detail, sizeof(d->detail), "%s", d->fine ? path : err_text(&e));
}

static void check_program(struct dependency *d, const char *name, const char *program)
{
    d->name = name;
    d->fine = host_find_program(program, d->detail, sizeof(d->detail));
    if (!d->fine)
        snprintf(d->detail, sizeof(d->detail), "%s is not on PATH", program);
}

static void check_space(struct dependency *d, const char *dir)
{
    struct statvfs fs;
    char free_text[24] = "unknown space";

    d->name = "disk";
    d->fine = statvfs(dir, &fs) == 0 && fs.f_bavail > 0;
    if (d->fine)
        text_format_bytes((uint64_t)fs.f_bavail * fs.f_frsize, free_text);
    snprintf(d->detail, sizeof(d->detail), "%s: %s free", dir, d->fine ? free_text : "nothing");
}

bool mgr_http_ready(const struct mgr_http_view *v, struct buf *out, unsigned *ret_code, struct err *e)
{
    const struct mgr_qemu_settings *q = &v->settings->qemu;
    struct dependency d[8];
    struct mgr_fleet_figures figures;
    size_t n = 0;
    bool fine = true;

    mgr_fleet_figures(v->fleet, &figures);
    check_program(&d[n++], "qemu", q->bin_path);
    if (v->host->swtpm[0])
        check_program(&d[n++], "swtpm", v->host->swtpm);
    if (!q->enable_disk) {
        check_file(&d[n++], "kernel", q->kernel_file);
        check_file(&d[n++], "initrd", q->rootfs_file);
    }
    if (strcmp(q->boot, "measured") == 0)
        check_file(&d[n++], "firmware", q->ovmf_code_file);
    check_space(&d[n++], v->host->vms_dir);
    d[n] = (struct dependency){ .name = "kvm", .fine = true };
    snprintf(d[n].detail, sizeof(d[n].detail), "%s", v->host->kvm ? "used" : v->kvm_reason);
    n++;
    for (size_t i = 0; i < n; i++)
        fine = fine && d[i].fine;
    *ret_code = fine ? 200 : 503;
    if (!buf_format(out, e, "{\"ready\":%s,\"dependencies\":[", fine ? "true" : "false"))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!buf_format(out, e, "%s{\"name\":\"%s\",\"ok\":%s,\"detail\":", i ? "," : "", d[i].name,
                        d[i].fine ? "true" : "false") ||
            !text_json_string(slice_of_str(d[i].detail), out, e) || !buf_append_str(out, "}", e))
            return false;
    return buf_append_str(out, "],\"last_error\":", e) &&
           text_json_string(slice_of_str(figures.last_error), out, e) && buf_append_str(out, "}\n", e);
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

bool mgr_http_metrics(const struct mgr_http_view *v, struct buf *out, unsigned *ret_code, struct err *e)
{
    struct mgr_fleet_figures f;

    mgr_fleet_figures(v->fleet, &f);
    *ret_code = 200;
    if (!put_states(&f, out, e) || !put_durations(&f, out, e) ||
        !buf_append_str(out,
                        "# HELP cocos_manager_create_failures_total VMs that could not be made, by reason.\n"
                        "# TYPE cocos_manager_create_failures_total counter\n",
                        e))
        return false;
    for (size_t i = ERR_KIND_INVALID; i < MGR_KIND_COUNT; i++)
        if (!buf_format(out, e, "cocos_manager_create_failures_total{reason=\"%s\"} %llu\n",
                        err_kind_name((enum err_kind)i), (unsigned long long)f.failed_by_kind[i]))
            return false;
    return buf_format(out, e,
                      "# HELP cocos_manager_vms_ended_total VMs that have ended.\n"
                      "# TYPE cocos_manager_vms_ended_total counter\n"
                      "cocos_manager_vms_ended_total %llu\n",
                      (unsigned long long)f.ended);
}
