#include "host/qemu.h"

#include <fcntl.h>
#include <jansson.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/child.h"
#include "base/json.h"
#include "base/mem.h"

#define SOCKET_NAME "qemu-ask.sock"
#define LINE_MAX_LEN ((size_t)256 * 1024)
#define LAST_MAX 200

struct asker {
    uv_loop_t *loop;
    uv_pipe_t listener;
    uv_pipe_t peer;
    unsigned handles; /* open; the last one frees */
    bool connected;
    int dir_fd;
    struct child *child;
    enum host_qemu_step step;
    struct host_qemu_facts facts;
    struct err why; /* what was wrong with an answer */
    struct buf in;
    uint8_t block[16384];
    char name[256];
    char last[LAST_MAX]; /* QEMU's last words */
    host_qemu_done_fn done;
    void *ctx;
};

/* ------------------------------------------------------------- the conversation */

static void take_version(const json_t *greeting, struct host_qemu_facts *facts)
{
    const json_t *v = json_object_get(json_object_get(json_object_get(greeting, "QMP"), "version"), "qemu");

    snprintf(facts->version, sizeof(facts->version), "%d.%d.%d",
             (int)json_integer_value(json_object_get(v, "major")),
             (int)json_integer_value(json_object_get(v, "minor")),
             (int)json_integer_value(json_object_get(v, "micro")));
}

/* What of these names is in a list of types. */
static void take_types(const json_t *list, struct host_qemu_facts *facts)
{
    const struct {
        const char *name;
        bool *there;
    } wanted[] = {
        { "sev-snp-guest", &facts->sev_snp_guest }, { "tdx-guest", &facts->tdx_guest },
        { "igvm-cfg", &facts->igvm_cfg },           { "virtio-9p-pci", &facts->virtio_9p },
        { "virtio-net-pci", &facts->virtio_net },   { "tpm-crb", &facts->tpm_crb },
    };

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(list, i), "name"));

        for (size_t k = 0; name && k < ARRAY_LEN(wanted); k++)
            *wanted[k].there |= strcmp(name, wanted[k].name) == 0;
    }
}

static void add_machine(struct host_qemu_facts *facts, const char *name)
{
    size_t used = strlen(facts->machines);

    if (name && used + strlen(name) + 3 <= sizeof(facts->machines))
        snprintf(facts->machines + used, sizeof(facts->machines) - used, "%s%s ", used ? "" : " ", name);
}

static void take_machines(const json_t *list, struct host_qemu_facts *facts)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);

        add_machine(facts, json_string_value(json_object_get(row, "alias")));
        add_machine(facts, json_string_value(json_object_get(row, "name")));
    }
}

bool host_qemu_has_machine(const struct host_qemu_facts *facts, const char *name)
{
    char word[64];
    int n = snprintf(word, sizeof(word), " %s ", name);

    return n > 2 && (size_t)n < sizeof(word) && strstr(facts->machines, word);
}

static void take_sev(const json_t *answer, const char *refusal, struct host_qemu_facts *facts)
{
    json_int_t position = json_integer_value(json_object_get(answer, "cbitpos"));
    json_int_t reduced = json_integer_value(json_object_get(answer, "reduced-phys-bits"));

    facts->sev = !refusal;
    snprintf(facts->sev_why, sizeof(facts->sev_why), "%s", refusal ? refusal : "");
    facts->cbit_pos = position > 0 ? (uint64_t)position : 0;
    facts->reduced_bits = reduced > 0 ? (uint64_t)reduced : 0;
}

