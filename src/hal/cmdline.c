#include "hal/cmdline.h"

#include <arpa/inet.h>

#include "base/cursor.h"
#include "base/mem.h"
#include "base/text.h"

enum hal_found hal_cmdline_get(struct slice cmdline, const char *key, char *ret, size_t ret_len,
                               struct err *e)
{
    struct slice wanted = slice_of_str(key);
    enum hal_found found = HAL_ABSENT;

    while (cmdline.len) {
        size_t len = slice_find(cmdline, ' ');
        struct slice word = slice_first(cmdline, len);
        size_t equals = slice_find(word, '=');

        cmdline = slice_after(cmdline, len + 1);
        if (word.len && word.at[word.len - 1] == '\n')
            word = slice_first(word, word.len - 1);
        if (equals >= word.len || !slice_equal(slice_first(word, equals), wanted))
            continue;
        if (found == HAL_FOUND) {
            err_fail(e, ERR_KIND_INVALID, "kernel command line: '%s' is given twice", key);
            return HAL_BAD;
        }

        struct slice value = slice_after(word, equals + 1);

        if (value.len >= ret_len) {
            err_fail(e, ERR_KIND_INVALID, "kernel command line: '%s' has %zu bytes, at most %zu are taken",
                     key, value.len, ret_len - 1);
            return HAL_BAD;
        }
        if (value.len)
            memcpy(ret, value.at, value.len);
        ret[value.len] = '\0';
        found = HAL_FOUND;
    }
    return found;
}

static bool parse_ipv4(const char *text, uint32_t *ret)
{
    struct in_addr addr;

    if (inet_pton(AF_INET, text, &addr) != 1)
        return false;
    *ret = ntohl(addr.s_addr);
    return true;
}

/* An address that may be left out. */
static bool take_address(struct slice cmdline, const char *key, uint32_t *ret, struct err *e)
{
    char text[32];
    enum hal_found found = hal_cmdline_get(cmdline, key, text, sizeof(text), e);

    if (found == HAL_FOUND && !parse_ipv4(text, ret))
        return err_fail(e, ERR_KIND_INVALID, "kernel command line: %s: an IPv4 address is wanted", key);
    return found != HAL_BAD;
}

enum hal_found hal_cmdline_address(struct slice cmdline, struct hal_address *ret, struct err *e)
{
    char text[32];
    struct hal_address a = { 0, 0, 0, 0 };
    enum hal_found found = hal_cmdline_get(cmdline, "cocos.ip", text, sizeof(text), e);

    if (found != HAL_FOUND)
        return found;

    char *slash = strchr(text, '/');
    uint64_t prefix = 0;

    if (slash)
        *slash = '\0';
    if (!slash || !parse_ipv4(text, &a.addr) || !text_parse_u64(slice_of_str(slash + 1), 1, 32, &prefix, e)) {
        err_fail(e, ERR_KIND_INVALID,
                 "kernel command line: cocos.ip: ADDRESS/PREFIX is wanted, as 10.0.2.15/24");
        return HAL_BAD;
    }
    a.prefix = (unsigned)prefix;
    if (!take_address(cmdline, "cocos.gateway", &a.gateway, e) ||
        !take_address(cmdline, "cocos.dns", &a.dns, e))
        return HAL_BAD;
    *ret = a;
    return HAL_FOUND;
}

static bool key_ok(struct slice key)
{
    for (size_t i = 0; i < key.len; i++) {
        uint8_t c = key.at[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';

        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return key.len > 0;
}

bool hal_env_set(struct hal_env *env, struct slice key, struct slice value, struct err *e)
{
    size_t at = 0;
    CLEANUP(buf_done) struct buf line = BUF_INIT(HAL_ENV_BYTES_MAX);

    if (!buf_append(&line, key, e) || !buf_append_u8(&line, '=', e) || !buf_append(&line, value, e))
        return false;
    while (at < env->count && strncmp(env->at[at], (const char *)buf_slice(&line).at, key.len + 1) != 0)
        at++;
    if (at == env->count && env->count == HAL_ENV_LINES_MAX)
        return err_fail(e, ERR_KIND_LIMIT, "more than %d variables", HAL_ENV_LINES_MAX);

    char *copy = mem_dup_slice(buf_slice(&line), e);

    if (!copy)
        return false;
    if (at == env->count) {
        char **grown = mem_resize(env->at, (env->count + 2) * sizeof(*grown), e);

        if (!grown) {
            mem_free(copy);
            return false;
        }
        env->at = grown;
        env->count++;
        env->at[env->count] = NULL;
    } else {
        mem_free(env->at[at]);
    }
    env->at[at] = copy;
    return true;
}

bool hal_env_read(struct slice text, struct hal_env *env, struct err *e)
{
    size_t number = 0;

    if (text.len > HAL_ENV_BYTES_MAX)
        return err_fail(e, ERR_KIND_LIMIT, "%zu bytes, at most %zu are taken", text.len, HAL_ENV_BYTES_MAX);
    while (text.len) {
        size_t len = slice_find(text, '\n');
        struct slice line = slice_first(text, len);
        size_t equals = slice_find(line, '=');

        number++;
        text = slice_after(text, len + 1);
        if (line.len == 0 || line.at[0] == '#')
            continue;
        for (size_t i = 0; i < line.len; i++)
            if (line.at[i] < 0x20 || line.at[i] == 0x7f)
                return err_fail(e, ERR_KIND_INVALID, "line %zu: control byte 0x%02x", number, line.at[i]);
        if (equals == line.len)
            return err_fail(e, ERR_KIND_INVALID, "line %zu: KEY=VALUE is wanted", number);
        if (!key_ok(slice_first(line, equals)))
            return err_fail(e, ERR_KIND_INVALID,
                            "line %zu: a name of letters, digits and '_' is wanted before '='", number);
        if (!hal_env_set(env, slice_first(line, equals), slice_after(line, equals + 1), e))
            return err_wrap(e, "line %zu", number);
    }
    return true;
}

void hal_env_done(struct hal_env *env)
{
    for (size_t i = 0; i < env->count; i++)
        mem_free(env->at[i]);
    mem_free(env->at);
    *env = (struct hal_env){ NULL, 0 };
}
