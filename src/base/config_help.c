/* What config says to people: --help, and the flag they may have meant. */
#include "base/config_int.h"
#include "base/stage.h"
#include "base/text.h"

const char *config_nearest(const struct config_spec *spec, struct slice name)
{
    const char *names[CONFIG_OPTS_MAX + 2] = { "help", "version" };
    struct config_opt opts[CONFIG_OPTS_MAX];
    size_t rows = config_rows_all(spec, opts), count = 2;

    for (size_t i = 0; i < rows; i++)
        if (opts[i].flag)
            names[count++] = opts[i].flag;
    return text_nearest(name, names, count);
}

/* "number from 0 to 3" and the like, for what the table gives no word of its own. */
static const char *arg_word(const struct config_opt *o)
{
    if (o->arg)
        return o->arg;
    switch (o->type) {
    case CONFIG_BOOL: return NULL;
    case CONFIG_U64: return "number";
    case CONFIG_DURATION_MS: return "duration";
    case CONFIG_LEVEL: return "level";
    case CONFIG_STR:
    case CONFIG_LIST: break;
    }
    return "text";
}

static bool put_name(const struct config_opt *o, struct buf *out, struct err *e)
{
    const char *word = arg_word(o);
    bool ok;

    if (!o->flag && !o->short_flag)
        return buf_format(out, e, "  %s", o->env);
    if (!o->flag)
        ok = buf_format(out, e, "  -%c", o->short_flag);
    else if (o->short_flag)
        ok = buf_format(out, e, "  -%c, --%s", o->short_flag, o->flag);
    else
        ok = buf_format(out, e, "      --%s", o->flag);
    if (ok && word)
        ok = buf_format(out, e, " <%s>", word);
    return ok;
}

/* " (required; 0 to 3; may be repeated; environment X; default Y)" */
static bool put_notes(const struct config_opt *o, struct buf *out, struct err *e)
{
    size_t before = out->len;
    const char *lead = " (";
    bool ok = true;

    if (o->required) {
        ok = buf_format(out, e, "%srequired", lead);
        lead = "; ";
    }
    if (ok && o->type == CONFIG_U64 && o->max != UINT64_MAX) {
        ok = buf_format(out, e, "%s%llu to %llu", lead, (unsigned long long)o->min,
                        (unsigned long long)o->max);
        lead = "; ";
    }
    if (ok && o->type == CONFIG_LIST && o->flag) {
        ok = buf_format(out, e, "%smay be repeated", lead);
        lead = "; ";
    }
    if (ok && o->env && (o->flag || o->short_flag)) {
        ok = buf_format(out, e, "%senvironment %s", lead, o->env);
        lead = "; ";
    }
    if (ok && o->def && o->def[0] != '\0')
        ok = buf_format(out, e, "%sdefault %s", lead, o->def);
    return ok && (out->len == before || buf_append_u8(out, ')', e)) && buf_append_u8(out, '\n', e);
}

static bool put_options(const struct config_spec *spec, bool with_flag, const char *title, struct buf *out,
                        struct err *e)
{
    struct config_opt opts[CONFIG_OPTS_MAX];
    size_t count = config_rows_all(spec, opts);
    bool titled = false;

    for (size_t i = 0; i < count; i++) {
        const struct config_opt *o = &opts[i];

        if ((o->flag || o->short_flag) != with_flag)
            continue;
        if (!titled && !buf_format(out, e, "\n%s\n", title))
            return false;
        titled = true;
        if (!put_name(o, out, e) || !buf_format(out, e, "\n        %s", o->help ? o->help : "") ||
            !put_notes(o, out, e))
            return false;
    }
    if (!with_flag)
        return true;
    return (titled || buf_format(out, e, "\n%s\n", title)) &&
           buf_append_str(out,
                          "  -h, --help\n        show this text\n"
                          "      --version\n        show the version\n",
                          e);
}

bool config_help(const struct config_spec *spec, int fd, struct err *e)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT((size_t)1024 * 1024);

    if (!buf_format(&text, e, "Usage: %s %s\n", spec->program, spec->usage ? spec->usage : "[flags]"))
        return false;
    if (spec->summary && !buf_format(&text, e, "\n%s\n", spec->summary))
        return false;
    if (!put_options(spec, true, "Flags:", &text, e) ||
        !put_options(spec, false, "Environment only:", &text, e))
        return false;
    if (spec->examples && !buf_format(&text, e, "\nExamples:\n%s%s", spec->examples,
                                      slice_ends(slice_of_str(spec->examples), "\n") ? "" : "\n"))
        return false;
    return stage_write_all(fd, buf_slice(&text), e);
}
