#include "rpc/timeout.h"

#define DIGITS_MAX 8
#define NUMBER_MAX 99999999u

/* How many of the unit make a millisecond, or how many milliseconds the unit has. */
static const struct unit {
    char name;
    uint64_t per_ms;
    uint64_t ms;
} units[] = {
    { 'n', 1000000, 1 }, { 'u', 1000, 1 },  { 'm', 1, 1 },
    { 'S', 1, 1000 },    { 'M', 1, 60000 }, { 'H', 1, 3600000 },
};

bool rpc_timeout_parse(struct slice text, uint64_t *ret_ms, struct err *e)
{
    uint64_t n = 0;

    if (text.len < 2 || text.len > DIGITS_MAX + 1)
        return err_fail(e, ERR_KIND_INVALID,
                        "malformed grpc-timeout: %zu bytes instead of 1 to 8 digits and a unit", text.len);
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return err_fail(e, ERR_KIND_INVALID, "malformed grpc-timeout: byte %zu is no digit", i + 1);
        n = n * 10 + (uint64_t)(text.at[i] - '0');
    }
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (text.at[text.len - 1] != (uint8_t)units[i].name)
            continue;
        *ret_ms = (n + units[i].per_ms - 1) / units[i].per_ms * units[i].ms;
        return true;
    }
    return err_fail(e, ERR_KIND_INVALID, "malformed grpc-timeout: unknown unit, not one of HMSmun");
}

void rpc_timeout_format(uint64_t ms, char ret[RPC_TIMEOUT_TEXT_MAX])
{
    for (size_t i = 2; i < ARRAY_LEN(units); i++) {
        uint64_t n = ms / units[i].ms + (ms % units[i].ms != 0);

        if (n > NUMBER_MAX)
            continue;
        snprintf(ret, RPC_TIMEOUT_TEXT_MAX, "%u%c", (unsigned)n, units[i].name);
        return;
    }
    /* Eleven thousand years: as good as no deadline. */
    snprintf(ret, RPC_TIMEOUT_TEXT_MAX, "%uH", NUMBER_MAX);
}
