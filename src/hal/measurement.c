#include "hal/measurement.h"

#include <unistd.h>

#include "base/stage.h"
#include "base/text.h"

#define BASE64_LINE 76

/* One PCR as the kernel shows it: 64 hex digits and a newline. */
static bool take_pcr(struct slice text, char *ret, struct err *e)
{
    CLEANUP(buf_done) struct buf digest = BUF_INIT(32);

    if (text.len && text.at[text.len - 1] == '\n')
        text = slice_first(text, text.len - 1);
    if (text.len != HAL_PCR_TEXT - 1)
        return err_fail(e, ERR_KIND_INVALID, "%zu digits, %d are wanted", text.len, HAL_PCR_TEXT - 1);
    if (!hex_decode(text, &digest, e))
        return false;
    hex_encode(buf_slice(&digest), ret);
    return true;
}

bool hal_pcrs_read(const char *dir, struct hal_pcrs *ret, bool *ret_there, struct err *e)
{
    *ret_there = false;
    if (access(dir, F_OK) != 0)
        return true;
    for (int i = 0; i < HAL_PCR_COUNT; i++) {
        CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
        char path[256];

        snprintf(path, sizeof(path), "%s/%d", dir, i);
        if (!stage_read_file(path, &text, e))
            return false;
        if (!take_pcr(buf_slice(&text), ret->hex[i], e))
            return err_wrap(e, "%s", path);
    }
    *ret_there = true;
    return true;
}

bool hal_event_log_text(const char *path, struct buf *out, struct err *e)
{
    CLEANUP(buf_done) struct buf log = BUF_INIT(HAL_EVENT_LOG_MAX);
    CLEANUP(buf_done) struct buf digits = BUF_INIT(HAL_EVENT_LOG_MAX / 3 * 4 + 8);

    if (!stage_read_file(path, &log, e) || !base64_encode(buf_slice(&log), &digits, e) ||
        !buf_append_str(out, HAL_EVENT_LOG_BEGIN "\n", e))
        return false;
    for (struct slice left = buf_slice(&digits); left.len; left = slice_after(left, BASE64_LINE))
        if (!buf_append(out, slice_first(left, BASE64_LINE), e) || !buf_append_u8(out, '\n', e))
            return false;
    return buf_append_str(out, HAL_EVENT_LOG_END "\n", e);
}

enum hal_found hal_event_log_wanted(struct slice cmdline, struct err *e)
{
    static const char key[] = "cocos.event-log";
    char value[16];
    enum hal_found found = hal_cmdline_get(cmdline, key, value, sizeof(value), e);

    if (found != HAL_FOUND || strcmp(value, "console") == 0)
        return found;
    err_fail(e, ERR_KIND_INVALID, "kernel command line: %s: 'console' is the one place there is", key);
    return HAL_BAD;
}
