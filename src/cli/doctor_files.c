/* What the doctor looks at: files, room on disk, memory, ports. */
#include "cli/doctor.h"

#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/stage.h"
#include "base/text.h"

#define FREE_MIN ((uint64_t)64 << 20)   /* below it a VM does not start    */
#define FREE_GOOD ((uint64_t)512 << 20) /* below it a few VMs may fill it  */
#define KERNEL_HEAD 0x210
#define SOCKET_NAME_MAX 12 /* as the manager has it: "/console" and the like */

/* ----------------------------------------------------------------- firmware */

static void need_readable(struct doctor *d, const char *what, const char *path, const char *package,
                          const char *variable)
{
    if (access(path, R_OK) == 0)
        doctor_add(d, what, DOCTOR_OK, "%s", path);
    else if (access(path, F_OK) == 0)
        doctor_fix(doctor_add(d, what, DOCTOR_FAIL, "%s can't be read", path), "sudo chmod a+r '%s'", path);
    else
        doctor_fix(doctor_add(d, what, DOCTOR_FAIL, "%s is not there", path),
                   "sudo apt-get install %s && unset %s", package, variable);
}

void doctor_firmware(struct doctor *d)
{
    if (strcmp(d->opts->boot, "measured") == 0) {
        need_readable(d, "OVMF", d->opts->ovmf_code, "ovmf", "MANAGER_QEMU_OVMF_CODE_FILE");
        need_readable(d, "OVMF variables", d->opts->ovmf_vars, "ovmf", "MANAGER_QEMU_OVMF_VARS_FILE");
    } else if (strcmp(d->opts->boot, "fast") == 0) {
        doctor_add(d, "OVMF", DOCTOR_OK, "not needed: MANAGER_QEMU_BOOT is fast");
    } else {
        doctor_fix(doctor_add(d, "OVMF", DOCTOR_FAIL, "MANAGER_QEMU_BOOT is '%s'", d->opts->boot),
                   "export MANAGER_QEMU_BOOT=measured  # or fast");
    }
}

/* ------------------------------------------------------ kernel and initramfs */

/* The first bytes of a file; false with a row that says why not. */
static bool read_head(struct doctor *d, const char *what, const char *path, const char *variable,
                      const char *made, uint8_t head[KERNEL_HEAD], size_t *ret_len)
{
    CLEANUP(fd_done) int fd = -1;
    struct err e = ERR_INIT;
    ssize_t n;

    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : pread(fd, head, KERNEL_HEAD, 0);
    if (n >= 0) {
        *ret_len = (size_t)n;
        return true;
    }
    err_clear(&e);
    err_fail_os(&e, "%s", path);
    doctor_fix(doctor_add(d, what, DOCTOR_FAIL, "%s", err_text(&e)),
               "make guest && export %s=\"$PWD/build/guest/%s\"", variable, made);
    return false;
}

static void look_at_kernel(struct doctor *d)
{
    static const char variable[] = "MANAGER_QEMU_DISK_IMG_KERNEL_FILE";
    bool fast = strcmp(d->opts->boot, "fast") == 0;
    const char *made = fast ? "vmlinux" : "vmlinuz";
    const char *path = d->opts->kernel;
    uint8_t head[KERNEL_HEAD] = { 0 };
    size_t len;
    bool elf;
    bool bz;

    if (!read_head(d, "guest kernel", path, variable, made, head, &len))
        return;
    elf = len > 4 && memcmp(head,
                            "\x7f"
                            "ELF",
                            4) == 0;
    bz = len >= 0x206 && memcmp(head + 0x202, "HdrS", 4) == 0;
    if (elf || (bz && !fast)) {
        struct doctor_row *row = doctor_add(d, "guest kernel", elf && !fast ? DOCTOR_FAIL : DOCTOR_OK,
                                            "%s (%s)", path, elf ? "ELF" : "bzImage");

        if (elf && !fast) /* OVMF loads EFI programs */
            doctor_fix(row, "export %s=\"$PWD/build/guest/vmlinuz\"  # or MANAGER_QEMU_BOOT=fast", variable);
    } else if (bz) {
        doctor_fix(doctor_add(d, "guest kernel", DOCTOR_WARN,
                              "%s is packed: a fast boot then takes seconds more", path),
                   "make guest && export %s=\"$PWD/build/guest/vmlinux\"", variable);
    } else {
        doctor_fix(doctor_add(d, "guest kernel", DOCTOR_FAIL, "%s is no kernel for x86", path),
                   "make guest && export %s=\"$PWD/build/guest/%s\"", variable, made);
    }
}

