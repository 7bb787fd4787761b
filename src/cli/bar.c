#include "cli/bar.h"

#include <inttypes.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/stage.h"
#include "base/text.h"

#define COLUMNS_DEFAULT 80u
#define COLUMNS_MAX 1000u
/* What changes in length gets its room once, so that the blocks don't jump. */
#define NUMBER_COLUMNS 7u /* " [100%]" */
#define TAIL_COLUMNS 28u  /* " 512.0 MiB/s, 1h59m59s left" */
#define BLOCKS_MIN 10u
#define BLOCKS_MAX 50u
#define DRAW_EVERY_MS 100u
#define RATE_EVERY_MS 500u

static const char *emoji_of(const char *what)
{
    if (strstr(what, "data"))
        return "📦 ";
    if (strstr(what, "Download") || strstr(what, "download"))
        return "📥 ";
    return "🚀 ";
}
#define EMOJI_COLUMNS 3u /* two for the picture, one for the space */

/* " 512.0 MiB/s" and ", 3s left", or less where less is known. */
static void tail_texts(const struct cli_bar_view *v, char rate[48], char left[48])
{
    char bytes[24];
    char time[32];
    uint64_t left_s;

    rate[0] = '\0';
    left[0] = '\0';
    if (v->rate == 0)
        return;
    text_format_bytes(v->rate, bytes);
    snprintf(rate, 48, " %s/s", bytes);
    if (v->done >= v->total)
        return;
    left_s = (v->total - v->done) / v->rate + 1;
    if (left_s > 100 * 3600)
        return;
    text_format_duration_ms(left_s * 1000, time);
    snprintf(left, 48, ", %s left", time);
}

static bool append_blocks(const struct cli_bar_view *v, unsigned count, unsigned percent, struct buf *out,
                          struct err *e)
{
    unsigned full = count * percent / 100;

    if (!buf_append_str(out, " [", e) || (v->colour && !buf_append_str(out, "\x1b[32m", e)))
        return false;
    for (unsigned i = 0; i < full; i++)
        if (!buf_append_str(out, "█", e))
            return false;
    if (v->colour && !buf_append_str(out, "\x1b[0m", e))
        return false;
    for (unsigned i = full; i < count; i++)
        if (!buf_append_str(out, "░", e))
            return false;
    return buf_append_str(out, "]", e);
}

bool cli_bar_render(const struct cli_bar_view *v, struct buf *out, struct err *e)
{
    unsigned columns = v->columns ? v->columns : COLUMNS_DEFAULT;
    unsigned percent = v->total == 0 || v->done >= v->total
                           ? 100u
                           : (unsigned)((double)v->done / (double)v->total * 100.0);
    char number[16];
    char rate[48];
    char left[48];
    unsigned room; /* columns still free; the last one is never used */
    unsigned blocks = 0;
    bool with_what;

    if (columns > COLUMNS_MAX)
        columns = COLUMNS_MAX;
    snprintf(number, sizeof(number), " [%u%%]", percent);
    tail_texts(v, rate, left);

    room = columns - 1;
    if (room < NUMBER_COLUMNS)
        return true; /* no room for anything that could be read */
    room -= NUMBER_COLUMNS;
    with_what = room >= EMOJI_COLUMNS + strlen(v->what);
    if (with_what)
        room -= EMOJI_COLUMNS + (unsigned)strlen(v->what);
    if (with_what && room >= BLOCKS_MIN + 3) {
        room -= BLOCKS_MIN + 3;
        blocks = room > TAIL_COLUMNS ? room - TAIL_COLUMNS : 0;
        blocks = blocks < BLOCKS_MAX - BLOCKS_MIN ? blocks : BLOCKS_MAX - BLOCKS_MIN;
        room -= blocks;
        blocks += BLOCKS_MIN;
    }
    if (!blocks || room < strlen(rate))
        rate[0] = '\0';
    room -= (unsigned)strlen(rate);
    if (rate[0] == '\0' || room < strlen(left))
        left[0] = '\0';

    return buf_format(out, e, "\r%*s\r", (int)columns - 1, "") &&
           (!with_what || buf_format(out, e, "%s%s", emoji_of(v->what), v->what)) &&
           (!blocks || append_blocks(v, blocks, percent, out, e)) &&
           buf_format(out, e, "%s%s%s", number, rate, left);
}

static unsigned terminal_columns(void)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return 0;
    return size.ws_col;
}

static void draw(struct cli_bar *b)
{
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf line = BUF_INIT(16 * 1024);

    b->view.columns = terminal_columns();
    /* A bar that can't be drawn is no reason to stop the work it shows. */
    if (!cli_bar_render(&b->view, &line, &e) || !stage_write_all(STDOUT_FILENO, buf_slice(&line), &e))
        b->shown = false;
    b->drawn = true;
}

void cli_bar_begin(struct cli_bar *b, const char *what, uint64_t total, bool shown, bool colour,
                   uint64_t now_ms)
{
    *b = (struct cli_bar){
        .view = { .what = what, .total = total, .colour = colour },
        .shown = shown,
        .last_ms = now_ms,
        .sample_ms = now_ms,
    };
    if (b->shown)
        draw(b);
}

/* The newest half second weighs as much as all before it: steady, and soon right again. */
static void take_sample(struct cli_bar *b, uint64_t now_ms)
{
    uint64_t passed = now_ms - b->sample_ms;
    uint64_t rate;

    if (passed < RATE_EVERY_MS)
        return;
    rate = (uint64_t)((double)(b->view.done - b->sample_done) * 1000.0 / (double)passed);
    b->view.rate = b->view.rate ? (b->view.rate + rate) / 2 : rate;
    b->sample_ms = now_ms;
    b->sample_done = b->view.done;
}

bool cli_bar_move(struct cli_bar *b, uint64_t done, uint64_t now_ms, struct err *e)
{
    if (done > b->view.total)
        return err_fail(e, ERR_KIND_INVALID,
                        "progress update exceeds total bytes: attempted to add %" PRIu64
                        " bytes, but only %" PRIu64 " bytes remain",
                        done - b->view.done, b->view.total - b->view.done);
    if (done > b->view.done)
        b->view.done = done;
    take_sample(b, now_ms);
    if (b->shown && now_ms - b->last_ms >= DRAW_EVERY_MS) {
        b->last_ms = now_ms;
        draw(b);
    }
    return true;
}

void cli_bar_end(struct cli_bar *b)
{
    struct err e = ERR_INIT;

    if (!b->shown || !b->drawn)
        return;
    draw(b);
    b->shown = false;
    if (!stage_write_all(STDOUT_FILENO, slice_of_str("\n"), &e))
        b->drawn = false;
}
