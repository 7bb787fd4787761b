/* The CVMS stops a computation whose algorithm would run for ever: it is killed, and the agent is ready again. */

#include "e2e/lib/cast.h"

static const char source[] = "#include <signal.h>\n#include <unistd.h>\n"
                             "int main(void) { signal(SIGTERM, SIG_IGN); for (;;) pause(); }\n";

int main(void)
{
    struct cast c = CAST_INIT;

    e2e_begin("stop-while-running");
    cast_one_provider(&c, "minimal", cast_compile("hangs", source), "bin");
    cast_upload_algorithm(&c, "owner");
    cast_upload_data(&c, "owner");
    e2e_line(&c.cvms, 20000, "\"event_type\":\"Running\",\"status\":\"InProgress\"", NULL, 0);
    /* Only now is it known to run: the stop comes from a CVMS that was not there before. */
    cast_cvms_again(&c, "-stop-after", "10ms");
    e2e_line(&c.cvms, 60000, "\"event_type\":\"Stopped\",\"status\":\"Stopped\"", NULL, 0);
    e2e_mark("stopped");
    if (e2e_cli(c.vm.port, "result", "-o", e2e_file("."), e2e_file("owner.pem"), NULL) != 1)
        e2e_fail("a computation that was stopped gave out a result");
    cast_cvms_again(&c, NULL, NULL);
    cast_wait_for_agent(&c);
    e2e_remove(&c.vm);
    return e2e_end();
}