void doctor_guest(struct doctor *d)
{
    static const char variable[] = "MANAGER_QEMU_DISK_IMG_ROOTFS_FILE";
    uint8_t head[KERNEL_HEAD] = { 0 };
    size_t len;

    look_at_kernel(d);
    if (!read_head(d, "guest initramfs", d->opts->initrd, variable, "initrd-minimal.cpio", head, &len))
        return;
    if (len >= 6 && (memcmp(head, "070701", 6) == 0 || memcmp(head, "\x1f\x8b", 2) == 0 ||
                     memcmp(head,
                            "\xfd"
                            "7zXZ",
                            5) == 0 ||
                     memcmp(head, "\x28\xb5\x2f\xfd", 4) == 0))
        doctor_add(d, "guest initramfs", DOCTOR_OK, "%s", d->opts->initrd);
    else
        doctor_fix(doctor_add(d, "guest initramfs", DOCTOR_FAIL, "%s is no initramfs", d->opts->initrd),
                   "make guest && export %s=\"$PWD/build/guest/initrd-minimal.cpio\"", variable);
}

/* --------------------------------------------------------------------- disk */

/* The nearest directory above that is there: it decides where the manager's own will be. */
static void nearest(const char *path, char *ret, size_t len)
{
    snprintf(ret, len, "%s", path);
    while (access(ret, F_OK) != 0) {
        char *slash = strrchr(ret, '/');

        if (!slash) {
            snprintf(ret, len, ".");
        } else if (slash == ret) {
            ret[1] = '\0';
            return;
        } else {
            *slash = '\0';
        }
    }
}

static void look_at_directory(struct doctor *d, const char *what, const char *path, const char *variable)
{
    char at[4096];
    char room[24];
    struct statvfs s;
    uint64_t left;

    nearest(path, at, sizeof(at));
    if (access(at, W_OK | X_OK) != 0) {
        doctor_fix(doctor_add(d, what, DOCTOR_FAIL, "%s can't be written to by this user", path),
                   "sudo install -d -m 700 -o \"$USER\" '%s'  # or set %s", path, variable);
        return;
    }
    if (statvfs(at, &s) != 0) {
        doctor_fix(doctor_add(d, what, DOCTOR_FAIL, "%s: its room can't be told", at), "df '%s'", at);
        return;
    }
    left = (uint64_t)s.f_bavail * s.f_frsize;
    text_format_bytes(left, room);
    if (left >= FREE_GOOD)
        doctor_add(d, what, DOCTOR_OK, "%s: %s free", path, room);
    else
        doctor_fix(
            doctor_add(d, what, left < FREE_MIN ? DOCTOR_FAIL : DOCTOR_WARN, "%s: only %s free", path, room),
            "export %s=<a directory with more room>  # or free some: du -xh '%s' | sort -h | tail", variable,
            at);
}

/* The manager's sockets are in <run>/vms/<36 letters>/, and a socket's path has to be short. */
static void look_at_length(struct doctor *d)
{
    const size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - strlen("/vms/") - 36 -
                        SOCKET_NAME_MAX;

    if (strlen(d->opts->run_dir) >= most)
        doctor_fix(doctor_add(d, "path for sockets", DOCTOR_FAIL,
                              "%s is too long: less than %zu bytes are wanted", d->opts->run_dir, most),
                   "export COCOS_RUN_DIR=/run/cocos");
}

void doctor_disk(struct doctor *d)
{
    look_at_length(d);
    look_at_directory(d, "room for VMs", d->opts->run_dir, "COCOS_RUN_DIR");
    look_at_directory(d, "room for records", d->opts->state_dir, "COCOS_STATE_DIR");
}

/* ------------------------------------------------------------------- memory */

/* MiB of "2048M", "30G" or "512", or 0. */
static uint64_t size_mib(const char *text)
{
    struct slice digits = slice_of_str(text);
    uint8_t unit = digits.len ? digits.at[digits.len - 1] : 0;
    struct err e = ERR_INIT;
    uint64_t n;

    if (unit == 'M' || unit == 'G' || unit == 'K' || unit == 'T')
        digits.len--;
    if (!text_parse_u64(digits, 1, UINT64_MAX >> 40, &n, &e))
        return 0;
    return unit == 'G' ? n << 10 : unit == 'T' ? n << 20 : unit == 'K' ? (n + 1023) >> 10 : n;
}