/* An old QEMU may not know a command; only that of SEV is one to do without. */
static bool take_answer(const json_t *root, enum host_qemu_step *step, struct host_qemu_facts *facts,
                        const char **ret_send, struct err *e)
{
    const json_t *answer = json_object_get(root, "return");
    const char *refusal = json_string_value(json_object_get(json_object_get(root, "error"), "desc"));

    if (!answer && !refusal)
        return err_fail(e, ERR_KIND_INVALID, "QMP: neither answer nor error");
    if (refusal && *step != HOST_QEMU_SEV)
        return err_fail(e, ERR_KIND_INVALID, "QMP: %s", refusal);
    switch (*step) {
    case HOST_QEMU_CAPABILITIES:
        *ret_send = "{\"execute\":\"qom-list-types\",\"arguments\":{\"implements\":\"user-creatable\"}}\n";
        break;
    case HOST_QEMU_OBJECTS:
        take_types(answer, facts);
        *ret_send = "{\"execute\":\"qom-list-types\",\"arguments\":{\"implements\":\"device\"}}\n";
        break;
    case HOST_QEMU_DEVICES:
        take_types(answer, facts);
        *ret_send = "{\"execute\":\"query-machines\"}\n";
        break;
    case HOST_QEMU_MACHINES:
        take_machines(answer, facts);
        *ret_send = "{\"execute\":\"query-sev-capabilities\"}\n";
        break;
    case HOST_QEMU_SEV:
        take_sev(answer, refusal, facts);
        *ret_send = "{\"execute\":\"quit\"}\n";
        break;
    case HOST_QEMU_GREETING:
    case HOST_QEMU_TOLD: return true;
    }
    (*step)++;
    return true;
}

bool host_qemu_take_line(struct slice line, enum host_qemu_step *step, struct host_qemu_facts *facts,
                         const char **ret_send, struct err *e)
{
    CLEANUP(json_done) json_t *root = json_read(line, e);

    *ret_send = NULL;
    if (!root)
        return err_wrap(e, "QMP");
    if (json_object_get(root, "event") || *step == HOST_QEMU_TOLD)
        return true;
    if (*step != HOST_QEMU_GREETING)
        return take_answer(root, step, facts, ret_send, e);
    if (!json_object_get(root, "QMP"))
        return err_fail(e, ERR_KIND_INVALID, "QMP: no greeting");
    take_version(root, facts);
    *ret_send = "{\"execute\":\"qmp_capabilities\"}\n";
    *step = HOST_QEMU_CAPABILITIES;
    return true;
}

/* ------------------------------------------------------------------ its process */

static void handle_closed(uv_handle_t *h)
{
    struct asker *a = h->data;

    if (--a->handles > 0)
        return;
    buf_done(&a->in);
    mem_free(a);
}

static void close_handles(struct asker *a)
{
    if (!uv_is_closing((uv_handle_t *)&a->listener))
        uv_close((uv_handle_t *)&a->listener, handle_closed);
    if (!uv_is_closing((uv_handle_t *)&a->peer))
        uv_close((uv_handle_t *)&a->peer, handle_closed);
}

/* It is of no use any more; its end tells why. */
static void give_up(struct asker *a)
{
    if (a->child)
        child_stop(a->child, 0);
}

static bool question(struct asker *a, const char *text, struct err *e)
{
    uv_buf_t out = uv_buf_init((char *)(uintptr_t)text, (unsigned)strlen(text));

    /* The socket is empty, as only one question is under way. */
    return uv_try_write((uv_stream_t *)&a->peer, &out, 1) == (int)out.len ||
           err_fail(e, ERR_KIND_UNAVAILABLE, "QMP: a question was not taken");
}

static void take_lines(struct asker *a)
{
    struct slice left = buf_slice(&a->in);
    bool ok = true;

    while (ok && left.len) {
        size_t n = slice_find(left, '\n');
        const char *next = NULL;

        if (n == left.len)
            break;
        ok = host_qemu_take_line(slice_first(left, n), &a->step, &a->facts, &next, &a->why) &&
             (!next || question(a, next, &a->why));
        left = slice_after(left, n + 1);
    }
    buf_consume(&a->in, a->in.len - left.len);
    if (!ok)
        give_up(a);
}

static void lend_block(uv_handle_t *h, size_t wanted, uv_buf_t *ret)
{
    struct asker *a = h->data;

    (void)wanted;
    *ret = uv_buf_init((char *)a->block, sizeof(a->block));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *block)
{
    struct asker *a = s->data;

    if (n < 0) {
        uv_read_stop(s); /* its end follows */
        return;
    }
    if (buf_append(&a->in, slice_of((const uint8_t *)block->base, (size_t)n), &a->why))
        take_lines(a);
    else
        give_up(a);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct asker *a = listener->data;

    if (status != 0 || a->connected)
        return;
    if (uv_accept(listener, (uv_stream_t *)&a->peer) != 0 ||
        uv_read_start((uv_stream_t *)&a->peer, lend_block, on_read) != 0)
        give_up(a);
    a->connected = true;
}

