/* Someone whose key the manifest does not name brings nothing and gets nothing. */

#include "e2e/lib/cast.h"

int main(void)
{
    struct cast c = CAST_INIT;

    e2e_begin("wrong-key");
    cast_one_provider(&c, "minimal", "examples/linreg/linreg", "bin");
    e2e_key("stranger");
    if (e2e_cli(c.vm.port, "algo", c.algorithm, e2e_file("stranger.pem"), NULL) != 1 ||
        !e2e_cli_said("signature verification failed"))
        e2e_fail("a stranger's algorithm was taken, or he was not told why not; see cli.log");
    cast_upload_algorithm(&c, "owner");
    if (e2e_cli(c.vm.port, "data", c.dataset, e2e_file("stranger.pem"), NULL) != 1 ||
        !e2e_cli_said("signature verification failed"))
        e2e_fail("a stranger's data were taken, or he was not told why not; see cli.log");
    cast_upload_data(&c, "owner");
    e2e_line(&c.cvms, 20000, "\"event_type\":\"ConsumingResults\"", NULL, 0);
    if (e2e_cli(c.vm.port, "result", "-o", e2e_file("."), e2e_file("stranger.pem"), NULL) != 1 ||
        !e2e_cli_said("signature verification failed"))
        e2e_fail("a stranger got the result, or was not told why not; see cli.log");
    cast_result(&c, "owner", "\"slope\": 49\\.68");
    cast_once(&c, "ConsumingResults", "Ready");
    e2e_remove(&c.vm);
    return e2e_end();
}
