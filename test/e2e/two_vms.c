/* Two VMs at once: distinct ports, both run the computation (MG-3). */

#include "e2e/lib/cast.h"

int main(void)
{
    struct cast c = CAST_INIT;
    struct e2e_vm first;

    e2e_begin("two-vms");
    cast_algorithm(&c, "examples/linreg/linreg", "bin");
    cast_cvms(&c);
    cast_vm(&c, "minimal");
    first = c.vm;
    e2e_create(&c.vm, c.cvms_port, "");
    if (strcmp(first.port, c.vm.port) == 0)
        e2e_fail("both VMs have port %s", first.port);
    cast_wait_for_agent(&c);
    cast_wait_for_agent(&c);
    for (int i = 0; i < 2; i++) {
        cast_upload_algorithm(&c, "owner");
        cast_upload_data(&c, "owner");
        e2e_line(&c.cvms, 20000, "\"event_type\":\"ConsumingResults\"", NULL, 0);
        cast_result(&c, "owner", "\"slope\": 49\\.68");
        e2e_remove(&c.vm);
        c.vm = first;
    }
    return e2e_end();
}
