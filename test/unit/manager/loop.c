#include "unit/manager/loop.h"

#include "base/attr.h"

static void too_late(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

void loop_until(uv_loop_t *loop, const bool *done)
{
    const char *scale = getenv("TEST_TIME_SCALE");
    double factor = scale ? strtod(scale, NULL) : 1;
    uv_timer_t timer;
    bool late = false;

    uv_timer_init(loop, &timer);
    timer.data = &late;
    uv_timer_start(&timer, too_late, (uint64_t)(20000 * factor), 0);
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
