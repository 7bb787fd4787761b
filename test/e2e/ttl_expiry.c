/* A VM with a time to live ends by itself (MG-10). */

#include "e2e/lib/cast.h"

int main(void)
{
    struct cast c = CAST_INIT;
    unsigned before;

    e2e_begin("ttl-expiry");
    e2e_allow("ended: its time to live is over");
    c.ttl = "8s";
    cast_algorithm(&c, "examples/linreg/linreg", "bin");
    cast_cvms(&c);
    before = e2e_now_ms();
    cast_vm(&c, "minimal"); /* how far the guest gets in that time does not matter */
    e2e_line(&c.manager, 30000, "ended: its time to live is over", NULL, 0);
    if (e2e_now_ms() - before < 8000)
        e2e_fail("MG-10: a VM with 8 s to live had ended after %u ms", e2e_now_ms() - before);
    e2e_gone(&c.vm, 5000);
    return e2e_end();
}
