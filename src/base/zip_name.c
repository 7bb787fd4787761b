/* Which names of an archive may become paths. */
#include "base/stage.h"
#include "base/text.h"
#include "base/zip_int.h"

#define TOO_DEEP "archive.limit.depth: its directories are too deep"

static bool refuse(struct err *e, enum err_kind kind, struct slice name, const char *why)
{
    char shown[TEXT_SHORT_SIZE];

    text_short(name, shown);
    return err_fail(e, kind, "entry '%s': %s", shown, why);
}

static bool is_drive(struct slice name)
{
    return name.len >= 2 && name.at[1] == ':' &&
           ((name.at[0] >= 'a' && name.at[0] <= 'z') || (name.at[0] >= 'A' && name.at[0] <= 'Z'));
}

static size_t count_slashes(struct slice name)
{
    size_t count = 0;

    for (size_t i = 0; i < name.len; i++)
        count += name.at[i] == '/';
    return count;
}

bool zip_name_check(struct slice name, uint64_t depth_max, struct slice *ret_path, bool *ret_is_dir,
                    struct err *e)
{
    struct slice path = name;
    uint64_t depth = 0;
    bool is_dir = slice_ends(name, "/");

    if (name.len == 0)
        return err_fail(e, ERR_KIND_INVALID, "an entry without a name");
    if (name.len >= ZIP_PATH_MAX && count_slashes(name) > depth_max)
        return refuse(e, ERR_KIND_LIMIT, name, TOO_DEEP);
    if (name.len >= ZIP_PATH_MAX)
        return refuse(e, ERR_KIND_INVALID, name, "its path is too long");
    if (name.at[0] == '/' || is_drive(name))
        return refuse(e, ERR_KIND_INVALID, name, "its path is absolute");
    if (slice_find(name, '\\') < name.len)
        return refuse(e, ERR_KIND_INVALID, name, "it has a backslash, which some readers take for '/'");
    if (is_dir)
        path = slice_first(path, path.len - 1);
    /* "zip -r x.zip ." and its like put "./" before all names. */
    while (slice_starts(path, "./"))
        path = slice_after(path, 2);
    if (is_dir && (path.len == 0 || slice_equal_str(path, "."))) {
        *ret_path = SLICE_EMPTY;
        *ret_is_dir = true;
        return true;
    }
    for (struct slice left = path;; depth++) {
        struct slice part = slice_first(left, slice_find(left, '/'));

        if (slice_equal_str(part, ".."))
            return refuse(e, ERR_KIND_INVALID, name, "its path leads upwards");
        if (!stage_name_check(part, e))
            return err_wrap(e, "entry");
        if (part.len == left.len)
            break;
        left = slice_after(left, part.len + 1);
        if (left.len == 0) /* "a//" */
            return refuse(e, ERR_KIND_INVALID, name, "its path has an empty part");
    }
    if (depth + is_dir > depth_max)
        return refuse(e, ERR_KIND_LIMIT, name, TOO_DEEP);
    *ret_path = path;
    *ret_is_dir = is_dir;
    return true;
}
