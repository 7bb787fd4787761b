#include "host/kvm_probe.h"

#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/stage.h"

#define CACHE_NAME "kvm-probe.json"
#define ROM_NAME "kvm-probe.rom"
#define EXIT_STATUS 65 /* the ROM writes 0x20 to the debug exit port: 0x20 * 2 + 1 */

/*
 * Real mode to protected mode to long mode with a 1 GiB identity map of large
 * pages, then ten million turns of "nop; nop; dec; jnz", then out 0xf4.
 */
static const unsigned char code[] = {
    0xfa, 0x66, 0x2e, 0x66, 0x0f, 0x01, 0x16, 0xf8, 0x00, 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0,
    0x66, 0xea, 0x19, 0x00, 0xff, 0xff, 0x08, 0x00, 0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e,
    0xd0, 0xbc, 0x00, 0x80, 0x00, 0x00, 0xb0, 0x50, 0xe6, 0x80, 0x31, 0xc0, 0xbf, 0x00, 0x00, 0x01, 0x00,
    0xb9, 0x00, 0x18, 0x00, 0x00, 0xf3, 0xab, 0xc7, 0x05, 0x00, 0x00, 0x01, 0x00, 0x03, 0x10, 0x01, 0x00,
    0xc7, 0x05, 0x00, 0x10, 0x01, 0x00, 0x03, 0x20, 0x01, 0x00, 0xc7, 0x05, 0x08, 0x10, 0x01, 0x00, 0x03,
    0x30, 0x01, 0x00, 0xc7, 0x05, 0x10, 0x10, 0x01, 0x00, 0x03, 0x40, 0x01, 0x00, 0xc7, 0x05, 0x18, 0x10,
    0x01, 0x00, 0x03, 0x50, 0x01, 0x00, 0xbf, 0x00, 0x20, 0x01, 0x00, 0xb8, 0x83, 0x00, 0x00, 0x00, 0xb9,
    0x00, 0x08, 0x00, 0x00, 0x89, 0x07, 0xc7, 0x47, 0x04, 0x00, 0x00, 0x00, 0x00, 0x83, 0xc7, 0x08, 0x05,
    0x00, 0x00, 0x20, 0x00, 0xe2, 0xed, 0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0, 0xb8, 0x00,
    0x00, 0x01, 0x00, 0x0f, 0x22, 0xd8, 0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x0d, 0x00, 0x01, 0x00,
    0x00, 0x0f, 0x30, 0x0f, 0x20, 0xc0, 0x0d, 0x00, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0, 0xea, 0xbf, 0x00,
    0xff, 0xff, 0x18, 0x00, 0xb9, 0x80, 0x96, 0x98, 0x00, 0x90, 0x90, 0xff, 0xc9, 0x75, 0xfa, 0xb0, 0x20,
    0xe6, 0xf4, 0xf4, 0xeb, 0xfd, 0x8d, 0xb4, 0x00, 0x00, 0x8d, 0x74, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xcf, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x93,
    0xcf, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xaf, 0x00, 0x1f, 0x00, 0xd8, 0x00, 0xff, 0xff,
};

#define ROM_LEN 65536

/* The firmware image; ret has ROM_LEN bytes. */
static void make_rom(unsigned char *ret)
{
    static const unsigned char reset[] = { 0xe9, 0x0d,
                                           0x00 }; /* jmp to offset 0, where the processor starts */

    memset(ret, 0, ROM_LEN);
    memcpy(ret, code, sizeof(code));
    memcpy(ret + ROM_LEN - 16, reset, sizeof(reset));
}

struct probe {
    uv_loop_t *loop;
    uv_timer_t soon; /* a cached answer is given on the loop as well */
    struct child *child;
    int state_dir_fd;
    bool kvm;
    uint64_t started_ms;
    char key[512];  /* boot of the host and QEMU the answer is for */
    char last[160]; /* QEMU's last words                          */
    struct host_kvm_verdict verdict;
    host_kvm_done_fn done;
    void *ctx;
};

