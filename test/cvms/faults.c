#include <stdarg.h>

#include "cvms/faults.h"

#define LINE_MAX_LEN ((size_t)4096)

/* Memory being short must not hide that there was a fault: it is counted all the same. */
static PRINTF(2, 0) void add_line(struct cvms_faults *f, const char *fmt, va_list args, const char *cause)
{
    struct err e = ERR_INIT;
    char line[LINE_MAX_LEN];
    int len = vsnprintf(line, sizeof(line), fmt, args);

    f->count++;
    if (len < 0)
        return;
    bool whole = buf_format(&f->text, &e, "%s%s%s\n", line, cause ? ": " : "", cause ? cause : "");
    (void)whole;
}

void cvms_fault(struct cvms_faults *f, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add_line(f, fmt, args, NULL);
    va_end(args);
}

void cvms_fault_err(struct cvms_faults *f, const struct err *e, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add_line(f, fmt, args, err_text(e));
    va_end(args);
}

void cvms_faults_done(struct cvms_faults *f)
{
    buf_done(&f->text);
    f->count = 0;
}
