#include "base/config.h"

#include <assert.h>
#include <unistd.h>

#include "base/config_int.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "base/text.h"

/* The texts seen for one option, before they are understood. */
struct setting {
    struct config_list texts; /* one, but for CONFIG_LIST */
    const char *origin;
    bool bad; /* not what the option wants: a fault tells */
};

struct reader {
    const struct config_spec *spec;
    struct config_opt opts[CONFIG_OPTS_MAX]; /* the spec's, with those of its parts */
    size_t opt_count;
    struct setting set[CONFIG_OPTS_MAX]; /* one per option */
    struct config_values *values;
    struct faults faults;
    bool shown; /* --help or --version was printed */
};

bool config_values_own(struct config_values *v, void *take_at, struct err *e)
{
    void **grown = mem_resize(v->owned, (v->owned_count + 1) * sizeof(*grown), e);

    if (!grown) {
        mem_free(take_at);
        return false;
    }
    v->owned = grown;
    v->owned[v->owned_count++] = take_at;
    return true;
}

/* Adds a copy of text to a list whose block is not owned by v. */
static bool list_add(struct config_values *v, struct config_list *list, struct slice text, struct err *e)
{
    const char **grown = mem_resize(list->at, (list->count + 1) * sizeof(*grown), e);

    if (!grown)
        return false;
    list->at = grown;

    char *copy = mem_dup_slice(text, e);

    if (!copy || !config_values_own(v, copy, e))
        return false;
    list->at[list->count++] = copy;
    return true;
}

static bool set_text(struct reader *r, size_t opt, struct slice text, const char *origin, struct err *e)
{
    struct setting *s = &r->set[opt];

    /* The last one wins, except for lists. */
    if (r->opts[opt].type != CONFIG_LIST)
        s->texts.count = 0;
    s->origin = origin;
    return list_add(r->values, &s->texts, text, e);
}

/* The option a flag names, or opt_count. name has no dashes. */
static size_t find_flag(const struct reader *r, struct slice name, bool one_dash)
{
    for (size_t i = 0; i < r->opt_count; i++) {
        const struct config_opt *o = &r->opts[i];

        if (o->flag && slice_equal_str(name, o->flag))
            return i;
        if (one_dash && o->short_flag && name.len == 1 && name.at[0] == (uint8_t)o->short_flag)
            return i;
    }
    return r->opt_count;
}

static bool show_version(const struct config_spec *spec, struct err *e)
{
    CLEANUP(buf_done) struct buf line = BUF_INIT(256);

    return buf_format(&line, e, "%s %s\n", spec->program, COCOS_VERSION) &&
           stage_write_all(STDOUT_FILENO, buf_slice(&line), e);
}

static void unknown_flag(struct reader *r, struct slice name)
{
    const char *near = config_nearest(r->spec, name);
    char shown[TEXT_SHORT_SIZE];

    text_short(name, shown);
    if (near)
        faults_add(&r->faults, "unknown flag --%s: did you mean --%s?", shown, near);
    else
        faults_add(&r->faults, "unknown flag --%s: --help lists the known ones", shown);
}

static bool is_bool_word(const char *text)
{
    struct err ignored = ERR_INIT;
    bool value;

    /* "1" or "t" may well be the name of a file. */
    return text && strlen(text) > 1 && text_parse_bool(slice_of_str(text), &value, &ignored);
}

/* argv[*at] is a flag; moves *at past its value. False only when *e is set. */
static bool read_flag(struct reader *r, int argc, char *const *argv, int *at, struct err *e)
{
    struct slice text = slice_of_str(argv[*at]);
    bool one_dash = !slice_starts(text, "--");

    text = slice_after(text, one_dash ? 1 : 2);

    struct slice name = slice_first(text, slice_find(text, '='));
    bool has_value = name.len < text.len;
    struct slice value = slice_after(text, name.len + 1);
    size_t opt = find_flag(r, name, one_dash);
    const char *next = *at + 1 < argc ? argv[*at + 1] : NULL;

    if (opt == r->opt_count) {
        bool help = slice_equal_str(name, "help") || (one_dash && slice_equal_str(name, "h"));

        if (help || slice_equal_str(name, "version")) {
            r->shown = true;
            return help ? config_help(r->spec, STDOUT_FILENO, e) : show_version(r->spec, e);
        }
        unknown_flag(r, name);
        return true;
    }
    if (!has_value && r->opts[opt].type == CONFIG_BOOL) {
        if (is_bool_word(next))
            ++*at;
        return set_text(r, opt, slice_of_str(is_bool_word(next) ? next : "true"), "flag", e);
    }
    if (!has_value && !next) {
        faults_add(&r->faults, "flag --%.*s: a value is wanted", (int)name.len, (const char *)name.at);
        return true;
    }
    if (!has_value) {
        value = slice_of_str(next);
        ++*at;
    }
    return set_text(r, opt, value, "flag", e);
}

