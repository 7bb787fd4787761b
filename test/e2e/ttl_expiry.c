/* A VM with a time to live ends by itself (MG-10). */

#include "e2e/lib/cast.h"

int main(void)
{
    struct cast c = CAST_INIT;

    e2e_begin("ttl-expiry");
    e2e_allow("ended: its time to live is over");
    c.ttl = "8s";
    cast_algorithm(&c, "examples/linreg/linreg", "bin");
    cast_cvms(&c);
    cast_vm(&c, "minimal"); /* how far the guest gets in that time does not matter */
    e2e_line(&c.manager, 30000, "ended: its time to live is over", NULL, 0);
    e2e_gone(&c.vm, 5000);
    return e2e_end();
}
