/*
 * What the guest is told before it has a network: words of the kernel command
 * line, and the lines of the environment share.
 */
#ifndef HAL_CMDLINE_H
#define HAL_CMDLINE_H

#include "base/buf.h"

/*
 * The value of "key=value" in a kernel command line, copied to ret (ret_len
 * bytes with its NUL). MISSING when the key is not there, INVALID when it is
 * there twice or its value does not fit. Words are separated by spaces; the
 * kernel's quoting is not used by any of our words.
 */
enum hal_found { HAL_ABSENT, HAL_FOUND, HAL_BAD };
enum hal_found hal_cmdline_get(struct slice cmdline, const char *key, char *ret, size_t ret_len,
                               struct err *e) MUST_CHECK;

/* An address for the one network card: "10.0.2.15/24", a gateway and a name server. */
struct hal_address {
    uint32_t addr;    /* host order */
    uint32_t gateway; /* host order, 0: none */
    unsigned prefix;  /* 1..32 */
    uint32_t dns;     /* host order, 0: none */
};

/*
 * cocos.ip=ADDRESS/PREFIX, and with it cocos.gateway=ADDRESS and
 * cocos.dns=ADDRESS. HAL_ABSENT means DHCP.
 */
enum hal_found hal_cmdline_address(struct slice cmdline, struct hal_address *ret, struct err *e) MUST_CHECK;

#define HAL_ENV_BYTES_MAX ((size_t)64 * 1024)
#define HAL_ENV_LINES_MAX 256

/* Environment entries "KEY=VALUE", NULL-terminated, one heap block each. */
struct hal_env {
    char **at;
    size_t count;
};

/*
 * Adds the lines KEY=VALUE of an environment file, without quoting. Empty
 * lines and lines that start with # are skipped. INVALID names the line: a
 * missing '=', a key that is not [A-Za-z_][A-Za-z0-9_]*, a control byte. A
 * later line replaces an earlier one of the same key. On failure *env keeps
 * what it had before the call plus the lines before the fault.
 */
bool hal_env_read(struct slice text, struct hal_env *env, struct err *e) MUST_CHECK;
bool hal_env_set(struct hal_env *env, struct slice key, struct slice value, struct err *e) MUST_CHECK;
void hal_env_done(struct hal_env *env);

#endif
