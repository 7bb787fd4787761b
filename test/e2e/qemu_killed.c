/* QEMU is killed under a running VM: the manager says so with the console's last lines and cleans up (MG-7). */

#include <signal.h>

#include "base/text.h"
#include "e2e/lib/cast.h"

int main(void)
{
    struct cast c = CAST_INIT;
    char pid[16];

    e2e_begin("qemu-killed");
    e2e_allow("ended: QEMU was killed by signal 9");
    cast_one_provider(&c, "minimal", "examples/linreg/linreg", "bin");
    e2e_line(&c.manager, 1000, "qemu runs as process ([0-9]+)", pid, sizeof(pid));
    if (kill((pid_t)strtol(pid, NULL, 10), SIGKILL) != 0)
        e2e_fail("process %s can't be killed", pid);
    e2e_line(&c.manager, 10000, "ended: QEMU was killed by signal 9.*its console ends: .*agent", NULL, 0);
    e2e_gone(&c.vm, 5000);
    return e2e_end();
}
