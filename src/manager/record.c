#include "manager/record.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/json.h"
#include "base/file.h"
#include "base/stage.h"

#define RECORD_MAX ((size_t)16 * 1024)

/* This boot of the host; ret holds MGR_ID_LEN + 1 bytes. */
static bool boot_id_read(char *ret, struct err *e)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(64);

    if (!stage_read_file("/proc/sys/kernel/random/boot_id", &text, e))
        return false;
    if (text.len < MGR_ID_LEN)
        return err_fail(e, ERR_KIND_INTERNAL, "the host's boot id has %zu bytes", text.len);
    memcpy(ret, buf_slice(&text).at, MGR_ID_LEN);
    ret[MGR_ID_LEN] = '\0';
    return true;
}

static json_t *pack(const struct mgr_record *r, const char *boot_id)
{
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "version",
                     MGR_RECORD_VERSION, "boot_id", boot_id, "id", r->id, "start_id", r->start_id, "dir",
                     r->dir, "disk", r->disk, "agent_port", (int)r->agent_port, "qemu_pid",
                     (json_int_t)r->qemu.pid, "qemu_start", (json_int_t)r->qemu.start_ticks, "swtpm_pid",
                     (json_int_t)r->swtpm.pid, "swtpm_start", (json_int_t)r->swtpm.start_ticks,
                     "ttl_until_mono_ms", (json_int_t)r->ttl_until_mono_ms, "created_mono_ms",
                     (json_int_t)r->created_mono_ms);
}

static bool name_of(const char *id, char *ret, size_t len, struct err *e)
{
    int n = snprintf(ret, len, "%s.json", id);

    if (n < 0 || (size_t)n >= len)
        return err_fail(e, ERR_KIND_INVALID, "VM id '%s' is too long", id);
    return true;
}

bool mgr_record_write(int dir_fd, const struct mgr_record *r, struct err *e)
{
    char boot_id[MGR_ID_LEN + 1];
    char name[MGR_ID_LEN + 8];
    struct stage_file f = STAGE_FILE_INIT;

    if (!boot_id_read(boot_id, e) || !name_of(r->id, name, sizeof(name), e))
        return false;

    CLEANUP(json_done) json_t *root = pack(r, boot_id);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    bool ok = text ? stage_file_begin(dir_fd, &f, e) && stage_file_write(&f, slice_of_str(text), e) &&
                         stage_file_commit(&f, name, 0600, true, e)
                   : err_fail(e, ERR_KIND_LIMIT, "no memory");

    stage_file_done(&f);
    free(text);
    return ok || err_wrap(e, "write the record of VM %s", r->id);
}

bool mgr_record_remove(int dir_fd, const char *id, struct err *e)
{
    char name[MGR_ID_LEN + 8];

    if (!name_of(id, name, sizeof(name), e))
        return false;
    if (unlinkat(dir_fd, name, 0) != 0 && errno != ENOENT)
        return err_fail_os(e, "remove the record of VM %s", id);
    return true;
}

static bool take_text(const json_t *root, const char *key, char *ret, size_t len, struct err *e)
{
    const char *text = json_string_value(json_object_get(root, key));

    if (!text || strlen(text) >= len)
        return err_fail(e, ERR_KIND_INVALID, "%s: a text below %zu bytes is wanted", key, len);
    memcpy(ret, text, strlen(text) + 1);
    return true;
}

static bool take_number(const json_t *root, const char *key, uint64_t max, uint64_t *ret, struct err *e)
{
    const json_t *value = json_object_get(root, key);
    json_int_t n = json_integer_value(value);

    if (!json_is_integer(value) || n < 0 || (uint64_t)n > max)
        return err_fail(e, ERR_KIND_INVALID, "%s: a number from 0 to %llu is wanted", key,
                        (unsigned long long)max);
    *ret = (uint64_t)n;
    return true;
}

static bool take_process(const json_t *root, const char *pid_key, const char *start_key,
                         struct mgr_process_id *ret, struct err *e)
{
    uint64_t pid;

    if (!take_number(root, pid_key, INT32_MAX, &pid, e) ||
        !take_number(root, start_key, INT64_MAX, &ret->start_ticks, e))
        return false;
    ret->pid = (pid_t)pid;
    return true;
}

static bool same(const json_t *root, const char *key, const char *want, struct err *e)
{
    const char *text = json_string_value(json_object_get(root, key));

    if (!text || strcmp(text, want) != 0)
        return err_fail(e, ERR_KIND_INVALID, "%s is '%s', '%s' is wanted", key, text ? text : "", want);
    return true;
}

/* 8-4-4-4-12 hexadecimal digits: what mgr_uuid makes, and nothing that means something in a path. */
static bool is_id(const char *text)
{
    for (size_t i = 0; i < MGR_ID_LEN; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? text[i] != '-' : !text[i] || !strchr("0123456789abcdef", text[i]))
            return false;
    }
    return text[MGR_ID_LEN] == '\0';
}

