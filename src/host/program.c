#include "host/program.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/slice.h"

bool host_find_program(const char *name, char *ret, size_t len)
{
    const char *path = getenv("PATH");
    struct slice left = slice_of_str(path ? path : "/usr/bin:/bin");

    if (strchr(name, '/')) {
        snprintf(ret, len, "%s", name);
        return access(name, X_OK) == 0;
    }
    while (left.len) {
        size_t n = slice_find(left, ':');

        if (n > 0) {
            int made = snprintf(ret, len, "%.*s/%s", (int)n, (const char *)left.at, name);

            if (made > 0 && (size_t)made < len && access(ret, X_OK) == 0)
                return true;
        }
        left = slice_after(left, n + 1);
    }
    return false;
}

bool host_program_path(const char *name, char *ret)
{
    char found[PATH_MAX];

    return host_find_program(name, found, sizeof(found)) && realpath(found, ret) != NULL;
}
