#include "runner/plan.h"

#include "base/mem.h"
#include "base/stage.h"

#define REQUIREMENTS_MAX ((size_t)1024 * 1024)
#define STEP_WORDS_MAX 16

/* Words of a step that stand for others. */
#define WORD_ALGORITHM "@algorithm"
#define WORD_ARGS "@args"
#define WORD_VENV_PYTHON "@venv-python"
#define WORD_REQUIREMENTS "@requirements"
#define WORD_PIP_SOURCE "@pip-source"

/* Whether a step is taken. */
enum when { ALWAYS, WITH_REQUIREMENTS, WITHOUT_REQUIREMENTS };

struct step_form {
    const char *failed;
    enum when when;
    bool is_algorithm;
    const char *words[STEP_WORDS_MAX];
};

struct kind_form {
    const char *name;
    const char *alias;
    bool takes_requirements;
    struct step_form steps[4]; /* ends with one without words */
};

static const struct kind_form kinds[] = {
    { .name = "bin",
      .alias = "binary",
      .steps = { { .failed = "algorithm execution error",
                   .is_algorithm = true,
                   .words = { WORD_ALGORITHM, WORD_ARGS } } } },
    { .name = "python",
      .takes_requirements = true,
      .steps = { { .failed = "error creating virtual environment",
                   .when = WITHOUT_REQUIREMENTS, /* nobody will ask for pip, which takes seconds to set up */
                   .words = { "python3", "-m", "venv", "--without-pip", RUN_VENV_DIR } },
                 { .failed = "error creating virtual environment",
                   .when = WITH_REQUIREMENTS,
                   .words = { "python3", "-m", "venv", RUN_VENV_DIR } },
                 { .failed = "error installing requirements",
                   .when = WITH_REQUIREMENTS,
                   .words = { WORD_VENV_PYTHON, "-m", "pip", "install", "--no-input", "--no-cache-dir",
                              "--disable-pip-version-check", "--quiet", WORD_PIP_SOURCE, "-r",
                              WORD_REQUIREMENTS } },
                 { .failed = "algorithm execution error",
                   .is_algorithm = true,
                   .words = { WORD_VENV_PYTHON, WORD_ALGORITHM, WORD_ARGS } } } },
};

static const struct kind_form *kind_find(const char *name)
{
    if (!*name)
        return &kinds[0];
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(name, kinds[i].name) == 0 || (kinds[i].alias && strcmp(name, kinds[i].alias) == 0))
            return &kinds[i];
    }
    return NULL;
}

bool run_kind_check(const char *kind, struct err *e)
{
    if (kind_find(kind))
        return true;
    return err_fail(e, ERR_KIND_UNSUPPORTED,
                    "unsupported algorithm type: %.64s (this runner knows bin and python)", kind);
}

/* ------------------------------------------------------------------- ownership */

/* Keeps at until run_plan_done; frees it, and returns NULL, when that can't be promised. */
static void *own(struct run_plan *p, void *at, struct err *e)
{
    if (!at)
        return NULL;

    void **grown = mem_resize(p->owned, (p->owned_count + 1) * sizeof(*grown), e);

    if (!grown) {
        mem_free(at);
        return NULL;
    }
    p->owned = grown;
    p->owned[p->owned_count++] = at;
    return at;
}

void run_plan_done(struct run_plan *p)
{
    for (size_t i = 0; i < p->owned_count; i++)
        mem_free(p->owned[i]);
    mem_free(p->owned);
    *p = (struct run_plan){ .count = 0 };
}

/* An absolute path: what is not is beneath the work dir. */
static const char *path_of(struct run_plan *p, const char *path, struct err *e)
{
    return own(p, path[0] == '/' ? mem_dup_str(path, e) : mem_format(e, "%s/%s", p->work_dir, path), e);
}

/* ---------------------------------------------------------------- requirements */

/* True when some line asks for something: blank lines and comments don't. */
static bool asks_for_something(struct slice text)
{
    while (text.len > 0) {
        size_t end = slice_find(text, '\n');
        struct slice line = slice_first(text, end);

        while (line.len > 0 && (line.at[0] == ' ' || line.at[0] == '\t' || line.at[0] == '\r'))
            line = slice_after(line, 1);
        if (line.len > 0 && line.at[0] != '#')
            return true;
        text = slice_after(text, end + 1);
    }
    return false;
}

static bool has_requirements(const struct run_request *r, const char *path, bool *ret, struct err *e)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(REQUIREMENTS_MAX);
    bool has_source = (r->find_links && *r->find_links) || (r->index_url && *r->index_url);

    *ret = false;
    if (!path)
        return true;
    if (!stage_read_file(path, &text, e))
        return err_wrap(e, "error installing requirements");
    *ret = asks_for_something(buf_slice(&text));
    if (*ret && !has_source)
        return err_fail(e, ERR_KIND_INVALID,
                        "error installing requirements: the algorithm has a requirements file, and this "
                        "runner has nowhere to install from: set RUNNER_PIP_FIND_LINKS to a directory of "
                        "wheels, or RUNNER_PIP_INDEX_URL");
    return true;
}

