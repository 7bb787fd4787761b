/* Two owners of data and a third who gets the result; each is bound to his own dataset (AG-4). */

#include "e2e/lib/cast.h"

static const char sum_source[] =
    "#include <stdio.h>\n"
    "static long lines(const char *p)\n"
    "{ FILE *f = fopen(p, \"r\"); long n = 0; int c;\n"
    "  if (!f) return -1; while ((c = getc(f)) != EOF) n += c == '\\n'; return n; }\n"
    "int main(void)\n"
    "{ FILE *o = fopen(\"results/lines.txt\", \"w\");\n"
    "  fprintf(o, \"north %ld south %ld\\n\", lines(\"datasets/north.csv\"),\n"
    "          lines(\"datasets/south.csv\")); return 0; }\n";

int main(void)
{
    struct cast c = CAST_INIT;
    const char *north;
    const char *south;
    char north_flag[512];
    char south_flag[512];

    e2e_begin("two-providers");
    cast_algorithm(&c, cast_compile("lines", sum_source), "bin");
    e2e_key("consumer");
    e2e_key("north");
    e2e_key("south");
    north = e2e_write("north.csv", "a\nb\nc\n", 0644);
    south = e2e_write("south.csv", "d\ne\n", 0644);
    snprintf(north_flag, sizeof(north_flag), "name=north.csv,path=%s,key=%s", north,
             e2e_file("north.pub.pem"));
    snprintf(south_flag, sizeof(south_flag), "name=south.csv,path=%s,key=%s", south,
             e2e_file("south.pub.pem"));
    e2e_start(&c.cvms, "cvms-test", "HOST=127.0.0.1", "PORT=0", "-public-key-path",
              e2e_file("consumer.pub.pem"), "-attested-tls-bool", "false", "-algo-path", c.algorithm,
              "-dataset", north_flag, "-dataset", south_flag, "-output", "jsonl", NULL);
    e2e_line(&c.cvms, 10000, "\"msg\":\"ready\",\"addr\":\"127\\.0\\.0\\.1:([0-9]+)\"", c.cvms_port,
             sizeof(c.cvms_port));
    cast_vm(&c, "minimal");
    cast_wait_for_agent(&c);
    cast_upload_algorithm(&c, "consumer");
    if (e2e_cli(c.vm.port, "data", south, e2e_file("north.pem"), NULL) != 1 ||
        !e2e_cli_said("signature verification failed"))
        e2e_fail("AG-4: north could upload the dataset of south; see cli.log");
    if (e2e_cli(c.vm.port, "data", north, e2e_file("north.pem"), NULL) != 0 ||
        e2e_cli(c.vm.port, "data", south, e2e_file("south.pem"), NULL) != 0)
        e2e_fail("an owner could not upload his own dataset; see cli.log");
    e2e_mark("data uploaded");
    e2e_line(&c.cvms, 20000, "\"event_type\":\"ConsumingResults\"", NULL, 0);
    if (e2e_cli(c.vm.port, "result", "-o", e2e_file("."), e2e_file("north.pem"), NULL) != 1 ||
        !e2e_cli_said("signature verification failed"))
        e2e_fail("AG-5: someone who is no consumer got the result; see cli.log");
    cast_result(&c, "consumer", "north 3 south 2");
    e2e_remove(&c.vm);
    return e2e_end();
}