static void on_output(struct child *c, enum child_stream stream, struct slice bytes, void *ctx)
{
    struct asker *a = ctx;

    (void)c;
    (void)stream;
    snprintf(a->last, sizeof(a->last), "%.*s", (int)(bytes.len < LAST_MAX ? bytes.len : (size_t)LAST_MAX - 1),
             (const char *)bytes.at);
    a->last[strcspn(a->last, "\n")] = '\0';
}

static void on_exit_of_qemu(struct child *c, const struct child_exit *how, void *ctx)
{
    struct asker *a = ctx;
    struct err why = a->why;

    (void)c;
    if (a->step != HOST_QEMU_TOLD && why.kind == ERR_KIND_NONE && how->timed_out)
        err_fail(&why, ERR_KIND_TIMEOUT, "it did not answer within %d s", HOST_QEMU_ASK_MS / 1000);
    else if (a->step != HOST_QEMU_TOLD && why.kind == ERR_KIND_NONE)
        err_fail(&why, ERR_KIND_UNAVAILABLE, "it ended with %s %d before it answered%s%s",
                 how->by_signal ? "signal" : "status", how->number, a->last[0] ? ": " : "", a->last);
    child_free(a->child);
    a->child = NULL;
    if (why.kind != ERR_KIND_NONE)
        err_wrap(&why, "'%s' does not answer as QEMU does", a->name);
    a->done(why.kind == ERR_KIND_NONE ? &a->facts : NULL, why.kind == ERR_KIND_NONE ? NULL : &why, a->ctx);
    unlinkat(a->dir_fd, SOCKET_NAME, 0);
    close_handles(a);
}

static bool spawn(struct asker *a, const char *qemu, bool sudo, struct err *e)
{
    static const char *const env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                       "LANG=C.UTF-8", NULL };
    char qmp[96];
    const char *argv[] = { "sudo",        qemu,
                           "-machine",    "none,accel=kvm:tcg",
                           "-nodefaults", "-no-user-config",
                           "-display",    "none",
                           "-S",          "-qmp",
                           qmp,           NULL };
    const struct child_spec spec = {
        .argv = sudo ? argv : argv + 1,
        .env = env,
        .deadline_ms = HOST_QEMU_ASK_MS,
        .deadline_grace_ms = 100,
        .on_output = on_output,
        .on_exit = on_exit_of_qemu,
        .ctx = a,
    };

    snprintf(qmp, sizeof(qmp), "unix:/proc/%d/fd/%d/" SOCKET_NAME, (int)getpid(), a->dir_fd);
    return child_spawn(a->loop, &spec, &a->child, e);
}

static bool listen_for_it(struct asker *a, struct err *e)
{
    char path[64];
    int rc;

    snprintf(path, sizeof(path), "/proc/self/fd/%d/" SOCKET_NAME, a->dir_fd);
    unlinkat(a->dir_fd, SOCKET_NAME, 0);
    rc = uv_pipe_bind(&a->listener, path);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&a->listener, 1, on_connection);
    return rc == 0 || err_fail(e, ERR_KIND_UNAVAILABLE, "socket for QEMU: %s", uv_strerror(rc));
}

bool host_qemu_ask(uv_loop_t *loop, const char *qemu, bool sudo, int dir_fd, host_qemu_done_fn done,
                   void *ctx, struct err *e)
{
    struct asker *a = mem_new(sizeof(*a), e);

    if (!a)
        return false;
    *a = (struct asker){
        .loop = loop, .dir_fd = dir_fd, .in = BUF_INIT(LINE_MAX_LEN), .done = done, .ctx = ctx, .handles = 2
    };
    snprintf(a->name, sizeof(a->name), "%s", qemu);
    uv_pipe_init(loop, &a->listener, 0);
    uv_pipe_init(loop, &a->peer, 0);
    a->listener.data = a->peer.data = a;
    if (listen_for_it(a, e) && spawn(a, qemu, sudo, e))
        return true;
    close_handles(a);
    return err_wrap(e, "ask '%s' what it can do", qemu);
}
