/*
 * An algorithm leaves a process in a session of its own and kills the runner:
 * process 1 ends what is left, and the next computation finds nobody (AG-8).
 */

#include <signal.h>

#include "e2e/lib/cast.h"

#define GHOST "ghost"

/* Its runner is root in a guest that has no sandbox yet, and so is it. */
static const char haunts[] =
    "#include <fcntl.h>\n#include <signal.h>\n#include <sys/prctl.h>\n#include <unistd.h>\n"
    "int main(void)\n"
    "{ int ready[2]; char c; if (pipe(ready)) return 1;\n"
    "  if (fork() == 0) { setsid(); if (fork()) _exit(0); setsid(); if (fork()) _exit(0);\n"
    "    for (int s = 1; s < 65; s++) signal(s, SIG_IGN);\n"
    "    prctl(PR_SET_NAME, \"" GHOST
    "\"); close(1); close(2); if (write(ready[1], \"x\", 1) < 1) _exit(1);\n"
    "    for (;;) pause(); }\n"
    "  if (read(ready[0], &c, 1) != 1) return 1;\n"
    "  kill(getppid(), SIGKILL); for (;;) pause(); }\n";

static const char counts[] =
    "#include <dirent.h>\n#include <stdio.h>\n#include <string.h>\n"
    "int main(void)\n"
    "{ DIR *d = opendir(\"/proc\"); struct dirent *e; int ghosts = 0, others = 0;\n"
    "  while ((e = readdir(d))) { char p[300], name[64] = \"\"; snprintf(p, sizeof(p), \"/proc/%s/comm\", "
    "e->d_name);\n"
    "    FILE *f = fopen(p, \"r\"); if (!f) continue; if (fscanf(f, \"%63s\", name) == 1) {\n"
    "      if (!strcmp(name, \"" GHOST "\")) ghosts++; else others++; } fclose(f); }\n"
    "  FILE *r = fopen(\"results/count\", \"w\"); if (!r || others == 0) return 1;\n"
    "  fprintf(r, \"ghosts %d.\\n\", ghosts); return fclose(r); }\n";

/* Another CVMS at the same port, with -stop-after when it is to stop what it finds. */
static void cvms_again(struct cast *c, const char *stop)
{
    char port[32];

    e2e_signal(&c->cvms, SIGKILL);
    e2e_wait(&c->cvms, 5000);
    snprintf(port, sizeof(port), "PORT=%s", c->cvms_port);
    e2e_start(&c->cvms, "cvms-test", "HOST=127.0.0.1", port, "-public-key-path", e2e_file("owner.pub.pem"),
              "-attested-tls-bool", "false", "-algo-path", c->algorithm, "-data-paths", c->dataset, "-output",
              "jsonl", "-state-every", "500ms", stop ? "-stop-after" : NULL, stop, NULL);
}

int main(void)
{
    struct cast c = CAST_INIT;

    e2e_begin("runner-killed");
    e2e_allow("ERROR runner was ended by signal 9; it starts again");
    cast_one_provider(&c, "minimal", cast_compile("haunts", haunts), "bin");
    cast_upload_algorithm(&c, "owner");
    cast_upload_data(&c, "owner");
    e2e_line(&c.cvms, 30000, "\"event_type\":\"Failed\",\"status\":\"Failed\"", NULL, 0);
    e2e_mark("the runner was killed");
    cvms_again(&c, "100ms");
    e2e_line(&c.cvms, 30000, "\"event_type\":\"Stopped\",\"status\":\"Stopped\"", NULL, 0);
    e2e_line(&c.cvms, 30000, "\"kind\":\"state\".*\"ReceivingManifest\"", NULL, 0);

    cast_algorithm(&c, cast_compile("counts", counts), "bin");
    cvms_again(&c, NULL);
    cast_wait_for_agent(&c);
    cast_upload_algorithm(&c, "owner");
    cast_upload_data(&c, "owner");
    e2e_line(&c.cvms, 30000, "\"event_type\":\"ConsumingResults\",\"status\":\"Ready\"", NULL, 0);
    cast_result(&c, "owner", "ghosts 0\\.");
    e2e_remove(&c.vm);
    return e2e_end();
}