static void free_probe(uv_handle_t *handle)
{
    mem_free(handle->data);
}

static void finish(struct probe *p)
{
    child_free(p->child);
    p->child = NULL;
    p->done(&p->verdict, p->ctx);
    uv_close((uv_handle_t *)&p->soon, free_probe);
}

static void finish_soon(uv_timer_t *timer)
{
    finish(timer->data);
}

/* The host's boot id, QEMU's path, size and time: what the answer depends on. */
static bool make_key(const char *qemu, struct probe *p, struct err *e)
{
    CLEANUP(buf_done) struct buf boot = BUF_INIT(64);
    struct stat st = { 0 };

    if (!stage_read_file("/proc/sys/kernel/random/boot_id", &boot, e))
        return false;
    if (strchr(qemu, '/') && stat(qemu, &st) != 0)
        return err_fail_os(e, "%s", qemu);
    snprintf(p->key, sizeof(p->key), "%.36s %s %lld %lld", buf_str(&boot, e), qemu, (long long)st.st_size,
             (long long)st.st_mtime);
    return true;
}

static bool read_cache(struct probe *p)
{
    struct err e = ERR_INIT;
    CLEANUP(fd_done) int fd = -1;
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096);

    if (!stage_open_beneath(p->state_dir_fd, CACHE_NAME, O_RDONLY, 0, &fd, &e) ||
        !stage_read_fd(fd, &text, &e))
        return false;

    CLEANUP(json_done) json_t *root = json_read(buf_slice(&text), &e);
    const char *key = json_string_value(json_object_get(root, "key"));
    const char *reason = json_string_value(json_object_get(root, "reason"));

    if (!key || !reason || strcmp(key, p->key) != 0)
        return false;
    p->verdict.works = json_is_true(json_object_get(root, "works"));
    p->verdict.took_ms = (uint64_t)json_integer_value(json_object_get(root, "took_ms"));
    p->verdict.from_cache = true;
    snprintf(p->verdict.reason, sizeof(p->verdict.reason), "%s", reason);
    return true;
}

/* Not being able to keep the answer only means asking again next time. */
static void write_cache(struct probe *p)
{
    struct err e = ERR_INIT;
    struct stage_file f = STAGE_FILE_INIT;
    CLEANUP(json_done)
    json_t *root = json_pack("{s:s, s:b, s:I, s:s}", "key", p->key, "works", p->verdict.works, "took_ms",
                             (json_int_t)p->verdict.took_ms, "reason", p->verdict.reason);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;

    if (text && stage_file_begin(p->state_dir_fd, &f, &e) && stage_file_write(&f, slice_of_str(text), &e) &&
        !stage_file_commit(&f, CACHE_NAME, 0600, true, &e))
        err_clear(&e);
    stage_file_done(&f);
    free(text);
}

static uint64_t probe_ms(const struct probe *p)
{
    return p->kvm ? HOST_KVM_PROBE_MS : HOST_TCG_PROBE_MS;
}

static void on_output(struct child *c, enum child_stream stream, struct slice bytes, void *ctx)
{
    struct probe *p = ctx;
    size_t len = bytes.len < sizeof(p->last) - 1 ? bytes.len : sizeof(p->last) - 1;

    (void)c;
    (void)stream;
    memcpy(p->last, bytes.at, len);
    p->last[len] = '\0';
    p->last[strcspn(p->last, "\n")] = '\0';
}

static void on_exit_of_qemu(struct child *c, const struct child_exit *how, void *ctx)
{
    struct probe *p = ctx;
    struct host_kvm_verdict *v = &p->verdict;

    (void)c;
    v->took_ms = clock_mono_ms(clock_system()) - p->started_ms;
    v->works = !how->by_signal && how->number == EXIT_STATUS;
    if (how->timed_out)
        snprintf(v->reason, sizeof(v->reason), "a probe guest of ten million loops was not done after %d ms",
                 (int)probe_ms(p));
    else if (!v->works)
        snprintf(v->reason, sizeof(v->reason), "the probe guest ended with %s %d%s%s",
                 how->by_signal ? "signal" : "status", how->number, p->last[0] ? ": " : "", p->last);
    if (p->kvm)
        write_cache(p);
    finish(p);
}

