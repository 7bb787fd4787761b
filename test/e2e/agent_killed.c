/* The agent is killed in the guest: it starts again, says what became of the computation, takes the next one (AG-17). */

#include "e2e/lib/cast.h"

/* The runner's children are root in a guest that has no sandbox yet: the story's assassin. */
static const char source[] =
    "#include <dirent.h>\n#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
    "#include <unistd.h>\n"
    "int main(void)\n"
    "{ DIR *d = opendir(\"/proc\"); struct dirent *e;\n"
    "  while ((e = readdir(d))) { char p[300], name[64] = \"\"; snprintf(p, sizeof(p), \"/proc/%s/comm\", "
    "e->d_name);\n"
    "    FILE *f = fopen(p, \"r\"); if (!f) continue; if (fscanf(f, \"%63s\", name) == 1 &&\n"
    "    !strcmp(name, \"cocos-agent\")) kill(atoi(e->d_name), SIGKILL); fclose(f); }\n"
    "  sleep(1000); return 0; }\n";

int main(void)
{
    struct cast c = CAST_INIT;

    e2e_begin("agent-killed");
    e2e_allow("ERROR agent was ended by signal 9; it starts again");
    cast_one_provider(&c, "minimal", cast_compile("assassin", source), "bin");
    cast_upload_algorithm(&c, "owner");
    cast_upload_data(&c, "owner");
    e2e_line(&c.cvms, 20000, "\"event_type\":\"Failed\",\"status\":\"Failed\"", NULL, 0);
    cast_once(&c, "Failed", "Failed");
    e2e_mark("the end of the computation was told");
    cast_wait_for_agent(&c);
    cast_upload_algorithm(&c, "owner");
    e2e_line(&c.cvms, 20000, "\"event_type\":\"ReceivingData\"", NULL, 0);
    e2e_remove(&c.vm);
    return e2e_end();
}
