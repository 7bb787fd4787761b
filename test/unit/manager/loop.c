#include "unit/manager/loop.h"

#include "base/attr.h"
#include "unit/base/patience.h"

static void too_late(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

void loop_until(uv_loop_t *loop, const bool *done)
{
    uv_timer_t timer;
    bool late = false;

    uv_timer_init(loop, &timer);
    timer.data = &late;
    uv_timer_start(&timer, too_late, patience_ms(20000), 0);
    while (!*done && !late)
        uv_run(loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
    assert_false(late);
}

void loop_end(uv_loop_t *loop)
{
    uv_run(loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(loop), 0);
}