static bool write_rom(int dir_fd, struct err *e)
{
    CLEANUP(mem_done) unsigned char *rom = mem_new(ROM_LEN, e);
    struct stage_file f = STAGE_FILE_INIT;
    bool ok;

    if (!rom)
        return false;

    make_rom(rom);
    ok = stage_file_begin(dir_fd, &f, e) && stage_file_write(&f, slice_of(rom, ROM_LEN), e) &&
         stage_file_commit(&f, ROM_NAME, 0600, true, e);
    stage_file_done(&f);
    return ok;
}

static bool spawn(struct probe *p, const char *qemu, struct err *e)
{
    char rom[64];
    const char *argv[] = { qemu,
                           "-machine",
                           p->kvm ? "pc,accel=kvm" : "pc,accel=tcg",
                           "-m",
                           "16",
                           "-nodefaults",
                           "-no-user-config",
                           "-display",
                           "none",
                           "-no-reboot",
                           "-device",
                           "isa-debug-exit,iobase=0xf4,iosize=1",
                           "-bios",
                           rom,
                           NULL };
    const struct child_spec spec = {
        .argv = argv,
        .deadline_ms = probe_ms(p),
        .deadline_grace_ms = 100,
        .on_output = on_output,
        .on_exit = on_exit_of_qemu,
        .ctx = p,
    };

    /* Its own name for the directory: the child has none of our descriptors, but may look at ours. */
    snprintf(rom, sizeof(rom), "/proc/%d/fd/%d/%s", (int)getpid(), p->state_dir_fd, ROM_NAME);
    p->started_ms = clock_mono_ms(clock_system());
    return child_spawn(p->loop, &spec, &p->child, e);
}

static bool device_opens(const char *root)
{
    char path[512];
    int n = snprintf(path, sizeof(path), "%s/dev/kvm", root);

    return n > 0 && (size_t)n < sizeof(path) && access(path, R_OK | W_OK) == 0;
}

/* device: /dev/kvm can be opened, or isn't asked for. */
static bool run(uv_loop_t *loop, const char *qemu, int state_dir_fd, bool kvm, bool device,
                host_kvm_done_fn done, void *ctx, struct err *e)
{
    struct probe *p = mem_new(sizeof(*p), e);

    if (!p)
        return false;
    *p = (struct probe){ .loop = loop, .state_dir_fd = state_dir_fd, .kvm = kvm, .done = done, .ctx = ctx };
    if (!make_key(qemu, p, e) || !write_rom(state_dir_fd, e)) {
        mem_free(p);
        return err_wrap(e, "probe KVM");
    }
    uv_timer_init(loop, &p->soon);
    p->soon.data = p;
    if (!device)
        snprintf(p->verdict.reason, sizeof(p->verdict.reason), "/dev/kvm can't be opened");
    else if (!(kvm && read_cache(p)) && spawn(p, qemu, e))
        return true;
    else if (e->kind != ERR_KIND_NONE)
        snprintf(p->verdict.reason, sizeof(p->verdict.reason), "%s", err_text(e));
    err_clear(e);
    uv_timer_start(&p->soon, finish_soon, 0, 0);
    return true;
}

bool host_kvm_probe(uv_loop_t *loop, const char *qemu, const char *root, int state_dir_fd,
                    host_kvm_done_fn done, void *ctx, struct err *e)
{
    return run(loop, qemu, state_dir_fd, true, device_opens(root), done, ctx, e);
}

bool host_tcg_probe(uv_loop_t *loop, const char *qemu, int state_dir_fd, host_kvm_done_fn done, void *ctx,
                    struct err *e)
{
    return run(loop, qemu, state_dir_fd, false, true, done, ctx, e);
}
