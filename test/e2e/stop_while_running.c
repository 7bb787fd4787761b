/* The CVMS stops a computation whose algorithm would run for ever: it is killed, and the agent is ready again. */

#include <signal.h>

#include "e2e/lib/cast.h"

static const char source[] = "#include <signal.h>\n#include <unistd.h>\n"
                             "int main(void) { signal(SIGTERM, SIG_IGN); for (;;) pause(); }\n";

int main(void)
{
    struct cast c = CAST_INIT;
    char port[32];

    e2e_begin("stop-while-running");
    cast_one_provider(&c, "minimal", cast_compile("hangs", source), "bin");
    cast_upload_algorithm(&c, "owner");
    cast_upload_data(&c, "owner");
    e2e_line(&c.cvms, 20000, "\"event_type\":\"Running\",\"status\":\"InProgress\"", NULL, 0);
    /* One that stops what it finds running: how long all this took does not matter. */
    e2e_signal(&c.cvms, SIGKILL);
    e2e_wait(&c.cvms, 5000);
    snprintf(port, sizeof(port), "PORT=%s", c.cvms_port);
    e2e_start(&c.cvms, "cvms-test", "HOST=127.0.0.1", port, "-public-key-path", e2e_file("owner.pub.pem"),
              "-attested-tls-bool", "false", "-algo-path", c.algorithm, "-data-paths", c.dataset, "-output",
              "jsonl", "-stop-after", "100ms", "-state-every", "500ms", NULL);
    e2e_line(&c.cvms, 30000, "\"event_type\":\"Stopped\",\"status\":\"Stopped\"", NULL, 0);
    e2e_line(&c.cvms, 30000, "\"kind\":\"state\".*\"ReceivingManifest\"", NULL, 0);
    e2e_remove(&c.vm);
    return e2e_end();
}
