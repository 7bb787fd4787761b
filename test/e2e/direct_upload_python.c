/* The main job with a Python algorithm: the guest has an interpreter and its standard library. */

#include "e2e/lib/cast.h"

int main(void)
{
    struct cast c = CAST_INIT;

    e2e_begin("direct-upload-python");
    cast_one_provider(&c, "python", "examples/linreg/linreg.py", "python");
    cast_upload_algorithm(&c, "owner");
    cast_upload_data(&c, "owner");
    e2e_line(&c.cvms, 60000, "\"event_type\":\"ConsumingResults\"", NULL, 0);
    e2e_mark("result ready");
    cast_result(&c, "owner", "\"slope\": 49\\.68");
    e2e_line(&c.cvms, 10000, "\"event_type\":\"Complete\",\"status\":\"Completed\"", NULL, 0);
    e2e_remove(&c.vm);
    return e2e_end();
}
