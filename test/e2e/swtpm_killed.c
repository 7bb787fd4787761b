/*
 * The TPM is killed while a VM boots, and under one whose agent has used it:
 * the manager ends each with that cause and leaves nothing (MG-8, TP-9).
 */
#include <signal.h>

#include "base/text.h"
#include "e2e/lib/cast.h"

static void kill_tpm(struct cast *c, const char *pid)
{
    if (kill((pid_t)strtol(pid, NULL, 10), SIGKILL) != 0)
        e2e_fail("process %s can't be killed", pid);
    e2e_line(&c->manager, 10000,
             "ended: the software TPM \\(swtpm\\) was killed by signal 9 \\(its socket: [^ ]*/tpm\\.sock\\)",
             NULL, 0);
    e2e_gone(&c->vm, 5000);
}

int main(void)
{
    struct cast c = CAST_INIT;
    char pid[16];

    e2e_begin("swtpm-killed");
    e2e_allow("ended: the software TPM");
    cast_algorithm(&c, "examples/linreg/linreg", "bin");
    cast_cvms(&c);
    cast_vm(&c, "minimal");
    e2e_line(&c.manager, 1000, "swtpm runs as process ([0-9]+)", pid, sizeof(pid));
    kill_tpm(&c, pid);
    e2e_mark("killed while it boots");

    e2e_create(&c.vm, c.cvms_port, c.ttl);
    e2e_line(&c.manager, 1000, "swtpm runs as process ([0-9]+)", pid, sizeof(pid));
    cast_wait_for_agent(&c);
    cast_measured(&c);
    kill_tpm(&c, pid);
    return e2e_end();
}