/* ----------------------------------------------------------------------- words */

struct words {
    const char **at;
    size_t count, cap;
};

static bool add(struct run_plan *p, struct words *w, const char *word, struct err *e)
{
    char *copy = word ? own(p, mem_dup_str(word, e), e) : NULL;

    if (!copy)
        return false;
    w->at[w->count++] = copy;
    return true;
}

/* Where pip may look: the directory if there is one, or the index, and nowhere else. */
static bool add_pip_source(struct run_plan *p, const struct run_request *r, struct words *w, struct err *e)
{
    bool has_index = r->index_url && *r->index_url;

    if (r->find_links && *r->find_links && (!add(p, w, "--find-links", e) || !add(p, w, r->find_links, e)))
        return false;
    if (has_index)
        return add(p, w, "--index-url", e) && add(p, w, r->index_url, e);
    return add(p, w, "--no-index", e);
}

static bool add_word(struct run_plan *p, const struct run_request *r, struct words *w, const char *word,
                     struct err *e)
{
    if (strcmp(word, WORD_ALGORITHM) == 0)
        return add(p, w, path_of(p, r->algorithm, e), e);
    if (strcmp(word, WORD_VENV_PYTHON) == 0)
        return add(p, w, path_of(p, RUN_VENV_DIR "/bin/python", e), e);
    if (strcmp(word, WORD_REQUIREMENTS) == 0)
        return add(p, w, path_of(p, r->requirements, e), e);
    if (strcmp(word, WORD_PIP_SOURCE) == 0)
        return add_pip_source(p, r, w, e);
    if (strcmp(word, WORD_ARGS) == 0) {
        for (size_t i = 0; i < r->arg_count; i++) {
            if (!add(p, w, r->args[i], e))
                return false;
        }
        return true;
    }
    return add(p, w, word, e);
}

static bool add_step(struct run_plan *p, const struct run_request *r, const struct step_form *form,
                     struct err *e)
{
    struct words w = { .cap = STEP_WORDS_MAX + 4 + r->arg_count };

    w.at = own(p, mem_new_array(w.cap, sizeof(*w.at), e), e);
    if (!w.at)
        return false;
    for (size_t i = 0; i < STEP_WORDS_MAX && form->words[i]; i++) {
        if (!add_word(p, r, &w, form->words[i], e))
            return false;
    }
    p->steps[p->count++] = (struct run_step){ .failed = form->failed,
                                              .is_algorithm = form->is_algorithm,
                                              .argv = w.at };
    return true;
}

/*
 * What an algorithm may know of our environment: where programs are, the
 * language of texts, where temporary files go. Its home is the work dir.
 * Keys, proxies and tokens of this machine are none of its business.
 */
static bool make_env(struct run_plan *p, struct err *e)
{
    const char *path = getenv("PATH");
    const char *lang = getenv("LANG");
    const char *tmp = getenv("TMPDIR");
    char *words[] = {
        own(p, mem_format(e, "PATH=%s", path && *path ? path : "/usr/local/bin:/usr/bin:/bin"), e),
        own(p, mem_format(e, "HOME=%s", p->work_dir), e),
        own(p, mem_format(e, "LANG=%s", lang && *lang ? lang : "C.UTF-8"), e),
        own(p, mem_format(e, "TMPDIR=%s", tmp && *tmp ? tmp : "/tmp"), e),
    };

    p->env = own(p, mem_new_array(ARRAY_LEN(words) + 1, sizeof(*p->env), e), e);
    if (!p->env)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!words[i])
            return false;
        p->env[i] = words[i];
    }
    return true;
}

static bool make(const struct run_request *r, struct run_plan *p, struct err *e)
{
    const struct kind_form *kind = kind_find(r->kind);
    const char *requirements = NULL;
    bool has = false;

    if (!kind)
        return run_kind_check(r->kind, e);
    p->work_dir = own(p, mem_dup_str(r->work_dir, e), e);
    if (!p->work_dir || !make_env(p, e))
        return false;
    if (kind->takes_requirements && r->requirements && *r->requirements) {
        requirements = path_of(p, r->requirements, e);
        if (!requirements)
            return false;
    }
    if (!has_requirements(r, requirements, &has, e))
        return false;
    for (const struct step_form *form = kind->steps; form < kind->steps + ARRAY_LEN(kind->steps); form++) {
        bool wanted = form->when == ALWAYS || (form->when == WITH_REQUIREMENTS) == has;

        if (form->words[0] && wanted && !add_step(p, r, form, e))
            return false;
    }
    return true;
}

bool run_plan_make(const struct run_request *r, struct run_plan *ret, struct err *e)
{
    struct run_plan p = { .count = 0 };

    if (!make(r, &p, e)) {
        run_plan_done(&p);
        return false;
    }
    *ret = p;
    return true;
}
