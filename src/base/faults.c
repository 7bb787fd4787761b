#include "base/faults.h"

#include <stdarg.h>

void faults_add(struct faults *f, const char *fmt, ...)
{
    size_t room = sizeof(f->text) - f->len;
    size_t gap = f->count > 0 ? 2 : 0;
    va_list args;
    int n;

    f->count++;
    if (f->unnamed > 0 || room <= gap) {
        f->unnamed++;
        return;
    }
    va_start(args, fmt);
    n = vsnprintf(f->text + f->len + gap, room - gap, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= room - gap) {
        f->text[f->len] = '\0';
        f->unnamed++;
        return;
    }
    if (gap > 0) {
        f->text[f->len] = ';';
        f->text[f->len + 1] = ' ';
    }
    f->len += gap + (size_t)n;
}

bool faults_none(const struct faults *f, struct err *e)
{
    if (f->count == 0)
        return true;
    if (f->unnamed == 0)
        return err_fail(e, ERR_KIND_INVALID, "%s", f->text);
    return err_fail(e, ERR_KIND_INVALID, "%s%sand %zu more faults", f->text, f->len ? "; " : "", f->unnamed);
}