static bool read_argv(struct reader *r, int argc, char *const *argv, struct err *e)
{
    struct config_list args = { NULL, 0 };
    bool flags_end = false;
    bool ok = true;

    for (int i = 1; ok && !r->shown && i < argc; i++) {
        if (!flags_end && strcmp(argv[i], "--") == 0)
            flags_end = true;
        else if (!flags_end && argv[i][0] == '-' && argv[i][1] != '\0')
            ok = read_flag(r, argc, argv, &i, e);
        else
            ok = list_add(r->values, &args, slice_of_str(argv[i]), e);
    }
    if (args.at && !config_values_own(r->values, args.at, e))
        return false;
    r->values->args = args.at;
    r->values->arg_count = args.count;
    return ok;
}

/* What env says of key; empty counts as unset. */
static const char *env_find(char *const *env, const char *key)
{
    size_t len = strlen(key);

    for (; env && *env; env++)
        if (strncmp(*env, key, len) == 0 && (*env)[len] == '=' && (*env)[len + 1] != '\0')
            return *env + len + 1;
    return NULL;
}

static bool read_env_and_defaults(struct reader *r, char *const *env, struct err *e)
{
    for (size_t i = 0; i < r->opt_count; i++) {
        const struct config_opt *o = &r->opts[i];
        const char *text = o->env ? env_find(env, o->env) : NULL;

        if (r->set[i].origin)
            continue;
        if (text && !set_text(r, i, slice_of_str(text), "environment", e))
            return false;
        if (!text && o->def && !set_text(r, i, slice_of_str(o->def), "default", e))
            return false;
    }
    return true;
}

/* Understands text and, when ret is not NULL, stores it there. */
static bool parse_one(const struct config_opt *o, const struct setting *s, char *ret, struct err *e)
{
    struct slice text = s->texts.count ? slice_of_str(s->texts.at[0]) : SLICE_EMPTY;
    char *at = ret ? ret + o->offset : NULL;
    const char *str = s->texts.count ? s->texts.at[0] : NULL;
    uint64_t u64 = 0;
    int level = LOG_INFO;
    bool b = false;

    /* memcpy, because at has no type that the compiler knows. */
    switch (o->type) {
    case CONFIG_STR:
        if (at)
            memcpy(at, &str, sizeof(str));
        return true;
    case CONFIG_LIST:
        if (at)
            memcpy(at, &s->texts, sizeof(s->texts));
        return true;
    case CONFIG_BOOL:
        if (str && !text_parse_bool(text, &b, e))
            return false;
        if (at)
            memcpy(at, &b, sizeof(b));
        return true;
    case CONFIG_U64:
        if (str && !text_parse_u64(text, o->min, o->max, &u64, e))
            return false;
        break;
    case CONFIG_DURATION_MS:
        if (str && !text_parse_duration_ms(text, &u64, e))
            return false;
        break;
    case CONFIG_LEVEL:
        if (str && !log_level_parse(text, &level, e))
            return false;
        if (at)
            memcpy(at, &level, sizeof(level));
        return true;
    }
    if (at)
        memcpy(at, &u64, sizeof(u64));
    return true;
}

/* "flag --port", "environment PORT": where a fault is to be mended. */
static void name_source(const struct config_opt *o, const char *origin, char *ret, size_t size)
{
    bool by_env = strcmp(origin, "environment") == 0 || !o->flag;

    snprintf(ret, size, "%s%s %s%s", strcmp(origin, "default") == 0 ? "default of " : "",
             by_env ? "environment" : "flag", by_env ? "" : "--", by_env ? o->env : o->flag);
}

static void check_option(struct reader *r, size_t i)
{
    const struct config_opt *o = &r->opts[i];
    const struct setting *s = &r->set[i];
    struct err e = ERR_INIT;
    char where[128];

    if (o->required && (s->texts.count == 0 || s->texts.at[0][0] == '\0')) {
        if (o->flag && o->env)
            faults_add(&r->faults, "flag --%s or environment %s: must be set", o->flag, o->env);
        else
            faults_add(&r->faults, "%s%s: must be set", o->flag ? "flag --" : "environment ",
                       o->flag ? o->flag : o->env);
        return;
    }
    if (s->origin && !parse_one(o, s, NULL, &e)) {
        name_source(o, s->origin, where, sizeof(where));
        faults_add(&r->faults, "%s: %s", where, err_text(&e));
        r->set[i].bad = true;
    }
}

