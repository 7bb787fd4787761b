/*
 * A computation by direct upload inside a VM, to a result on the host: the main job. Its manifest is in the VM's TPM.
 */

#include "e2e/lib/cast.h"

int main(void)
{
    struct cast c = CAST_INIT;

    e2e_begin("direct-upload");
    cast_one_provider(&c, "minimal", "examples/linreg/linreg", "bin");
    cast_upload_algorithm(&c, "owner");
    cast_upload_data(&c, "owner");
    e2e_line(&c.cvms, 20000, "\"event_type\":\"ConsumingResults\"", NULL, 0);
    e2e_mark("result ready");
    cast_result(&c, "owner", "\"slope\": 49\\.68");
    e2e_line(&c.cvms, 10000, "\"event_type\":\"Complete\",\"status\":\"Completed\"", NULL, 0);
    cast_measured(&c);
    e2e_remove(&c.vm);
    return e2e_end();
}