static uint64_t available_mib(void)
{
    static const char name[] = "MemAvailable:";
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf text = BUF_INIT(64 * 1024);
    const char *all;
    const char *at;

    if (!stage_read_file("/proc/meminfo", &text, &e) || !(all = buf_str(&text, &e)))
        return 0;
    at = strstr(all, name);
    return at ? strtoull(at + strlen(name), NULL, 10) >> 10 : 0;
}

void doctor_memory(struct doctor *d)
{
    uint64_t wanted = size_mib(d->opts->memory);
    uint64_t there = available_mib();

    if (wanted == 0)
        doctor_fix(doctor_add(d, "memory", DOCTOR_FAIL, "MANAGER_QEMU_MEMORY_SIZE is '%s'", d->opts->memory),
                   "export MANAGER_QEMU_MEMORY_SIZE=2048M");
    else if (there >= wanted)
        doctor_add(d, "memory", DOCTOR_OK, "%llu MiB available, %llu MiB for a VM", (unsigned long long)there,
                   (unsigned long long)wanted);
    else
        doctor_fix(doctor_add(d, "memory", DOCTOR_FAIL, "%llu MiB available, a VM takes %llu MiB",
                              (unsigned long long)there, (unsigned long long)wanted),
                   "export MANAGER_QEMU_MEMORY_SIZE=%lluM",
                   (unsigned long long)(there / 2 > 512 ? there / 2 : 512));
}

/* -------------------------------------------------------------------- ports */

/* Whether something can listen there now. host NULL or "" means every address. */
static bool port_free(const char *host, uint64_t port)
{
    const struct addrinfo hints = { .ai_family = AF_UNSPEC,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_PASSIVE };
    struct addrinfo *list = NULL;
    char service[8];
    bool fine = false;

    snprintf(service, sizeof(service), "%u", (unsigned)port);
    if (getaddrinfo(host && host[0] ? host : "0.0.0.0", service, &hints, &list) != 0)
        return false;
    if (list) {
        CLEANUP(fd_done) int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int one = 1;

        /* As servers do: a port that only old connections linger on is free. */
        fine = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
               bind(fd, list->ai_addr, list->ai_addrlen) == 0 && listen(fd, 1) == 0;
    }
    freeaddrinfo(list);
    return fine;
}

static void look_at_range(struct doctor *d)
{
    struct slice all = slice_of_str(d->opts->port_range);
    size_t dash = slice_find(all, '-');
    struct err e = ERR_INIT;
    uint64_t first = 0;
    uint64_t last = 0;
    uint64_t count = 0;

    if (!text_parse_u64(slice_first(all, dash), 1, 65535, &first, &e) ||
        !text_parse_u64(slice_after(all, dash + 1), 1, 65535, &last, &e) || first > last) {
        doctor_fix(
            doctor_add(d, "ports for agents", DOCTOR_FAIL,
                       "MANAGER_QEMU_HOST_FWD_RANGE is '%s': two ports are wanted, the lower one first",
                       d->opts->port_range),
            "export MANAGER_QEMU_HOST_FWD_RANGE=6100-6200");
        return;
    }
    for (uint64_t port = first; port <= last; port++)
        count += port_free(d->opts->port_address, port);
    if (count > 0)
        doctor_add(d, "ports for agents", DOCTOR_OK, "%llu of %llu are free in %s", (unsigned long long)count,
                   (unsigned long long)last - first + 1, d->opts->port_range);
    else
        doctor_fix(doctor_add(d, "ports for agents", DOCTOR_FAIL, "none is free in %s", d->opts->port_range),
                   "export MANAGER_QEMU_HOST_FWD_RANGE=16100-16200  # ss -ltnp shows who has them");
}

/* Taken is no fault: it may be the manager that has it. */
static void look_at_port(struct doctor *d, const char *what, const char *host, uint64_t port,
                         const char *variable)
{
    if (port == 0 || port_free(host, port))
        doctor_add(d, what, DOCTOR_OK, "%s:%llu is free", host, (unsigned long long)port);
    else
        doctor_fix(doctor_add(d, what, DOCTOR_WARN,
                              "%s:%llu can't be listened on; a running manager may have it", host,
                              (unsigned long long)port),
                   "export %s=<another port>  # ss -ltnp 'sport = :%llu' shows who has it", variable,
                   (unsigned long long)port);
}

void doctor_ports(struct doctor *d)
{
    look_at_range(d);
    look_at_port(d, "gRPC port", d->opts->grpc_host, d->opts->grpc_port, "MANAGER_GRPC_PORT");
    look_at_port(d, "HTTP port", d->opts->http_host, d->opts->http_port, "MANAGER_HTTP_PORT");
}
