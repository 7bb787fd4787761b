#include "agent/outlet.h"

#include "base/log.h"
#include "base/mem.h"
#include "journal/collector.h"

#define LOOK_MS 1000

struct outlet {
    const struct agent_config *cfg;
    struct cvms *cvms;
    struct collector *collector;
    bool was_up;
    uv_timer_t look; /* for the socket, while the stream carries */
    void (*freed)(void *ctx);
    void *freed_ctx;
    size_t open_parts;
};

static void look_again(uv_timer_t *timer)
{
    struct outlet *o = timer->data;

    if (!collector_is_there(o->cfg->log_socket))
        return;
    uv_timer_stop(&o->look);
    log_info("logs and events go to the log forwarder at %s from now on", o->cfg->log_socket);
    cvms_carry_journal(o->cvms, false);
    collector_start(o->collector);
}

static void use_stream(struct outlet *o)
{
    collector_stop(o->collector);
    cvms_carry_journal(o->cvms, true);
    uv_timer_start(&o->look, look_again, LOOK_MS, LOOK_MS);
}

static void changed(enum collector_state state, void *ctx)
{
    struct outlet *o = ctx;

    if (state == COLLECTOR_UP)
        o->was_up = true;
    else if (state == COLLECTOR_ABSENT && !o->was_up)
        use_stream(o);
}

bool outlet_new(uv_loop_t *loop, const struct agent_config *cfg, struct journal *journal, struct cvms *cvms,
                struct outlet **ret, struct err *e)
{
    struct outlet *o = mem_new(sizeof(*o), e);
    struct collector_config cc = { .socket = cfg->log_socket, .changed = changed, .ctx = o };

    if (!o)
        return false;
    o->cfg = cfg;
    o->cvms = cvms;
    if (!collector_new(loop, journal_outbox(journal), &cc, &o->collector, e)) {
        mem_free(o);
        return false;
    }
    uv_timer_init(loop, &o->look);
    o->look.data = o;
    if (collector_is_there(cfg->log_socket))
        collector_start(o->collector);
    else
        use_stream(o);
    *ret = o;
    return true;
}

static void part_freed(void *ctx)
{
    struct outlet *o = ctx;
    void (*freed)(void *) = o->freed;
    void *freed_ctx = o->freed_ctx;

    if (--o->open_parts > 0)
        return;
    mem_free(o);
    if (freed)
        freed(freed_ctx);
}

static void timer_closed(uv_handle_t *h)
{
    part_freed(h->data);
}

void outlet_free(struct outlet *o, void (*freed)(void *ctx), void *ctx)
{
    if (!o) {
        if (freed)
            freed(ctx);
        return;
    }
    o->freed = freed;
    o->freed_ctx = ctx;
    o->open_parts = 2;
    uv_close((uv_handle_t *)&o->look, timer_closed);
    collector_free(o->collector, part_freed, o);
}