/* What names files and processes must make sense: it decides what is connected to, ended and removed. */
static bool check_meaning(const struct mgr_record *r, struct err *e)
{
    struct slice dir = slice_of_str(r->dir);

    if (!is_id(r->id) || !is_id(r->start_id))
        return err_fail(e, ERR_KIND_INVALID, "id '%s', start_id '%s': ids are wanted", r->id, r->start_id);
    if (r->dir[0] != '/' || !slice_ends(dir, r->id) || dir.len < MGR_ID_LEN + 2 ||
        dir.at[dir.len - MGR_ID_LEN - 1] != '/')
        return err_fail(e, ERR_KIND_INVALID, "dir '%s' is not this VM's", r->dir);
    if (r->qemu.pid < 2 || r->swtpm.pid == 1)
        return err_fail(e, ERR_KIND_INVALID, "qemu_pid %d, swtpm_pid %d: processes are wanted",
                        (int)r->qemu.pid, (int)r->swtpm.pid);
    if (r->agent_port == 0)
        return err_fail(e, ERR_KIND_INVALID, "agent_port: a port is wanted");
    return true;
}

bool mgr_record_read(struct slice text, const char *want_id, const char *boot_id, struct mgr_record *ret,
                     struct err *e)
{
    CLEANUP(json_done) json_t *root = json_read(text, e);
    struct mgr_record r = { 0 };
    uint64_t version;
    uint64_t port;

    if (!root)
        return false;
    if (!take_number(root, "version", INT32_MAX, &version, e))
        return false;
    if (version != MGR_RECORD_VERSION)
        return err_fail(e, ERR_KIND_INVALID, "version %llu, %d is wanted", (unsigned long long)version,
                        MGR_RECORD_VERSION);
    if (!same(root, "boot_id", boot_id, e) || !same(root, "id", want_id, e) ||
        !take_text(root, "id", r.id, sizeof(r.id), e) ||
        !take_text(root, "start_id", r.start_id, sizeof(r.start_id), e) ||
        !take_text(root, "dir", r.dir, sizeof(r.dir), e) ||
        !take_text(root, "disk", r.disk, sizeof(r.disk), e) ||
        !take_number(root, "agent_port", 65535, &port, e) ||
        !take_process(root, "qemu_pid", "qemu_start", &r.qemu, e) ||
        !take_process(root, "swtpm_pid", "swtpm_start", &r.swtpm, e) ||
        !take_number(root, "ttl_until_mono_ms", INT64_MAX, &r.ttl_until_mono_ms, e) ||
        !take_number(root, "created_mono_ms", INT64_MAX, &r.created_mono_ms, e))
        return false;
    r.agent_port = (uint16_t)port;
    if (!check_meaning(&r, e))
        return false;
    *ret = r;
    return true;
}

/* Reads one file of the directory; false with *e when its record is not trusted. */
static bool read_one(int dir_fd, const char *name, const char *boot_id, struct mgr_record *ret, struct err *e)
{
    CLEANUP(fd_done) int fd = -1;
    CLEANUP(buf_done) struct buf text = BUF_INIT(RECORD_MAX);
    char id[MGR_ID_LEN + 1];
    size_t len = strlen(name) - strlen(".json");

    if (len >= sizeof(id))
        return err_fail(e, ERR_KIND_INVALID, "the name is not a VM's id");
    memcpy(id, name, len);
    id[len] = '\0';
    return stage_open_beneath(dir_fd, name, O_RDONLY, 0, &fd, e) && stage_read_fd(fd, &text, e) &&
           mgr_record_read(buf_slice(&text), id, boot_id, ret, e);
}

bool mgr_record_all(int dir_fd, void (*each)(const struct mgr_record *r, void *ctx),
                    void (*refused)(const char *name, const struct err *why, void *ctx), void *ctx,
                    struct err *e)
{
    char boot_id[MGR_ID_LEN + 1];
    CLEANUP(dir_done) DIR *dir = NULL;
    const char *name;
    bool ok;

    if (!boot_id_read(boot_id, e))
        return false;
    if (!dir_list(dir_fd, &dir, e))
        return err_wrap(e, "the records of VMs");
    while ((name = dir_next(dir, &ok, e))) {
        struct mgr_record r;
        struct err why = ERR_INIT;

        if (!slice_ends(slice_of_str(name), ".json") || strcmp(name, "kvm-probe.json") == 0)
            continue;
        if (read_one(dir_fd, name, boot_id, &r, &why)) {
            each(&r, ctx);
            continue;
        }
        refused(name, &why, ctx);
        unlinkat(dir_fd, name, 0);
    }
    return ok || err_wrap(e, "the records of VMs");
}
