#include "host/gpu.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/stage.h"
#include "base/text.h"

#define DEVICES "/sys/bus/pci/devices"
#define NVIDIA "0x10de"
#define SEEN_MAX ((size_t)400) /* of the text about devices that won't do */

/* "0000:41:00.0" in its parts: digits, and what stands behind them. */
bool host_bdf_parse(const char *text, char *ret, struct err *e)
{
    static const char form[] = "hhhh:hh:hh.7";
    char full[2 * HOST_BDF_LEN];
    int n = snprintf(full, sizeof(full), "%s%s", strlen(text) == HOST_BDF_LEN - 5 ? "0000:" : "", text);
    bool ok = n == HOST_BDF_LEN;

    for (size_t i = 0; ok && i < HOST_BDF_LEN; i++) {
        char c = full[i];

        if (form[i] == 'h')
            ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        else if (form[i] == '7')
            ok = c >= '0' && c <= '7';
        else
            ok = c == form[i];
        if (ok && c >= 'A' && c <= 'F')
            full[i] = (char)(c - 'A' + 'a'); /* as sysfs writes it */
    }
    if (!ok)
        return err_fail(e, ERR_KIND_INVALID, "'%s': a PCI address is wanted, as 0000:41:00.0", text);
    memcpy(ret, full, HOST_BDF_LEN + 1);
    return true;
}

static bool path_of(const char *root, const char *bdf, const char *name, char *ret)
{
    int n = snprintf(ret, PATH_MAX, "%s" DEVICES "/%s/%s", root, bdf, name);

    return n > 0 && n < PATH_MAX;
}

/* The first line of one of the device's files is `want`, or begins so. */
static bool says(const char *root, const char *bdf, const char *name, const char *want)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
    struct err e = ERR_INIT;
    char path[PATH_MAX];

    return path_of(root, bdf, name, path) && stage_read_file(path, &text, &e) &&
           slice_starts(buf_slice(&text), want);
}

/* Where one of the device's links leads: the last part of it, "" when there is none. */
static void leads_to(const char *root, const char *bdf, const char *name, char *ret, size_t len)
{
    char path[PATH_MAX];
    char to[PATH_MAX];
    ssize_t n = path_of(root, bdf, name, path) ? readlink(path, to, sizeof(to) - 1) : -1;
    const char *slash;

    to[n > 0 ? n : 0] = '\0';
    slash = strrchr(to, '/');
    snprintf(ret, len, "%.*s", (int)len - 1, slash ? slash + 1 : to);
}

static void look(const char *root, const char *bdf, struct host_gpu *ret)
{
    *ret = (struct host_gpu){ .vfio = false };
    memcpy(ret->bdf, bdf, HOST_BDF_LEN);
    leads_to(root, bdf, "driver", ret->driver, sizeof(ret->driver));
    leads_to(root, bdf, "iommu_group", ret->group, sizeof(ret->group));
    ret->vfio = strcmp(ret->driver, "vfio-pci") == 0;
}

static bool is_gpu(const char *root, const char *bdf)
{
    return says(root, bdf, "vendor", NVIDIA) &&
           (says(root, bdf, "class", "0x0302") || says(root, bdf, "class", "0x0300"));
}

static bool find_named(const char *root, const char *want, struct host_gpu *ret, struct err *e)
{
    struct host_gpu g;
    char bdf[HOST_BDF_LEN + 1];
    char path[PATH_MAX];

    if (!host_bdf_parse(want, bdf, e))
        return false;
    if (!path_of(root, bdf, "vendor", path) || access(path, F_OK) != 0)
        return err_fail(e, ERR_KIND_MISSING, "'%s': no such PCI device on this host", want);
    look(root, bdf, &g);
    if (!g.vfio)
        return err_fail(e, ERR_KIND_MISSING, "'%s' is bound to %s, not to vfio-pci: no VM can have it", want,
                        g.driver[0] ? g.driver : "no driver");
    *ret = g;
    return true;
}

bool host_gpu_find(const char *root, const char *want, struct host_gpu *ret, struct err *e)
{
    CLEANUP(buf_done) struct buf seen = BUF_INIT(SEEN_MAX);
    char path[PATH_MAX];
    struct dirent **entries = NULL;
    struct err full = ERR_INIT;
    bool found = false;
    int count;

    if (want[0])
        return find_named(root, want, ret, e);
    snprintf(path, sizeof(path), "%s" DEVICES, root);
    count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        struct host_gpu g;
        char bdf[HOST_BDF_LEN + 1];
        struct err no = ERR_INIT;

        if (!found && host_bdf_parse(entries[i]->d_name, bdf, &no) && is_gpu(root, bdf)) {
            look(root, bdf, &g);
            found = g.vfio;
            if (found)
                *ret = g;
            else if (!buf_format(&seen, &full, "%s%s is bound to %s", seen.len ? ", " : "", g.bdf,
                                 g.driver[0] ? g.driver : "no driver"))
                seen.max = seen.len;
        }
        free(entries[i]);
    }
    free(entries);
    return found ||
           err_fail(e, ERR_KIND_MISSING, "no NVIDIA GPU of this host is bound to vfio-pci%s%.*s",
                    seen.len ? ": " : "", (int)seen.len, seen.len ? (const char *)buf_slice(&seen).at : "");
}