static void check_args(struct reader *r)
{
    size_t count = r->values->arg_count;
    char shown[TEXT_SHORT_SIZE];

    if (count < r->spec->args_min) {
        faults_add(&r->faults, "%zu argument%s given, %zu wanted: %s %s", count, count == 1 ? "" : "s",
                   r->spec->args_min, r->spec->program, r->spec->usage ? r->spec->usage : "");
    } else if (count > r->spec->args_max) {
        text_short(slice_of_str(r->values->args[r->spec->args_max]), shown);
        faults_add(&r->faults, "argument '%s' is one too many: %s %s", shown, r->spec->program,
                   r->spec->usage ? r->spec->usage : "");
    }
}

/* Fills the program's struct. The blocks of lists become owned by the values. */
static bool store(struct reader *r, void *ret, struct err *e)
{
    for (size_t i = 0; i < r->opt_count; i++) {
        struct setting *s = &r->set[i];

        if (!parse_one(&r->opts[i], s, ret, e))
            return false;
        r->values->origin[i] = s->origin;
        if (s->texts.at) {
            const char **block = s->texts.at;

            s->texts.at = NULL;
            if (!config_values_own(r->values, block, e))
                return false;
        }
    }
    return true;
}

/* Fills the program's struct as far as it can be, for what the program has to say about it. */
static void check_together(struct reader *r, void *ret)
{
    struct err e = ERR_INIT;

    if (!r->spec->check)
        return;
    for (size_t i = 0; i < r->opt_count; i++) {
        const char *def = r->opts[i].def;
        struct setting s = r->set[i];

        if (s.bad)
            s.texts = (struct config_list){ &def, def ? 1 : 0 };
        if (!parse_one(&r->opts[i], &s, ret, &e))
            err_clear(&e); /* a default that its own row does not take: told already */
    }
    r->spec->check(ret, &r->faults);
}

static enum config_outcome read_all(struct reader *r, int argc, char *const *argv, char *const *env,
                                    void *ret, struct err *e)
{
    if (!read_argv(r, argc, argv, e))
        return CONFIG_BAD;
    if (r->shown)
        return CONFIG_SHOWN;
    if (!read_env_and_defaults(r, env, e))
        return CONFIG_BAD;
    for (size_t i = 0; i < r->opt_count; i++)
        check_option(r, i);
    check_args(r);
    check_together(r, ret);
    if (!faults_none(&r->faults, e))
        return CONFIG_BAD;
    return store(r, ret, e) ? CONFIG_RUN : CONFIG_BAD;
}

enum config_outcome config_read(const struct config_spec *spec, int argc, char *const *argv, char *const *env,
                                void *ret, struct config_values *ret_values, struct err *e)
{
    struct config_values values = { 0 };
    struct reader r = { .spec = spec, .values = &values, .faults = FAULTS_INIT };
    enum config_outcome outcome;

    r.opt_count = config_rows_all(spec, r.opts);
    outcome = read_all(&r, argc, argv, env, ret, e);
    for (size_t i = 0; i < r.opt_count; i++)
        mem_free(r.set[i].texts.at);
    if (outcome == CONFIG_RUN)
        *ret_values = values;
    else
        config_values_done(&values);
    return outcome;
}

static size_t add_rows(struct config_rows rows, size_t offset, struct config_opt *ret, size_t count)
{
    assert(count + rows.opt_count <= CONFIG_OPTS_MAX);
    for (size_t i = 0; i < rows.opt_count; i++) {
        ret[count] = rows.opts[i];
        ret[count++].offset += offset;
    }
    return count;
}

size_t config_rows_all(const struct config_spec *spec, struct config_opt ret[CONFIG_OPTS_MAX])
{
    size_t count = add_rows((struct config_rows){ spec->opts, spec->opt_count }, 0, ret, 0);

    for (size_t i = 0; i < CONFIG_PARTS_MAX && spec->parts[i].rows; i++)
        count = add_rows(*spec->parts[i].rows, spec->parts[i].offset, ret, count);
    return count;
}

bool config_given(const struct config_spec *spec, const struct config_values *v, size_t offset)
{
    struct config_opt opts[CONFIG_OPTS_MAX];
    size_t count = config_rows_all(spec, opts);

    for (size_t i = 0; i < count; i++)
        if (opts[i].offset == offset)
            return v->origin[i] != NULL;
    return false;
}

void config_values_done(struct config_values *v)
{
    for (size_t i = 0; i < v->owned_count; i++)
        mem_free(v->owned[i]);
    mem_free(v->owned);
    *v = (struct config_values){ 0 };
}
