/* An algorithm that fails: its owner learns the exit code and its last words, and nobody gets a result. */

#include "e2e/lib/cast.h"

static const char source[] = "#include <stdio.h>\n"
                             "int main(void) { fputs(\"column 'y' is missing\\n\", stderr); return 3; }\n";

int main(void)
{
    struct cast c = CAST_INIT;

    e2e_begin("failing-algorithm");
    cast_one_provider(&c, "minimal", cast_compile("fails", source), "bin");
    cast_upload_algorithm(&c, "owner");
    cast_upload_data(&c, "owner");
    e2e_line(&c.cvms, 20000, "\"event_type\":\"Failed\",\"status\":\"Failed\"", NULL, 0);
    if (e2e_cli(c.vm.port, "result", "-o", e2e_file("."), e2e_file("owner.pem"), NULL) != 1)
        e2e_fail("the result of a failed algorithm was given out");
    if (!e2e_cli_said("algorithm execution error: exit status 3") || !e2e_cli_said("column 'y' is missing"))
        e2e_fail("the owner was not told why his algorithm failed; see cli.log");
    e2e_remove(&c.vm);
    return e2e_end();
}
