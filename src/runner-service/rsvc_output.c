#include "rsvc_output.h"

#include "base/clock.h"
#include "base/log.h"

#define PIECE_MAX 1024

size_t rsvc_cut_character(struct slice text)
{
    for (size_t back = 1; back <= 3 && back <= text.len; back++) {
        uint8_t c = text.at[text.len - back];

        if ((c & 0xc0) == 0x80)
            continue; /* not a first byte */

        size_t want = c >= 0xf0 && c <= 0xf4 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc2 && c < 0xe0 ? 2 : 1;

        return want > back ? back : 0;
    }
    return 0;
}

void rsvc_output_begin(struct rsvc_output *o, struct journal *j, int log_level)
{
    *o = (struct rsvc_output){ .journal = j,
                               .log_level = log_level,
                               .warnings_left = RSVC_WARNINGS_AT_ONCE,
                               .refilled_ms = clock_mono_ms(clock_system()) };
}

static bool may_warn(struct rsvc_output *o)
{
    uint64_t now = clock_mono_ms(clock_system());
    uint64_t more = (now - o->refilled_ms) / RSVC_WARNING_EVERY_MS;

    o->refilled_ms += more * RSVC_WARNING_EVERY_MS;
    o->warnings_left += more;
    if (o->warnings_left > RSVC_WARNINGS_AT_ONCE)
        o->warnings_left = RSVC_WARNINGS_AT_ONCE;
    if (o->warnings_left == 0)
        return false;
    o->warnings_left--;
    return true;
}

static void warn_once(struct rsvc_output *o)
{
    struct outbox_stats st;
    struct err e = ERR_INIT;

    if (!may_warn(o)) {
        if (o->warnings_held++ == 0)
            log_warn("the algorithm writes to stderr all the time: not every piece makes an event");
        return;
    }
    if (!journal_event(o->journal, "AlgorithmRun", "Warning", &e)) {
        log_error("an event AlgorithmRun/Warning was lost: %s", err_text(&e));
        return;
    }
    outbox_stats(journal_outbox(o->journal), &st);
    o->warning_seq = st.last;
}

static void keep(struct rsvc_output *o, enum child_stream stream, struct slice text)
{
    int level = stream == CHILD_STDERR ? LOG_ERROR : LOG_DEBUG;

    if (text.len > 0 && level >= o->log_level)
        journal_log(o->journal, level, text);
}

void rsvc_output_add(struct rsvc_output *o, enum child_stream stream, bool warn, struct slice bytes)
{
    uint8_t whole[3 + PIECE_MAX];
    size_t before = o->carry_len[stream];
    struct slice text = { whole, before + bytes.len };

    if (bytes.len > PIECE_MAX) { /* larger pieces than a child gives */
        rsvc_output_add(o, stream, warn, slice_first(bytes, PIECE_MAX));
        rsvc_output_add(o, stream, warn, slice_after(bytes, PIECE_MAX));
        return;
    }
    memcpy(whole, o->carry[stream], before);
    if (bytes.len)
        memcpy(whole + before, bytes.at, bytes.len);

    size_t cut = rsvc_cut_character(text);

    memcpy(o->carry[stream], whole + text.len - cut, cut);
    o->carry_len[stream] = cut;
    keep(o, stream, slice_first(text, text.len - cut));
    if (stream == CHILD_STDERR && warn)
        warn_once(o);
}

void rsvc_output_end(struct rsvc_output *o)
{
    for (int i = 0; i < 2; i++) {
        keep(o, (enum child_stream)i, slice_of(o->carry[i], o->carry_len[i]));
        o->carry_len[i] = 0;
    }
    if (o->warnings_held)
        log_warn("%llu pieces of stderr made no event of their own", (unsigned long long)o->warnings_held);
}
