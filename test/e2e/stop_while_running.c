/* The CVMS stops a computation whose algorithm would run for ever: it is killed, and the agent is ready again. */

#include "e2e/lib/cast.h"

static const char source[] = "#include <signal.h>\n#include <unistd.h>\n"
                             "int main(void) { signal(SIGTERM, SIG_IGN); for (;;) pause(); }\n";

int main(void)
{
    struct cast c = CAST_INIT;

    e2e_begin("stop-while-running");
    cast_algorithm(&c, cast_compile("hangs", source), "bin");
    e2e_key("owner");
    e2e_start(&c.cvms, "cvms-test", "HOST=127.0.0.1", "PORT=0", "-public-key-path", e2e_file("owner.pub.pem"),
              "-attested-tls-bool", "false", "-algo-path", c.algorithm, "-data-paths", c.dataset, "-output",
              "jsonl", "-stop-after", "12s", "-state-every", "500ms", NULL);
    e2e_line(&c.cvms, 10000, "\"msg\":\"ready\",\"addr\":\"127\\.0\\.0\\.1:([0-9]+)\"", c.cvms_port,
             sizeof(c.cvms_port));
    cast_vm(&c, "minimal");
    cast_wait_for_agent(&c);
    cast_upload_algorithm(&c, "owner");
    cast_upload_data(&c, "owner");
    e2e_line(&c.cvms, 10000, "\"event_type\":\"Running\",\"status\":\"InProgress\"", NULL, 0);
    e2e_line(&c.cvms, 30000, "\"event_type\":\"Stopped\",\"status\":\"Stopped\"", NULL, 0);
    e2e_line(&c.cvms, 30000, "\"kind\":\"state\".*\"ReceivingManifest\"", NULL, 0);
    e2e_remove(&c.vm);
    return e2e_end();
}
