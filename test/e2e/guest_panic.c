/* The guest's kernel panics: the manager says that the VM ended, with the panic on the console, and cleans up (MG-7). */

#include "e2e/lib/cast.h"

/* Who is root in a guest that has no sandbox yet may crash its kernel. */
static const char source[] = "#include <stdio.h>\n#include <unistd.h>\n"
                             "int main(void) { FILE *f = fopen(\"/proc/sysrq-trigger\", \"w\");\n"
                             "  if (!f) return 1; fputs(\"c\", f); fflush(f); pause(); return 0; }\n";

int main(void)
{
    struct cast c = CAST_INIT;

    e2e_begin("guest-panic");
    e2e_allow("Kernel panic|Oops|Call Trace");
    e2e_allow("ended: the VM ended: guest-reset");
    cast_one_provider(&c, "minimal", cast_compile("panics", source), "bin");
    cast_upload_algorithm(&c, "owner");
    cast_upload_data(&c, "owner");
    e2e_line(&c.manager, 30000,
             "ended: the VM ended: .*its console ends: Kernel panic - not syncing: sysrq triggered crash",
             NULL, 0);
    e2e_gone(&c.vm, 5000);
    return e2e_end();
}
