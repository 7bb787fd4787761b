/* The spellings of booleans, numbers, durations and times. */
#include "base/text.h"

bool text_parse_bool(struct slice text, bool *ret, struct err *e)
{
    static const char *const yes[] = { "1", "t", "T", "TRUE", "true", "True" };
    static const char *const no[] = { "0", "f", "F", "FALSE", "false", "False" };

    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (slice_equal_str(text, yes[i])) {
            *ret = true;
            return true;
        }
        if (slice_equal_str(text, no[i])) {
            *ret = false;
            return true;
        }
    }

    char shown[TEXT_SHORT_SIZE];

    text_short(text, shown);
    return err_fail(e, ERR_KIND_INVALID, "'%s': true or false is wanted", shown);
}

/* Reads decimal digits from the front of *text, at least none. False when the value doesn't fit. */
static bool digits_read(struct slice *text, uint64_t *ret)
{
    uint64_t v = 0;

    while (text->len && text->at[0] >= '0' && text->at[0] <= '9') {
        uint64_t digit = (uint64_t)(text->at[0] - '0');

        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
        *text = slice_after(*text, 1);
    }
    *ret = v;
    return true;
}

bool text_parse_u64(struct slice text, uint64_t min, uint64_t max, uint64_t *ret, struct err *e)
{
    struct slice left = text;
    uint64_t v;

    if (text.len == 0 || !digits_read(&left, &v) || left.len != 0 || v < min || v > max) {
        char shown[TEXT_SHORT_SIZE];

        text_short(text, shown);
        return err_fail(e, ERR_KIND_INVALID, "'%s': a whole number from %llu to %llu is wanted", shown,
                        (unsigned long long)min, (unsigned long long)max);
    }
    *ret = v;
    return true;
}

static const struct unit {
    const char *name;
    uint64_t ns;
} units[] = {
    { "ns", 1 },           { "us", 1000 },      { "\xc2\xb5s", 1000 }, /* micro sign       */
    { "\xce\xbcs", 1000 },                                             /* Greek letter mu  */
    { "ms", 1000000 },     { "s", 1000000000 }, { "m", 60000000000 },  { "h", 3600000000000 },
};

/* The unit at the front: all up to the next digit or point, as Go reads it. */
static bool unit_read(struct slice *text, uint64_t *ret_ns)
{
    size_t len = 0;

    while (len < text->len && text->at[len] != '.' && (text->at[len] < '0' || text->at[len] > '9'))
        len++;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (slice_equal_str(slice_first(*text, len), units[i].name)) {
            *ret_ns = units[i].ns;
            *text = slice_after(*text, len);
            return true;
        }
    }
    return false;
}

/* One "12.5m" from the front of *text, in nanoseconds. */
static bool duration_part(struct slice *text, uint64_t *ret_ns)
{
    size_t before = text->len;
    uint64_t whole;
    uint64_t unit;
    double fraction = 0;
    double scale = 1;
    bool has_digits;

    if (!digits_read(text, &whole))
        return false;
    has_digits = text->len != before;
    if (text->len && text->at[0] == '.') {
        *text = slice_after(*text, 1);
        while (text->len && text->at[0] >= '0' && text->at[0] <= '9') {
            has_digits = true;
            if (scale < 1e15) { /* digits past that can't change a nanosecond */
                fraction = fraction * 10 + (text->at[0] - '0');
                scale *= 10;
            }
            *text = slice_after(*text, 1);
        }
    }
    if (!has_digits || !unit_read(text, &unit) || whole > (uint64_t)INT64_MAX / unit)
        return false;
    *ret_ns = whole * unit + (uint64_t)(fraction * ((double)unit / scale));
    return true;
}

bool text_parse_duration_ms(struct slice text, uint64_t *ret_ms, struct err *e)
{
    struct slice left = text;
    uint64_t total = 0;
    bool ok = text.len != 0;

    if (slice_equal_str(text, "0")) {
        *ret_ms = 0;
        return true;
    }
    while (ok && left.len) {
        uint64_t part;

        ok = duration_part(&left, &part) && part <= (uint64_t)INT64_MAX - total;
        if (ok)
            total += part;
    }
    if (!ok) {
        char shown[TEXT_SHORT_SIZE];

        text_short(text, shown);
        return err_fail(e, ERR_KIND_INVALID, "'%s': a duration such as 100ms, 1.5s or 1h30m is wanted",
                        shown);
    }
    *ret_ms = total / 1000000;
    return true;
}

void text_format_duration_ms(uint64_t ms, char ret[32])
{
    uint64_t minutes = ms / 60000;
    unsigned seconds = (unsigned)(ms % 60000 / 1000);
    unsigned rest = (unsigned)(ms % 1000);
    char fraction[8] = "";

    if (ms == 0) {
        snprintf(ret, 32, "0s");
        return;
    }
    if (ms < 1000) {
        snprintf(ret, 32, "%ums", rest);
        return;
    }
    if (rest) {
        int len = snprintf(fraction, sizeof(fraction), ".%03u", rest);

        while (fraction[len - 1] == '0')
            fraction[--len] = '\0';
    }
    if (minutes >= 60)
        snprintf(ret, 32, "%lluh%um%u%ss", (unsigned long long)(minutes / 60), (unsigned)(minutes % 60),
                 seconds, fraction);
    else if (minutes)
        snprintf(ret, 32, "%um%u%ss", (unsigned)minutes, seconds, fraction);
    else
        snprintf(ret, 32, "%u%ss", seconds, fraction);
}

void text_format_time(int64_t wall_ns, char ret[40])
{
    int64_t seconds = wall_ns / 1000000000;
    int64_t ns = wall_ns % 1000000000;
    struct tm parts;

    if (ns < 0) {
        ns += 1000000000;
        seconds--;
    }

    time_t when = (time_t)seconds;

    gmtime_r(&when, &parts);
    /* The remainders cut nothing: they tell the compiler that the text fits. */
    snprintf(ret, 40, "%04u-%02u-%02uT%02u:%02u:%02u.%09uZ", (unsigned)(parts.tm_year + 1900) % 10000,
             (unsigned)(parts.tm_mon + 1) % 100, (unsigned)parts.tm_mday % 100, (unsigned)parts.tm_hour % 100,
             (unsigned)parts.tm_min % 100, (unsigned)parts.tm_sec % 100, (unsigned)ns % 1000000000);
}

void text_format_bytes(uint64_t len, char ret[24])
{
    static const char *const names[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    size_t unit = 0;
    double v = (double)len / 1024;

    if (len < 1024) {
        snprintf(ret, 24, "%u B", (unsigned)len);
        return;
    }
    /* 1023.95 would be shown as 1024.0 of the smaller unit. */
    while (v >= 1023.95 && unit + 1 < ARRAY_LEN(names)) {
        v /= 1024;
        unit++;
    }
    snprintf(ret, 24, "%.1f %s", v, names[unit]);
}
