#include "base/json.h"

#include "base/text.h"

enum { JSON_TEXT_MAX = 64 * 1024 * 1024 };

/*
 * How deep brackets nest, outside of strings. Before the parser, which
 * recurses, sees the text; what is not JSON it will tell itself.
 */
static bool depth_ok(struct slice text)
{
    size_t depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.at[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            continue;
        }
        if (c == '"')
            in_string = true;
        else if ((c == '[' || c == '{') && ++depth > JSON_DEPTH_MAX)
            return false;
        else if ((c == ']' || c == '}') && depth > 0)
            depth--;
    }
    return true;
}

json_t *json_read(struct slice text, struct err *e)
{
    char shown[TEXT_SHORT_SIZE];
    json_error_t fault;
    json_t *root;

    if (text.len == 0) {
        err_fail(e, ERR_KIND_INVALID, "JSON: it is empty");
        return NULL;
    }
    if (text.len > JSON_TEXT_MAX) {
        err_fail(e, ERR_KIND_LIMIT, "JSON: %zu bytes, at most %d are read", text.len, (int)JSON_TEXT_MAX);
        return NULL;
    }
    if (slice_starts(text, "\xef\xbb\xbf")) {
        err_fail(e, ERR_KIND_INVALID, "JSON: line 1, column 1: a byte order mark stands before it");
        return NULL;
    }
    if (!depth_ok(text)) {
        err_fail(e, ERR_KIND_LIMIT, "JSON: nested deeper than %d", JSON_DEPTH_MAX);
        return NULL;
    }
    root = json_loadb((const char *)text.at, text.len, JSON_REJECT_DUPLICATES, &fault);
    if (!root) {
        text_short(slice_of_str(fault.text), shown);
        err_fail(e, ERR_KIND_INVALID, "JSON: line %d, column %d: %s", fault.line, fault.column, shown);
    }
    return root;
}

void json_done(json_t **root)
{
    json_decref(*root);
    *root = NULL;
}
