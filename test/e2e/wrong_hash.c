/* A dataset that is not the one the manifest names is refused, and the right one is still taken (AG-6). */

#include "e2e/lib/cast.h"

int main(void)
{
    struct cast c = CAST_INIT;
    const char *fake;

    e2e_begin("wrong-hash");
    cast_one_provider(&c, "minimal", "examples/linreg/linreg", "bin");
    cast_upload_algorithm(&c, "owner");
    fake = e2e_write("penguins.csv", "species,flipper_length_mm\n", 0644);
    if (e2e_cli(c.vm.port, "data", "--bound", "off", fake, e2e_file("owner.pem"), NULL) != 1)
        e2e_fail("AG-6: another dataset under the right name was taken");
    if (!e2e_cli_said("malformed data, hash does not match manifest"))
        e2e_fail("AG-6: the owner was not told that the hash differs; see cli.log");
    if (e2e_cli(c.vm.port, "data", fake, e2e_file("owner.pem"), NULL) != 1 ||
        !e2e_cli_said("for a dataset that the manifest does not name"))
        e2e_fail("AG-3: a signature bound to another dataset was taken; see cli.log");
    cast_upload_data(&c, "owner");
    e2e_line(&c.cvms, 20000, "\"event_type\":\"ConsumingResults\"", NULL, 0);
    cast_result(&c, "owner", "\"slope\": 49\\.68");
    e2e_remove(&c.vm);
    return e2e_end();
}
