/* The CVMS is killed and comes back while the algorithm runs: same computation, no event lost or doubled (AG-13). */

#include <signal.h>

#include "e2e/lib/cast.h"

static const char source[] = "#include <stdio.h>\n#include <unistd.h>\n"
                             "int main(void) { sleep(6); FILE *f = fopen(\"results/done.txt\", \"w\");\n"
                             "fputs(\"waited\\n\", f); return 0; }\n";

int main(void)
{
    struct cast c = CAST_INIT;
    char port[32];

    e2e_begin("cvms-restart");
    cast_one_provider(&c, "minimal", cast_compile("waits", source), "bin");
    cast_upload_algorithm(&c, "owner");
    cast_upload_data(&c, "owner");
    e2e_line(&c.cvms, 10000, "\"event_type\":\"Running\",\"status\":\"InProgress\"", NULL, 0);
    e2e_signal(&c.cvms, SIGKILL);
    e2e_wait(&c.cvms, 5000);
    e2e_mark("CVMS killed");
    snprintf(port, sizeof(port), "PORT=%s", c.cvms_port);
    e2e_start(&c.cvms, "cvms-test", "HOST=127.0.0.1", port, "-public-key-path", e2e_file("owner.pub.pem"),
              "-attested-tls-bool", "false", "-algo-path", c.algorithm, "-data-paths", c.dataset, "-output",
              "jsonl", NULL);
    e2e_line(&c.cvms, 60000, "\"event_type\":\"Running\",\"status\":\"Completed\"", NULL, 0);
    e2e_line(&c.cvms, 20000, "\"event_type\":\"ConsumingResults\",\"status\":\"Ready\"", NULL, 0);
    cast_result(&c, "owner", "waited");
    e2e_line(&c.cvms, 20000, "\"event_type\":\"Complete\",\"status\":\"Completed\"", NULL, 0);
    e2e_remove(&c.vm);
    return e2e_end();
}
