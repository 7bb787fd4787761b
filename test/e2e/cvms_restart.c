/* The CVMS is killed and comes back while the algorithm runs: same computation, no event lost or doubled (AG-13). */

#include "e2e/lib/cast.h"

static const char source[] = "#include <stdio.h>\n#include <unistd.h>\n"
                             "int main(void) { sleep(6); FILE *f = fopen(\"results/done.txt\", \"w\");\n"
                             "fputs(\"waited\\n\", f); return 0; }\n";

int main(void)
{
    struct cast c = CAST_INIT;
    static const char *const events[][2] = {
        { "ReceivingAlgorithm", "InProgress" },
        { "ReceivingData", "InProgress" },
        { "Running", "InProgress" },
        { "Running", "Completed" },
        { "ConsumingResults", "Ready" },
        { "Complete", "Completed" },
    };

    e2e_begin("cvms-restart");
    cast_one_provider(&c, "minimal", cast_compile("waits", source), "bin");
    cast_upload_algorithm(&c, "owner");
    cast_upload_data(&c, "owner");
    e2e_line(&c.cvms, 10000, "\"event_type\":\"Running\",\"status\":\"InProgress\"", NULL, 0);
    cast_cvms_again(&c, NULL, NULL);
    e2e_line(&c.cvms, 60000, "\"event_type\":\"Running\",\"status\":\"Completed\"", NULL, 0);
    e2e_line(&c.cvms, 20000, "\"event_type\":\"ConsumingResults\",\"status\":\"Ready\"", NULL, 0);
    cast_result(&c, "owner", "waited");
    e2e_line(&c.cvms, 20000, "\"event_type\":\"Complete\",\"status\":\"Completed\"", NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(events); i++)
        cast_once(&c, events[i][0], events[i][1]);
    e2e_remove(&c.vm);
    return e2e_end();
}
