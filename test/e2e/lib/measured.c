#include "e2e/lib/measured.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/stage.h"
#include "base/text.h"
#include "e2e/lib/e2e_int.h"
#include "proto/extensions.pb-c.h"
#include "proto/manager.pb-c.h"
#include "proto/pb.h"

#define BEGIN "-----BEGIN TPM EVENT LOG-----"
#define END "-----END TPM EVENT LOG-----"
#define WITHIN_MS 120000 /* firmware and kernel under emulation, beside other guests */
#define LOOK_MS 100      /* between looks at the console: it can only be asked for   */

static void read_console(const struct e2e_vm *vm, struct buf *ret)
{
    CocosC__V1__ConsoleRequest req = COCOS_C__V1__CONSOLE_REQUEST__INIT;
    struct err e = ERR_INIT;
    struct e2e_call c;

    req.id = (char *)vm->id;
    e2e_call_manager("/cocos_c.v1.VirtualMachines/Console", &req.base, 20000, &c);
    if (c.status.code != RPC_OK)
        e2e_fail("console of VM %s: %s", vm->id, c.status.message);

    CLEANUP(pb_done)
    CocosC__V1__ConsoleResponse *res = (CocosC__V1__ConsoleResponse *)pb_decode(
        &cocos_c__v1__console_response__descriptor, buf_slice(&c.reply), NULL, &e);

    buf_truncate(ret, 0);
    if (!res || !buf_append(ret, pb_slice(res->tail), &e))
        e2e_fail("console of VM %s: %s", vm->id, err_text(&e));
    buf_done(&c.reply);
}

/* The digest behind "<key>=" in the text. */
static bool take_digest(const char *text, const char *key, char ret[65])
{
    const char *at = strstr(text, key);

    if (!at || strspn(at + strlen(key), "0123456789abcdef") < 64)
        return false;
    snprintf(ret, 65, "%.64s", at + strlen(key));
    return true;
}

static bool take_pcrs(const char *text, struct measured_pcrs *ret)
{
    const char *line = strstr(text, "PCRs  bank=sha256");
    char key[16];

    for (int i = 0; line && i < MEASURED_PCRS; i++) {
        snprintf(key, sizeof(key), "  %d=", i);
        if (!take_digest(line, key, ret->hex[i]))
            return false;
    }
    return line != NULL;
}

/* False while the block is not there whole. */
static bool take_log(const char *text, struct buf *ret)
{
    const char *begin = strstr(text, BEGIN);
    const char *end = begin ? strstr(begin, END) : NULL;
    CLEANUP(buf_done) struct buf digits = BUF_INIT(1 << 20);
    struct err e = ERR_INIT;

    if (!end)
        return false;
    for (const char *c = begin + strlen(BEGIN); c < end; c++)
        if (*c != '\n' && *c != '\r' && !buf_append_u8(&digits, (uint8_t)*c, &e))
            e2e_fail("%s", err_text(&e));
    buf_truncate(ret, 0);
    if (!base64_decode(buf_slice(&digits), ret, &e))
        e2e_fail("the event log on the console: %s", err_text(&e));
    return true;
}

void measured_read(const struct e2e_vm *vm, struct measured_boot *ret)
{
    uint64_t until = clock_mono_ms(clock_system()) + e2e_ms(WITHIN_MS);
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 << 20);
    struct err e = ERR_INIT;

    for (;;) {
        const char *all;

        read_console(vm, &text);
        all = buf_str(&text, &e);
        if (all && take_pcrs(all, &ret->pcrs) && take_log(all, &ret->log))
            return;
        if (clock_mono_ms(clock_system()) >= until)
            e2e_fail("the console of VM %s shows no PCRs and event log after %u ms", vm->id,
                     e2e_ms(WITHIN_MS));
        poll(NULL, 0, LOOK_MS);
    }
}

static void run_eventlog(const char *log, const char *out)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        int fd = open(out, O_CREAT | O_WRONLY | O_TRUNC, 0644);

        dup2(fd, 1);
        execlp("tpm2_eventlog", "tpm2_eventlog", log, (char *)NULL);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
        e2e_fail("tpm2_eventlog does not understand %s (status %d; tpm2-tools has it)", log, status);
}

/* "  sha256:" behind "pcrs:", then "    0  : 0x<hex>" a line. */
void measured_replay(const struct measured_boot *boot, const char *name, struct measured_pcrs *ret)
{
    char log[2 * E2E_PATH];
    char yaml[2 * E2E_PATH];
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 << 20);
    struct err e = ERR_INIT;
    const char *at;

    snprintf(log, sizeof(log), "%s/%s.eventlog", e2e.out, name);
    snprintf(yaml, sizeof(yaml), "%s/%s.eventlog.yaml", e2e.out, name);

    CLEANUP(fd_done) int fd = open(log, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0 || !stage_write_all(fd, buf_slice(&boot->log), &e))
        e2e_fail("%s can't be written", log);
    run_eventlog(log, yaml);
    if (!stage_read_file(yaml, &text, &e))
        e2e_fail("%s", err_text(&e));
    at = buf_str(&text, &e);
    at = at ? strstr(at, "\npcrs:") : NULL;
    at = at ? strstr(at, "\n  sha256:\n") : NULL;
    if (!at)
        e2e_fail("%s has no PCRs of SHA-256", yaml);
    at = strchr(at + 1, '\n');
    while (at && strncmp(at, "\n    ", 5) == 0) {
        char *end;
        unsigned long number = strtoul(at, &end, 10);

        if (number < MEASURED_PCRS && !take_digest(end, ": 0x", ret->hex[number]))
            e2e_fail("%s: PCR %lu has no digest", yaml, number);
        at = strchr(at + 1, '\n');
    }
}

void measured_predicted(const struct e2e_vm *vm, struct measured_pcrs *ret)
{
    Manager__AttestationPolicyReq req = MANAGER__ATTESTATION_POLICY_REQ__INIT;
    struct err e = ERR_INIT;
    struct e2e_call c;
    const char *key;
    json_t *value;

    req.id = (char *)vm->id;
    e2e_call_manager("/manager.ManagerService/AttestationPolicy", &req.base, 20000, &c);
    if (c.status.code != RPC_OK)
        e2e_fail("AttestationPolicy: %s", c.status.message);

    CLEANUP(pb_done)
    Manager__AttestationPolicyRes *res = (Manager__AttestationPolicyRes *)pb_decode(
        &manager__attestation_policy_res__descriptor, buf_slice(&c.reply), NULL, &e);
    CLEANUP(json_done) json_t *facts = res ? json_read(pb_slice(res->info), &e) : NULL;

    if (!facts)
        e2e_fail("AttestationPolicy: %s", err_text(&e));
    json_object_foreach(json_object_get(facts, "pcrs_sha256"), key, value)
    {
        unsigned long number = strtoul(key, NULL, 10);

        if (number < MEASURED_PCRS)
            snprintf(ret->hex[number], sizeof(ret->hex[0]), "%.64s", json_string_value(value));
    }
    buf_done(&c.reply);
}

void measured_equal(int number, const struct measured_pcrs *a, const struct measured_pcrs *b,
                    const char *what)
{
    if (strlen(a->hex[number]) != 64 || strcmp(a->hex[number], b->hex[number]) != 0)
        e2e_fail("PCR %d: %s: %s and %s", number, what, a->hex[number], b->hex[number]);
}
